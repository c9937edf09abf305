"""Strategies of the user's own: the example of docs/search.md, plain objects, functions, and what is no strategy."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from nuqconv.errors import SearchError
from nuqconv.search import FLOAT_LEVEL, Proposal, SmallestBytes, run_search
from nuqconv.search.strategies import STRATEGIES, PathStrategy, check_strategy, make_strategy
from tests.search.simulated import Evaluator, hidden_damage, random_space
from tests.support.auto import Job, error_evaluator

DOCUMENT = Path(__file__).parents[2] / "docs" / "search.md"


def example():
    (block,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names = {}
    exec(block, names)
    return names["LayerByLayer"]


class Fixed:
    """Tries given states, one after the other."""

    def __init__(self, states):
        self.states, self.told = list(states), []

    def propose(self, limit):
        found, self.states = self.states[:limit], self.states[limit:]
        return [Proposal(state, f"state {state}") for state in found]

    def tell(self, proposal, verdict):
        self.told.append((proposal.levels, verdict))

    def remaining(self):
        return len(self.states)


@pytest.fixture
def network():
    rng = np.random.default_rng(5)
    space = random_space(rng, 4)
    damage = hidden_damage(rng, space, 0.3, 0.0)
    low, high = (sum(item[level] for item in damage) for level in (0, -1))
    return Evaluator(space, damage, low + 0.4 * (high - low))


def search(network, choice):
    return run_search(
        network.space,
        evaluate=network.evaluate,
        satisfied=network.satisfied,
        original=0.0,
        strategy=make_strategy(choice, network.space, SmallestBytes(), 0.0),
    )


def test_the_documented_example(network):
    outcome = search(network, example())
    assert outcome.trials[0].step == "int8 for all layers"
    assert outcome.evaluations == 1 + len(network.space)
    # The accepted steps were kept: each later plan has all of them.
    assert outcome.best == min((trial for trial in outcome.trials if trial.accepted), key=lambda trial: trial.bytes)
    assert outcome.best.number > 1


def test_the_whole_job_with_the_documented_example(tmp_path):
    job = Job(tmp_path / "job")
    result = job.run(error_evaluator(), strategy=example())
    steps = [trial.step for trial in result.trials]
    assert steps[0] == "int8 for all layers"
    assert all(step.endswith("at its strongest") for step in steps[1:])
    assert result.files.deploy_model.is_file()


def test_an_object_is_used_as_it_is(network):
    states = [network.space.uniform(), network.space.uniform(FLOAT_LEVEL)]
    strategy = Fixed(states)
    outcome = search(network, strategy)
    assert [levels for levels, _ in strategy.told] == states
    assert [trial.plan for trial in outcome.trials] == [network.space.plan(state) for state in states]


def test_a_function_is_given_the_space_the_aim_and_the_original_metric(network):
    seen = []

    def make(*arguments):
        seen.append(arguments)
        return PathStrategy(arguments[0])

    assert isinstance(make_strategy(make, network.space, SmallestBytes(2), 0.5), PathStrategy)
    assert seen == [(network.space, SmallestBytes(2), 0.5)]


@pytest.mark.parametrize(
    ("choice", "found"), [(3, "found int"), (None, "found NoneType"), ("clever", "no search strategy 'clever'")]
)
def test_what_is_no_strategy(choice, found):
    with pytest.raises(SearchError, match=found) as caught:
        check_strategy(choice)
    assert ", ".join(STRATEGIES) in str(caught.value)


def test_what_makes_no_strategy(network):
    with pytest.raises(SearchError, match="what was given made a int, expected an object with the methods propose"):
        search(network, lambda *_: 3)


@pytest.mark.parametrize(
    ("levels", "problem"),
    [
        ((0, 0), r"expected a tuple of 4 levels, one for each layer of the space, found \(0, 0\)"),
        ([0, 0, 0, 0], "expected a tuple of 4 levels"),
        ((0, 9, 0, 0), "expected a level from -1 to [0-9], found 9"),
        ((-2, 0, 0, 0), "found -2"),
        ((0.0, 0, 0, 0), r"found 0\.0"),
    ],
)
def test_a_proposal_that_is_no_state(network, levels, problem):
    with pytest.raises(SearchError, match="the search strategy proposed 'state .*': .*" + problem):
        search(network, Fixed([levels]))


def test_a_wrong_strategy_is_refused_before_anything_is_done(tmp_path):
    job = Job(tmp_path / "job")
    with pytest.raises(SearchError, match="there is no search strategy"):
        job.run(error_evaluator(), strategy="clever")
    assert not job.out.exists() or list(job.out.iterdir()) == []
