"""The search on simulated networks whose real damage is hidden from it."""

from __future__ import annotations

import logging
import math
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuqconv.errors import EvaluatorError, SearchError
from nuqconv.search import (
    DEFAULT_MAX_EVALUATIONS,
    FLOAT_LEVEL,
    LayerSpace,
    Option,
    PathStrategy,
    Proposal,
    SearchSpace,
    Verdict,
    run_search,
)
from nuqconv.search.strategies import STRATEGIES, make_strategy
from tests.search.simulated import INT8, Evaluator, hidden_damage, layer, levels_of, random_space, smallest


def search(evaluator, **options):
    return run_search(
        evaluator.space, evaluate=evaluator.evaluate, satisfied=evaluator.satisfied, original=0.0, **options
    )


def between(evaluator, fraction):
    """Set the limit between the damage of int8 and that of 16 steps everywhere."""
    low, high = (evaluator.true(evaluator.space.uniform(level)) for level in (0, 2))
    evaluator.limit = low + (high - low) * fraction
    return evaluator


def network(seed, count, spread=0.0, outliers=0.0, fraction=0.3):
    rng = np.random.default_rng(seed)
    space = random_space(rng, count)
    return between(Evaluator(space, hidden_damage(rng, space, spread, outliers), 0.0), fraction)


def rough(levels, total):
    """A deterministic noise that makes the damage jump up and down from plan to plan."""
    return total * (0.3 + 1.4 * (zlib.crc32(repr(levels).encode()) % 1000) / 1000) if any(levels) else total


@settings(deadline=None, max_examples=80)
@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.floats(0, 2),
    st.floats(0, 0.5),
    st.floats(-0.9, 1.2),
    st.sampled_from([None, rough]),
    st.sampled_from([None, 1, 5, 32]),
)
def test_the_plan_is_always_one_that_was_accepted(seed, count, spread, outliers, fraction, twist, most):
    evaluator = network(seed, count, spread, outliers)
    evaluator.twist = twist
    evaluator.limit = evaluator.true(evaluator.space.uniform()) * max(0.0, 1 + fraction)
    outcome, best = None, None
    try:
        outcome = search(evaluator, max_evaluations=most)
    except SearchError as error:
        best = error.best
    if outcome is None:
        assert not any(metric <= evaluator.limit for metric in evaluator.seen.values())
        assert best.plan in evaluator.seen
        assert len(evaluator.seen) <= (most or math.inf)
        return
    assert evaluator.seen[outcome.plan] == outcome.metric <= evaluator.limit
    assert outcome.evaluations == len(evaluator.seen) <= (most or math.inf)
    accepted = [trial for trial in outcome.trials if trial.accepted]
    assert outcome.best.bytes == min(trial.bytes for trial in accepted)
    assert [trial.number for trial in outcome.trials] == list(range(1, len(outcome.trials) + 1))
    for trial in outcome.trials:
        levels = levels_of(evaluator.space, trial.plan)
        assert trial.bytes == evaluator.space.size(levels)
        assert trial.float_layers == evaluator.space.floats(levels)
        assert set(levels) != {FLOAT_LEVEL}


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10**6),
    st.sets(st.integers(2, 256), min_size=1, max_size=5),
    st.sampled_from([name for name in STRATEGIES if name != "exhaustive"]),
    st.floats(0, 1.2),
)
def test_any_sizes_of_codebooks(seed, sizes, strategy, fraction):
    """Those that are no smaller than int8 are among them."""
    rng = np.random.default_rng(seed)
    space = random_space(rng, 3, sorted(sizes, reverse=True))
    evaluator = Evaluator(space, hidden_damage(rng, space, 0.3), 0.0)
    evaluator.limit = evaluator.true(space.uniform()) * (1 + 30 * fraction)
    outcome = search(evaluator, strategy=make_strategy(strategy, space))
    assert outcome.best.accepted
    assert outcome.best.bytes <= space.size(space.uniform())
    if strategy == "path":
        assert outcome.best.bytes <= 1.3 * smallest(evaluator, FLOAT_LEVEL)


@pytest.mark.parametrize("count", [1, 2, 7, 54, 64, 512])
def test_evaluations_to_the_best_prefix_grow_with_the_logarithm(count):
    """Two before the binary search, and one that says along which states it goes."""
    for seed in range(4):
        evaluator = network(seed, count, fraction=0.1 + 0.2 * seed)
        space = evaluator.space
        path = space.path()
        accepted = [
            k for k in range(len(path) + 1) if evaluator.true(space.apply(space.uniform(), path[:k])) <= evaluator.limit
        ]
        size = space.size(space.apply(space.uniform(), path[: max(accepted)]))
        outcome = search(evaluator)
        first = next(trial.number for trial in outcome.trials if trial.accepted and trial.bytes <= size)
        assert first <= 3 + math.ceil(math.log2(len(path)))
        assert outcome.evaluations <= DEFAULT_MAX_EVALUATIONS


@pytest.mark.parametrize(
    ("spread", "outliers", "mean", "worst"), [(0, 0, 1.002, 1.02), (0.5, 0, 1.01, 1.1), (0, 0.1, 1.005, 1.05)]
)
def test_size_is_near_that_of_exhaustive_search(spread, outliers, mean, worst):
    ratios = []
    for seed in range(25):
        evaluator = network(seed, 7, spread, outliers, fraction=0.05 + 0.025 * seed)
        ratios.append(search(evaluator).best.bytes / smallest(evaluator))
    assert np.mean(ratios) <= mean
    assert max(ratios) <= worst


def test_the_whole_path_takes_two_evaluations_if_it_passes():
    evaluator = network(0, 20)
    evaluator.limit = 1e9
    outcome = search(evaluator)
    assert outcome.evaluations == 2
    assert outcome.stopped_by == "complete"
    assert outcome.reverted == ()
    assert all(plan.num_steps == 16 for plan in outcome.plan.values())


def test_one_layer_that_blocks_does_not_stop_the_others():
    evaluator = network(3, 30)
    path = evaluator.space.path()
    worst = path[len(path) // 3].layer
    evaluator.damage[worst][1:] = 1e6
    evaluator.limit = 1e5
    outcome = search(evaluator)
    steps = [plan.num_steps for plan in outcome.plan.values()]
    assert steps[worst] is None
    assert steps.count(16) == 29
    assert outcome.best.number <= 2 + 6 + 2
    assert outcome.stopped_by == "max_evaluations"


def test_an_option_off_the_path_is_tried_where_the_next_one_blocks():
    bent = SearchSpace((layer("bent", 10_000, (1.0, 9.0, 10.0)),))
    outcome = search(Evaluator(bent, [np.array([1.0, 2.0, 10.0])], 5.0))
    assert outcome.plan["bent"].num_steps == 32


def test_same_verdicts_give_the_same_trials():
    first, second = (search(network(5, 20, 1.0)) for _ in range(2))
    assert [t.plan for t in first.trials] == [t.plan for t in second.trials]
    assert [t.step for t in first.trials] == [t.step for t in second.trials]


@pytest.mark.parametrize("worst", [0, 4, 11])
def test_if_int8_fails_the_harmful_layer_goes_back_to_float(worst):
    evaluator = network(7, 12)
    evaluator.damage[worst][:] = 1.0
    harmful = evaluator.space.layers[worst]
    options = tuple(Option(o.layer_plan, o.bytes, o.loss + 0.5) for o in harmful.options)
    layers = tuple(LayerSpace(x.name, options, x.float_bytes) if x is harmful else x for x in evaluator.space.layers)
    evaluator.space = SearchSpace(layers)
    evaluator.limit = 0.9
    outcome = search(evaluator)
    assert outcome.reverted == (f"l{worst}",)
    assert sum(plan.num_steps == 16 for plan in outcome.plan.values()) == 11
    assert outcome.best.number <= 6


def test_layers_that_went_back_needlessly_are_won_back():
    # The predictions say that l5 is harmless, yet only l5 does any harm.
    evaluator = network(7, 12)
    order = evaluator.space.by_harm()
    culprit = order[5]
    evaluator.damage = [np.full(3, 1.0 if index == culprit else 1e-6) for index in range(12)]
    evaluator.limit = 0.9
    outcome = search(evaluator)
    assert outcome.reverted == (f"l{culprit}",)
    assert sum(plan.num_steps == 16 for plan in outcome.plan.values()) == 11
    assert outcome.best.number <= 16


def test_if_int8_fails_size_is_near_that_of_exhaustive_search():
    ratios = []
    for seed in range(12):
        evaluator = network(seed, 6)
        evaluator.limit = evaluator.true(evaluator.space.uniform()) * (0.3 + 0.05 * seed)
        best = smallest(evaluator, FLOAT_LEVEL)
        if best < math.inf:
            ratios.append(search(evaluator).best.bytes / best)
    assert len(ratios) >= 10
    assert np.mean(ratios) <= 1.05


def test_a_single_layer_that_passes_alone_is_found_whatever_the_order():
    evaluator = network(9, 8)
    evaluator.damage = [np.full(3, 1.0) for _ in range(8)]
    lucky = evaluator.space.by_harm()[3]
    evaluator.damage[lucky][:] = 0.1
    evaluator.limit = 0.5
    outcome = search(evaluator)
    assert outcome.reverted == tuple(f"l{i}" for i in range(8) if i != lucky)
    assert outcome.plan[f"l{lucky}"].num_steps == 16


def test_layers_with_int8_only_and_activations_only():
    pool = LayerSpace("pool", (Option(INT8, 0.0, 0.1),), 0.0)
    deconv = LayerSpace("deconv", (Option(INT8, 100.0, 0.1),), 400.0)
    space = SearchSpace((pool, deconv))
    outcome = search(Evaluator(space, [np.zeros(1), np.zeros(1)], 1.0))
    assert outcome.evaluations == 1
    assert outcome.best.bytes == 100
    outcome = search(Evaluator(space, [np.ones(1), np.zeros(1)], 0.5))
    assert outcome.reverted == ("pool",)
    assert outcome.best.bytes == 100


def test_if_nothing_passes_the_error_carries_the_nearest_trial():
    evaluator = network(1, 5)
    evaluator.damage = [damage + 1 for damage in evaluator.damage]
    evaluator.limit = 0.5
    with pytest.raises(SearchError, match="no plan with a quantized layer satisfies") as info:
        search(evaluator, max_evaluations=None)
    best = info.value.best
    assert best.metric == min(evaluator.seen.values())
    assert not best.accepted
    assert f"trial {best.number}" in str(info.value)
    assert len(evaluator.seen) <= 12


def test_a_budget_that_ends_before_anything_passed_is_named():
    evaluator = network(1, 5)
    evaluator.limit = 0.0
    with pytest.raises(SearchError, match="ended by max_evaluations, raise it"):
        search(evaluator, max_evaluations=1)


def test_max_evaluations_is_kept_and_the_best_so_far_returned():
    for most in (1, 2, 3, 9):
        outcome = search(network(2, 40, 1.0), max_evaluations=most)
        assert outcome.evaluations == most
        assert outcome.stopped_by == "max_evaluations"


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_timeout_begins_no_further_evaluation():
    clock = Clock()
    evaluator = network(2, 40, 1.0)
    plain = evaluator.evaluate

    def slow(plan):
        clock.now += 10
        return plain(plan)

    evaluator.evaluate = slow
    outcome = search(evaluator, timeout=35.0, clock=clock)
    assert outcome.stopped_by == "timeout"
    assert outcome.evaluations == 4
    assert outcome.seconds == 40
    assert {trial.seconds for trial in outcome.trials} == {10}


@pytest.mark.parametrize(
    "options", [{"max_evaluations": 0}, {"max_evaluations": 2.0}, {"timeout": 0}, {"timeout": math.nan}]
)
def test_a_budget_that_is_none_is_refused(options):
    with pytest.raises(SearchError, match=next(iter(options))):
        search(network(0, 3), **options)


def test_broken_evaluator_is_refused_before_the_search():
    evaluator = network(0, 3)
    evaluator.limit = -1.0
    with pytest.raises(EvaluatorError, match="broken evaluator"):
        search(evaluator)
    assert not evaluator.seen


def test_failures_of_the_evaluator_pass_through():
    evaluator = network(0, 3)
    evaluator.evaluate = lambda plan: math.nan
    with pytest.raises(EvaluatorError, match="finite"):
        search(evaluator)

    def interrupted(plan):
        raise KeyboardInterrupt

    evaluator.evaluate = interrupted
    with pytest.raises(KeyboardInterrupt):
        search(evaluator)


def test_progress_and_log(caplog):
    seen = []
    with caplog.at_level(logging.INFO, "nuqconv.search"):
        outcome = search(network(2, 30, 1.0), on_trial=lambda trial, progress: seen.append((trial, progress)))
    assert tuple(trial for trial, _ in seen) == outcome.trials
    for number, (_, progress) in enumerate(seen, 1):
        assert progress.done == number
        assert number <= progress.expected <= DEFAULT_MAX_EVALUATIONS
    assert seen[-1][1].best == outcome.best
    lines = [record.message for record in caplog.records if record.message.startswith("trial ")]
    assert len(lines) == outcome.evaluations
    assert lines[0].startswith("trial 1: int8 for all layers: metric ")
    assert "accepted" in lines[0]
    assert "search ended" in caplog.records[-1].message


def test_a_finished_search_expects_nothing_more():
    seen = []
    outcome = search(network(1, 4), max_evaluations=None, on_trial=lambda trial, progress: seen.append(progress))
    assert outcome.stopped_by == "complete"
    assert seen[-1].done == seen[-1].expected


def test_another_strategy_may_propose_several_and_repeat_itself():
    class Uniform:
        def __init__(self, space):
            self.todo = [space.uniform(level) for level in (0, 1, 2, 1, FLOAT_LEVEL)]
            self.told = []

        def propose(self, limit):
            proposals, self.todo = [Proposal(levels, f"uniform {levels[0]}") for levels in self.todo], []
            return proposals

        def tell(self, proposal, verdict):
            self.told.append((proposal.levels[0], verdict))

        def remaining(self):
            return len(self.todo)

    evaluator = network(0, 5)
    strategy = Uniform(evaluator.space)
    outcome = search(evaluator, strategy=strategy)
    assert [level for level, _ in strategy.told] == [0, 1, 2, 1, FLOAT_LEVEL]
    assert strategy.told[1][1] == strategy.told[3][1]
    assert outcome.evaluations == 4
    assert len(outcome.reverted) < 5


def test_strategy_keeps_to_its_interface():
    strategy = PathStrategy(network(0, 5).space)
    assert strategy.propose(0) == ()
    (proposal,) = strategy.propose(1)
    assert proposal not in strategy.propose(4)
    with pytest.raises(ValueError, match="no verdict is due"):
        strategy.tell(Proposal(proposal.levels, "something else"), Verdict(0.0, True))
    strategy.tell(proposal, Verdict(0.0, True))
    assert strategy.remaining() >= 1
