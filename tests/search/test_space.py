"""Options, the path along the convex hulls, and the knapsack."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.errors import QuantizationError
from nuqconv.quantize.plan import LayerPlan, Precision
from nuqconv.search import FLOAT_LEVEL, LayerSpace, Option, SearchSpace
from tests.search.simulated import INT8, NUQ16, NUQ32, layer, nuq, random_space

numbers = st.floats(0, 1e6) | st.sampled_from([0.0, 1.0, 2.0])
whole = st.integers(0, 1000).map(float)  # their sums are exact, so states can be compared


@st.composite
def spaces(draw, most=6, numbers=numbers):
    layers = []
    for index in range(draw(st.integers(1, most))):
        plans = [INT8, *map(nuq, (200, 64, NUQ32.num_steps, NUQ16.num_steps, 5, 2))][: draw(st.integers(1, 7))]
        options = tuple(Option(plan, draw(numbers), draw(numbers)) for plan in plans)
        layers.append(LayerSpace(f"l{index}", options, draw(numbers)))
    return SearchSpace(tuple(layers))


@given(spaces())
def test_path_is_ordered_convex_and_in_order_for_each_layer(space):
    path = space.path()
    assert [move.rate for move in path] == sorted(move.rate for move in path)
    levels = list(space.uniform())
    for move in path:
        assert levels[move.layer] == move.start < move.stop
        assert move.saved > 0
        assert move.loss >= 0
        levels[move.layer] = move.stop
    end = space.apply(space.uniform(), path)
    assert tuple(levels) == end
    # No layer can get any smaller than the end of the path.
    for item, level in zip(space.layers, end, strict=True):
        assert item.size(level) == min(option.bytes for option in item.options)


@given(spaces(4, whole), st.data())
def test_each_prefix_of_the_path_is_the_smallest_state_for_its_predicted_loss(space, data):
    path = space.path()
    # Where a lossless move comes next, the prefix has the same loss with it and is smaller.
    ends = [k for k in range(len(path) + 1) if k == len(path) or path[k].loss > 0]
    prefix = space.apply(space.uniform(), path[: data.draw(st.sampled_from(ends))])
    states = itertools.product(*(range(len(item.options)) for item in space.layers))
    best = min(space.size(s) for s in states if space.loss(s) <= space.loss(prefix))
    assert space.size(prefix) <= best * (1 + 1e-9) + 1e-6


def test_options_above_the_hull_are_passed_over_and_lossless_moves_come_first():
    bent = layer("bent", 10_000, (1.0, 9.0, 10.0))  # 32 steps cost nearly as much as 16
    free = layer("free", 10_000, (1.0, 1.0, 1.5))
    path = SearchSpace((bent, free)).path()
    assert [move.label for move in path] == ["free to 32 levels", "free to 16 levels", "bent to 16 levels"]
    assert path[0].rate == 0


def test_a_stronger_option_never_counts_as_better():
    odd = layer("odd", 1000, (5.0, 3.0, 4.0))
    assert odd.losses == (5.0, 5.0, 5.0)


def test_plan_size_and_names():
    pool = LayerSpace("pool", (Option(INT8, 0.0, 0.1),), 0.0)
    space = SearchSpace((layer("conv", 1000, (1.0, 2.0, 3.0)), pool))
    assert len(space) == 2
    assert space.float_bytes == 4000
    plan = space.plan((2, FLOAT_LEVEL))
    assert plan["conv"] == NUQ16
    assert plan["pool"] == LayerPlan(Precision.FLOAT)
    assert space.size((2, FLOAT_LEVEL)) == 516
    assert space.floats((2, FLOAT_LEVEL)) == ("pool",)
    assert space.by_harm() == (0, 1)
    assert space.path((FLOAT_LEVEL, 0)) == ()
    assert [move.label for move in space.win_back((FLOAT_LEVEL, FLOAT_LEVEL))] == [
        "conv to int8",
        "pool to int8",
    ]
    assert space.win_back((FLOAT_LEVEL, 0), {0: FLOAT_LEVEL}) == ()
    assert [move.stop for move in space.path((0, 0), {0: 1})] == [1]


@pytest.mark.parametrize("refloat", [False, True])
def test_knapsack_is_near_the_exact_optimum(refloat):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        space = random_space(rng, 5)
        lowest, start = (FLOAT_LEVEL, space.uniform()) if refloat else (0, space.uniform())
        least, most = space.loss(space.uniform(lowest)), space.loss(space.uniform(2))
        budget = least + (most - least) * rng.uniform(0.01, 0.9)
        found = space.cheapest(budget, start, refloat=refloat)
        assert space.loss(found) <= budget * 1.01
        states = itertools.product(range(lowest, 3), repeat=5)
        best = min(space.size(s) for s in states if space.loss(s) <= budget * 0.99)
        assert space.size(found) <= best


def test_knapsack_without_anything_to_spend_takes_what_is_lossless():
    space = SearchSpace((layer("a", 1000, (1.0, 1.0, 2.0)), layer("b", 1000, (0.0, 0.5, 1.0))))
    assert space.cheapest(1.0, space.uniform()) == (1, 0)
    assert space.cheapest(0.0, space.uniform()) == (1, 0)
    assert space.cheapest(0.0, space.uniform(), refloat=True) == (FLOAT_LEVEL, 0)
    assert space.cheapest(9.0, (FLOAT_LEVEL, 0)) == (FLOAT_LEVEL, 2)


@pytest.mark.parametrize(
    ("options", "float_bytes", "match"),
    [
        ((), 4.0, "found none"),
        ((Option(NUQ32, 1.0, 0.0),), 4.0, "found nuq"),
        ((Option(INT8, 1.0, 0.0), Option(INT8, 2.0, 0.0)), 4.0, "found int8, int8"),
        ((Option(INT8, 1.0, 0.0), Option(NUQ32, 1.0, 0.0), Option(NUQ32, 2.0, 0.0)), 4.0, "comes twice"),
        ((Option(INT8, -1.0, 0.0),), 4.0, r"options\[0\].bytes"),
        ((Option(INT8, 1.0, math.nan),), 4.0, r"options\[0\].loss"),
        ((Option(INT8, 1.0, 0.0),), math.inf, "float_bytes"),
    ],
)
def test_bad_layers_are_refused(options, float_bytes, match):
    with pytest.raises(QuantizationError, match=match) as info:
        LayerSpace("conv1", options, float_bytes)
    assert "'conv1'" in str(info.value)


def test_bad_spaces_are_refused():
    with pytest.raises(QuantizationError, match="no layer"):
        SearchSpace(())
    one = layer("conv1", 10, (0.0, 0.0, 0.0))
    with pytest.raises(QuantizationError, match="'conv1'"):
        SearchSpace((one, one))
