"""Strategies against the optimum, against each other, with evaluators that mislead, and several proposals at once."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import pytest

from nuqconv.errors import SearchError
from nuqconv.search import FLOAT_LEVEL, LayerSpace, SearchSpace, Verdict, run_search
from nuqconv.search.strategies import STRATEGIES, ExhaustiveStrategy, PathStrategy, make_strategy
from tests.search.simulated import (
    CancellingEvaluator,
    Evaluator,
    hidden_damage,
    layer,
    levels_of,
    random_space,
    smallest,
)


def network(seed, count, spread=0.3, outliers=0.0, twist=None):
    rng = np.random.default_rng(seed)
    space = random_space(rng, count)
    damage = hidden_damage(rng, space, spread, outliers)
    low, high = (sum(item[level] for item in damage) for level in (0, -1))
    return Evaluator(space, damage, low + (high - low) * rng.uniform(0.05, 0.7), twist)


def outcome(evaluator, name="path", **options):
    evaluator.seen = {}
    return run_search(
        evaluator.space,
        evaluate=evaluator.evaluate,
        satisfied=evaluator.satisfied,
        original=0.0,
        strategy=make_strategy(name, evaluator.space),
        **options,
    )


def test_names():
    assert next(iter(STRATEGIES)) == "path"
    with pytest.raises(SearchError, match="there are path, prefix, greedy, exhaustive"):
        make_strategy("clever", random_space(np.random.default_rng(0), 2))


@pytest.mark.parametrize("seed", range(12))
def test_exhaustive_finds_the_optimum(seed):
    evaluator = network(seed, 4, spread=0.8, outliers=0.1)
    found = outcome(evaluator, "exhaustive", max_evaluations=None)
    assert found.best.bytes == smallest(evaluator, lowest=FLOAT_LEVEL)
    assert found.trials[-1] is found.best


def test_exhaustive_refuses_large_spaces():
    with pytest.raises(SearchError, match="at most 4,096"):
        ExhaustiveStrategy(random_space(np.random.default_rng(0), 7))


def test_the_default_is_near_the_optimum_and_never_larger_than_the_others():
    for seed in range(12):
        evaluator = network(seed, 5)
        default, greedy, prefix = (outcome(evaluator, name) for name in ("path", "greedy", "prefix"))
        assert default.best.bytes <= min(greedy.best.bytes, prefix.best.bytes)
        assert default.best.bytes == smallest(evaluator, lowest=FLOAT_LEVEL)


@pytest.mark.parametrize("count", [3, 4, 5])
def test_the_default_finds_the_optimum_of_small_spaces_without_trying_all(count):
    for seed in range(100, 110):
        evaluator = network(seed, count)
        found = outcome(evaluator, max_evaluations=None)
        assert found.best.bytes == smallest(evaluator, lowest=FLOAT_LEVEL)
        assert found.evaluations < 4**count / 2 + 10


def harmed(seed, count=54):
    """A network some of whose layers do much harm as soon as they are quantized, and hardly more at their strongest."""
    rng = np.random.default_rng(seed)
    layers = []
    for index in range(count):
        int8 = 10 ** rng.uniform(-5, -3)
        always = int8 * (300 if rng.random() < 0.1 else 0)
        nuq32 = int8 * rng.uniform(1, 8)
        losses = (int8 + always, nuq32 + always, nuq32 * rng.uniform(2, 5) + always)
        layers.append(layer(f"l{index}", int(10 ** rng.uniform(2.5, 6)), losses))
    space = SearchSpace(tuple(layers))
    damage = hidden_damage(rng, space, 0.3)
    low, high = (sum(item[level] for item in damage) for level in (0, -1))
    return Evaluator(space, damage, low + (high - low) * rng.uniform(0.1, 0.6))


def test_layers_that_harm_in_int8_stay_in_float_early():
    """The binary search goes along the states that leave them in float, if these do less harm."""
    short, prefix = [], []
    for seed in range(8):
        evaluator = harmed(seed)
        best = outcome(evaluator, max_evaluations=200).best.bytes
        short.append(outcome(evaluator, max_evaluations=11).best.bytes / best)
        prefix.append(outcome(evaluator, "prefix").best.bytes / best)
    assert np.median(short) <= 1.001
    assert np.mean(short) <= 1.02 < np.mean(prefix)


def test_errors_that_cancel():
    """Next to greedy revert, which measures each layer and takes three times as many evaluations."""
    ratios = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        evaluator = CancellingEvaluator(rng, random_space(rng, 54), outputs=2 + 2 * (seed % 4), part=0.2 + 0.05 * seed)
        found, greedy = outcome(evaluator), outcome(evaluator, "greedy", max_evaluations=None)
        assert evaluator.satisfied(found.metric)
        ratios.append(found.best.bytes / greedy.best.bytes)
    assert np.mean(ratios) <= 0.95
    assert max(ratios) <= 1.02


@pytest.mark.parametrize("seed", range(6))
def test_whether_more_or_less_is_better_changes_nothing(seed):
    evaluator = network(seed, 20, outliers=0.05)
    space = evaluator.space
    less = outcome(evaluator)
    more = run_search(
        space,
        evaluate=lambda plan: 90 - 7 * evaluator.true(levels_of(space, plan)),
        satisfied=lambda metric: metric >= 90 - 7 * evaluator.limit,
        original=90.0,
        strategy=PathStrategy(space),
    )
    assert [trial.plan for trial in more.trials] == [trial.plan for trial in less.trials]


@pytest.mark.parametrize("seed", range(6))
def test_large_networks_need_few_evaluations(seed):
    """Within 2 % of the best that any strategy finds after ceil(log2(steps of the path)) + 4 evaluations; greedy needs five times as many."""
    evaluator = network(seed, 54)
    steps = len(evaluator.space.path())
    bound = math.ceil(math.log2(steps)) + 4
    long, short = outcome(evaluator, max_evaluations=200), outcome(evaluator, max_evaluations=bound)
    greedy = outcome(evaluator, "greedy", max_evaluations=None)
    assert short.best.bytes <= 1.02 * min(long.best.bytes, greedy.best.bytes)
    assert short.evaluations <= bound
    assert greedy.evaluations >= 5 * short.evaluations


def poison(levels, total):
    return total + (1e9 if levels[1] > 0 else 0)


def pair(levels, total):
    return total + (1e9 if levels[0] > 0 and levels[2] > 0 else 0)


def upside_down(levels, total):
    return total if len(set(levels)) > 1 else 0.0


def plateau(levels, total):
    return float(np.floor(total * 40) / 40)


def flicker(levels, total):
    return total * (1 + 0.3 * math.sin(hash_of(levels)))


def all_or_nothing(levels, total):
    return 0.0 if set(levels) in ({0}, {2}) else 1e9


def hash_of(levels):
    return float(np.dot(levels, np.arange(1, len(levels) + 1) ** 2))


@pytest.mark.parametrize("name", ["path", "prefix", "greedy"])
@pytest.mark.parametrize("twist", [poison, pair, upside_down, plateau, flicker, all_or_nothing])
@pytest.mark.parametrize("seed", range(4))
def test_evaluators_that_mislead(seed, twist, name):
    evaluator = network(seed, 5, twist=twist)
    if name == "prefix" and not evaluator.satisfied(evaluator.true(evaluator.space.uniform())):
        with pytest.raises(SearchError, match="no plan with a quantized layer"):
            outcome(evaluator, name)
        return
    found = outcome(evaluator, name)
    assert evaluator.satisfied(found.metric)
    assert evaluator.seen[found.plan] == found.metric
    if name == "path":
        # Of a pair that fails only together, the wrong one may be left out.
        most = 2.0 if twist is pair else 1.15
        assert found.best.bytes <= most * smallest(evaluator, lowest=FLOAT_LEVEL)


def played(evaluator, width, budget=None):
    """Tell verdicts in the order of proposing while `width` proposals are out; return what was told."""
    strategy = PathStrategy(evaluator.space)
    out, told, begun = deque(), [], 0
    while True:
        while len(out) < width and (budget is None or begun < budget):
            proposals = strategy.propose(width - len(out))
            if not proposals:
                break
            out.extend(proposals)
            begun += len(proposals)
        if not out:
            return told
        proposal = out.popleft()
        metric = evaluator.true(proposal.levels)
        strategy.tell(proposal, Verdict(metric, evaluator.satisfied(metric)))
        told.append(proposal.levels)


@pytest.mark.parametrize("width", [2, 3, 8])
@pytest.mark.parametrize("seed", range(6))
def test_several_at_once_end_where_one_at_a_time_ends(seed, width):
    evaluator = network(seed, 12, spread=0.6, outliers=0.05)
    alone, together = played(evaluator, 1), played(evaluator, width)
    assert set(alone) <= set(together)
    assert len(set(together)) == len(together)
    assert played(evaluator, width) == together


def test_two_at_once_are_hardly_worse_for_the_same_number_of_evaluations():
    ratios = []
    for seed in range(10):
        evaluator = network(seed, 30, spread=0.5, outliers=0.03)
        sizes = []
        for width in (1, 2):
            levels = played(evaluator, width, 32)
            accepted = [item for item in levels if evaluator.satisfied(evaluator.true(item))]
            sizes.append(min(evaluator.space.size(item) for item in accepted))
        ratios.append(sizes[1] / sizes[0])
    assert np.mean(ratios) <= 1.01


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_space_without_moves(name):
    """Layers that can only be int8: every strategy ends with int8, or with one of the two in float where both fail together."""
    layers = tuple(LayerSpace(item, layer(item, 100, (0.1, 0.2, 0.3)).options[:1], 400.0) for item in "ab")
    evaluator = Evaluator(SearchSpace(layers), [np.array([0.1])] * 2, 0.2)
    found = outcome(evaluator, name)
    assert levels_of(evaluator.space, found.plan) == (0, 0)
    if name != "prefix":
        evaluator.limit = 0.15
        assert sorted(levels_of(evaluator.space, outcome(evaluator, name).plan)) == [FLOAT_LEVEL, 0]
