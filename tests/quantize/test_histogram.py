"""Histograms: exact bins, the same for any order, batching and merging."""

from __future__ import annotations

import ast
import inspect
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.quantize import histogram as module
from nuqconv.quantize.histogram import BINS, Histogram

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
near = st.floats(-100, 100, width=32)
values = st.lists(st.one_of(floats, near, st.just(0.0), st.just(-0.0)), max_size=40)


def filled(*batches):
    hist = Histogram()
    for batch in batches:
        hist.update(np.array(batch, np.float32))
    return hist


def bins(hist):
    """Everything that must not depend on the order of the data."""
    found = hist.counts
    used = np.flatnonzero(found)
    table = dict(zip((used + hist.origin).tolist(), found[used].tolist(), strict=True))
    return hist.exponent, hist.minimum, hist.maximum, hist.count, hist.zeros, hist.nonfinite, table


def expected_bins(data):
    """The definition in exact fractions."""
    low, high = Fraction(min([0.0, *data])), Fraction(max([0.0, *data]))
    exponent = -126
    while math.floor(high / Fraction(2) ** exponent) - math.floor(low / Fraction(2) ** exponent) >= BINS:
        exponent += 1
    table = {}
    for value in data:
        k = math.floor(Fraction(value) / Fraction(2) ** exponent)
        table[k] = table.get(k, 0) + 1
    zeros = sum(value == 0 for value in data)
    return exponent, min(data, default=math.inf), max(data, default=-math.inf), len(data), zeros, 0, table


@given(values)
def test_bins_are_their_definition(data):
    assert bins(filled(data)) == expected_bins(data)


@given(values, st.randoms(), st.integers(0, 40), st.integers(0, 40))
def test_the_same_for_any_order_batching_and_merging(data, random, i, j):
    expected = bins(filled(data))
    shuffled = data[:]
    random.shuffle(shuffled)
    first, second, third = shuffled[: min(i, j)], shuffled[min(i, j) : max(i, j)], shuffled[max(i, j) :]
    assert bins(filled(first, second, third)) == expected
    left, right = filled(first), filled(second)
    right.merge(filled(third))
    left.merge(right)
    assert bins(left) == expected
    assert bins(filled(*([value] for value in shuffled))) == expected


@given(st.lists(near, max_size=60))
def test_sums(data):
    hist = filled(data[:20], data[20:])
    assert hist.total == pytest.approx(math.fsum(data), rel=1e-5, abs=1e-5 * (1 + math.fsum(map(abs, data))))
    assert hist.sum_squares == pytest.approx(math.fsum(x * x for x in data), rel=1e-5, abs=1e-30)


@given(values)
def test_arrays_give_the_histogram_back(data):
    hist = filled(data, [np.nan, np.inf])
    again = Histogram.from_arrays(hist.to_arrays())
    assert bins(again) == bins(hist)
    assert (again.total, again.sum_squares) == (hist.total, hist.sum_squares)
    again.merge(hist)
    hist.update(np.array([*data, np.nan, -np.inf], np.float32))
    assert bins(again) == bins(hist)


def test_npz_without_pickle(tmp_path):
    hist = filled([1, 2, -3.5])
    np.savez(tmp_path / "h.npz", **hist.to_arrays())
    with np.load(tmp_path / "h.npz", allow_pickle=False) as file:
        assert bins(Histogram.from_arrays(dict(file))) == bins(hist)


def test_many_blocks():
    rng = np.random.default_rng(3)
    data = np.maximum(rng.standard_normal(200_000), 0).astype(np.float32)
    data *= np.linspace(0.01, 100, data.size, dtype=np.float32)
    hist = filled(data)
    width = 2.0**hist.exponent
    index = np.floor(data / width).astype(int)
    np.testing.assert_array_equal(hist.counts, np.bincount(index))
    assert hist.zeros == (data == 0).sum()
    assert hist.total == pytest.approx(data.sum(dtype=np.float64), rel=1e-6)
    assert hist.sum_squares == pytest.approx(np.square(data, dtype=np.float64).sum(), rel=1e-6)
    assert BINS // 2 < hist.counts.size <= BINS
    backwards = filled(*data[::-1].reshape(8, -1))
    assert bins(backwards) == bins(hist)


@pytest.mark.parametrize(
    ("data", "origin", "size"),
    [
        ([], 0, 1),
        ([0.0, -0.0], 0, 1),
        ([1.0], 0, 8193),
        ([-1.0], -16384 // 2, 8193),
        ([5e-324, 1e-45, -1e-45], -1, 2),
        ([3.4028235e38], 0, 16384),
        ([-3.4028235e38, 3.4028235e38], -8192, 16384),
    ],
)
def test_corner_windows(data, origin, size):
    hist = filled(data)
    assert (hist.origin, hist.counts.size) == (origin, size)
    assert hist.counts.sum() == hist.count == len(data)


def test_tiny_negatives_stay_below_zero_beside_huge_values():
    hist = filled([-1e-45], [3e38])
    assert hist.counts[0] == 1
    assert hist.origin == -1
    assert bins(filled([3e38, -1e-45])) == bins(hist)


def test_non_finite_values_are_set_apart():
    hist = filled([np.nan, 1, np.inf], [-np.inf], [2])
    assert (hist.count, hist.nonfinite, hist.minimum, hist.maximum) == (2, 3, 1, 2)
    hist.update(np.array([1e300]))
    assert hist.nonfinite == 4


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int8, np.uint8, np.int64, np.bool_])
def test_other_types_and_shapes(dtype):
    data = np.arange(12).reshape(3, 4).astype(dtype)
    hist = Histogram()
    hist.update(data.T)
    assert bins(hist) == bins(filled(data.astype(np.float32).reshape(-1)))


def test_what_is_no_number():
    for bad in (np.array(["a"]), np.array([1j]), np.array([None])):
        with pytest.raises(TypeError, match="real numbers"):
            Histogram().update(bad)


def spoiled():
    def changed(name, index, value):
        def change(arrays):
            arrays[name][index] = value

        return change

    yield "missing", lambda arrays: arrays.pop("counts")
    yield "type", lambda arrays: arrays.update(counts=arrays["counts"].astype(float))
    yield "shape", lambda arrays: arrays.update(floats=arrays["floats"][:2])
    yield "length", lambda arrays: arrays.update(counts=arrays["counts"][:-1])
    yield "sum", changed("counts", 0, 7)
    yield (
        "negative",
        lambda arrays: arrays["counts"].__setitem__([0, 1], [-1, arrays["counts"][0] + arrays["counts"][1] + 1]),
    )
    yield "exponent", changed("integers", 0, 3)
    yield "origin", changed("integers", 1, 0)
    yield "count", changed("integers", 2, 0)
    yield "zeros", changed("integers", 3, 99)
    yield "nonfinite", changed("integers", 4, -1)
    yield "minimum", changed("floats", 0, np.nan)
    yield "infinite", changed("floats", 1, np.inf)


@pytest.mark.parametrize("spoil", [pytest.param(spoil, id=name) for name, spoil in spoiled()])
def test_spoiled_arrays(spoil):
    arrays = filled([-1, 0, 2]).to_arrays()
    spoil(arrays)
    with pytest.raises(ValueError, match="saved histogram"):
        Histogram.from_arrays(arrays)


def test_the_source_stands_alone():
    """It is put beside users' Caffe, under Pythons as old as 2.7."""
    source = inspect.getsource(module)
    assert source.isascii()
    tree = ast.parse(source)
    imports = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imports == {"__future__", "numpy"}
    new_syntax = (
        ast.JoinedStr,
        ast.AnnAssign,
        ast.NamedExpr,
        ast.AsyncFunctionDef,
        ast.Nonlocal,
        ast.Starred,
        ast.Match,
    )
    assert not [node for node in ast.walk(tree) if isinstance(node, new_syntax)]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert [node.args.kwonlyargs, node.args.posonlyargs, node.returns] == [[], [], None]
    namespace: dict[str, object] = {}
    exec(compile(source, "alone", "exec"), namespace)
    alone = namespace["Histogram"]()
    alone.update(np.float32([1, 2]))
    assert bins(alone) == bins(filled([1, 2]))
