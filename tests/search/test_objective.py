"""Few codebooks, and the best metric at a size, against all states and on large spaces."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nuqconv.errors import SearchError
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.search import FLOAT_LEVEL, NearestMetric, SmallestBytes, Trial, Verdict, run_search
from nuqconv.search.strategies import STRATEGIES, make_strategy
from tests.search.simulated import INT8, NUQ16, Evaluator, hidden_damage, levels_of, random_space


def network(seed, count, spread=0.3):
    rng = np.random.default_rng(seed)
    space = random_space(rng, count)
    damage = hidden_damage(rng, space, spread)
    low, high = (sum(item[level] for item in damage) for level in (0, -1))
    return Evaluator(space, damage, low + (high - low) * rng.uniform(0.05, 0.7))


def outcome(evaluator, objective, name="path", **options):
    evaluator.seen = {}
    return run_search(
        evaluator.space,
        evaluate=evaluator.evaluate,
        satisfied=evaluator.satisfied,
        original=0.0,
        objective=objective,
        strategy=make_strategy(name, evaluator.space, objective),
        **options,
    )


def states(space):
    return itertools.product(*(range(FLOAT_LEVEL, len(item.options)) for item in space.layers))


def codebooks(plan):
    return sum(layer.precision is Precision.NUQ for layer in plan.values())


def trial(plan, metric=1.0, accepted=True, size=10.0):
    return Trial(1, Plan.of(plan), metric, accepted, size, 0.0, "step")


@pytest.mark.parametrize("name", ["path", "prefix", "greedy"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("seed", range(8))
def test_no_more_codebooks_than_allowed(seed, count, name):
    found = outcome(network(seed, 6), SmallestBytes(count), name)
    assert all(codebooks(item.plan) <= count for item in found.trials)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_codebooks_near_the_optimum(count):
    """The optimum is found by going through all 1,024 states."""
    gaps = []
    for seed in range(8):
        evaluator = network(seed, 5)
        space = evaluator.space
        optimum = min(
            space.size(state)
            for state in states(space)
            if set(state) != {FLOAT_LEVEL}
            and sum(level > 0 for level in state) <= count
            and evaluator.true(state) <= evaluator.limit
        )
        exhaustive = outcome(evaluator, SmallestBytes(count), "exhaustive", max_evaluations=None)
        assert exhaustive.best.bytes == optimum
        gaps.append(outcome(evaluator, SmallestBytes(count)).best.bytes / optimum)
    assert np.mean(gaps) <= 1.04
    assert np.median(gaps) == 1


def test_a_layer_that_blocks_gives_its_place_to_another():
    evaluator = network(3, 6)
    space = evaluator.space
    largest = max(range(6), key=lambda index: space.layers[index].float_bytes)
    evaluator.damage[largest][1:] = 1e9
    found = outcome(evaluator, SmallestBytes(1))
    assert codebooks(found.plan) == 1
    assert found.plan[space.layers[largest].name].precision is Precision.INT8


@pytest.mark.parametrize("share", [0.2, 0.4, 0.9])
def test_the_best_metric_at_a_size(share):
    """Against all 1,024 states: the damage is at most 10 % above the least possible on average, and often the least."""
    gaps = []
    for seed in range(8):
        evaluator = network(seed, 5)
        space = evaluator.space
        least = space.size(space.smallest())
        size = least + share * (space.float_bytes / 4 - least) if share < 0.9 else space.float_bytes * share
        optimum = min(evaluator.true(state) for state in states(space) if space.size(state) <= size)
        found = outcome(evaluator, NearestMetric(size), max_evaluations=64)
        assert all(item.bytes <= size for item in found.trials)
        assert outcome(evaluator, NearestMetric(size), "exhaustive", max_evaluations=None).metric == optimum
        gaps.append(found.metric / optimum)
    assert np.mean(gaps) <= 1.1
    assert np.median(gaps) <= 1.001


def test_it_is_found_early_on_large_networks():
    for seed in range(4):
        evaluator = network(seed, 54)
        size = 0.16 * evaluator.space.float_bytes
        few, many = (outcome(evaluator, NearestMetric(size), max_evaluations=number) for number in (8, 200))
        assert few.metric <= 1.15 * many.metric
        assert many.best.bytes >= 0.98 * size


def test_a_metric_that_is_refused_is_given_if_no_other_is_there():
    evaluator = network(1, 5)
    evaluator.limit = 0.0
    found = outcome(
        evaluator, NearestMetric(evaluator.space.size(evaluator.space.smallest()) * 1.05), max_evaluations=20
    )
    assert not found.best.accepted
    assert found.metric == min(item.metric for item in found.trials)


def test_sizes_that_make_no_sense():
    space = network(0, 4).space
    with pytest.raises(SearchError, match="cannot be reached"):
        make_strategy("path", space, NearestMetric(space.size(space.smallest()) - 1))
    with pytest.raises(SearchError, match="demand a smaller size"):
        make_strategy("path", space, NearestMetric(space.float_bytes))
    for size in (0, -1, float("nan")):
        with pytest.raises(SearchError, match="max_bytes: expected a positive number"):
            NearestMetric(size)
    for count in (0, -1, 1.5, True):
        with pytest.raises(SearchError, match="max_layers: expected a positive integer"):
            SmallestBytes(count)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name not in ("path", "exhaustive")])
def test_strategies_that_know_no_size(name):
    space = network(0, 4).space
    with pytest.raises(SearchError, match="take path or exhaustive"):
        make_strategy(name, space, NearestMetric(space.float_bytes / 5))


def test_what_may_be_the_result():
    floats = {"a": LayerPlan(Precision.FLOAT), "b": LayerPlan(Precision.FLOAT)}
    assert SmallestBytes().rank(trial(floats), 1.0) is None
    assert SmallestBytes().rank(trial({**floats, "b": INT8}, accepted=False), 1.0) is None
    assert SmallestBytes().rank(trial({**floats, "b": INT8}), 1.0) is not None
    assert SmallestBytes(1).rank(trial({"a": NUQ16, "b": NUQ16}), 1.0) is None
    assert SmallestBytes(1).rank(trial({"a": NUQ16, "b": INT8}), 1.0) is not None
    assert NearestMetric(9).rank(trial({"a": INT8}, size=10), 1.0) is None
    good, near, far = (
        NearestMetric(10).rank(trial({"a": INT8}, metric, accepted), 1.0)
        for metric, accepted in ((0.8, True), (0.99, False), (0.9, False))
    )
    assert good < near < far


@pytest.mark.parametrize("parallel", [2, 3])
def test_the_same_search_with_several_at_once(parallel):
    """What is tried ahead of time changes nothing: groups of neighbours are judged together."""
    evaluator = network(5, 10)
    size = 0.17 * evaluator.space.float_bytes
    objective = NearestMetric(size)
    strategy, told = make_strategy("path", evaluator.space, objective), []
    while proposals := strategy.propose(parallel):
        for proposal in proposals:
            metric = evaluator.true(proposal.levels)
            told.append(proposal.levels)
            strategy.tell(proposal, Verdict(metric, evaluator.satisfied(metric)))
    one = outcome(evaluator, objective, max_evaluations=None)
    assert told == [levels_of(evaluator.space, item.plan) for item in one.trials]
