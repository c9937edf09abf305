"""Codebooks against brute force and against an independent optimal solver."""

from __future__ import annotations

from itertools import combinations

import kmeans1d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nuqconv.errors import QuantizationError
from nuqconv.quantize.codebook import assign, histogram, optimal_codebooks

RNG = np.random.default_rng(20240501)
levels_strategy = hnp.arrays(np.int8, st.integers(1, 300), elements=st.integers(-128, 127))


def squared_error(q, book, weights=None):
    error = np.subtract(assign(q, book), q, dtype=np.float64) ** 2
    return float((error if weights is None else error * weights).sum())


def brute_force(levels, weights, k):
    """Least cost over every codebook of k integers within the span of the levels."""
    span = range(levels.min(), levels.max() + 1)
    if len(span) <= k:
        return 0.0
    books = np.array(list(combinations(span, k)))
    distance = np.abs(levels[None, :, None] - books[:, None, :]).min(axis=2).astype(np.float64)
    return float((distance**2 @ weights).min())


def samples():
    normal = RNG.standard_normal(20000)
    laplace = RNG.laplace(size=20000)
    sparse = np.where(RNG.random(20000) < 0.9, 0.0, normal)
    heavy = RNG.standard_t(2, size=20000)
    for name, data in (("normal", normal), ("laplace", laplace), ("sparse", sparse), ("heavy", heavy)):
        yield pytest.param(np.rint(data * 127 / np.abs(data).max()).astype(np.int8), id=name)
    yield pytest.param(RNG.choice(np.int8([-90, -3, 0, 1, 7, 50, 127]), 5000), id="few levels")
    yield pytest.param(RNG.integers(-128, 128, 5000).astype(np.int8), id="uniform")
    yield pytest.param(np.int8([-128, 127]), id="extremes")
    yield pytest.param(np.int8([5]), id="one weight")


@pytest.mark.parametrize("q", list(samples()))
def test_never_beaten_by_an_independent_optimal_solver(q):
    curve = optimal_codebooks(histogram(q))
    for k in (1, 2, 3, 5, 8, 16, 31, 32):
        assert curve.distortion[k - 1] == squared_error(q, curve.codebook(k))
        if k > len(q):
            continue
        clusters, centroids = kmeans1d.cluster(q.astype(np.float64), k)
        in_floats = float(((q - np.array(centroids)[clusters]) ** 2).sum())
        rounded = tuple(sorted({int(c) for c in np.rint(centroids)}))
        assert curve.distortion[k - 1] >= in_floats - 1e-6 * (1 + in_floats)
        assert curve.distortion[k - 1] <= squared_error(q, rounded)
        n = np.bincount(clusters)
        # Rounding a centroid moves it by half a step at most, which costs a quarter for each weight.
        assert curve.distortion[k - 1] <= in_floats + 0.25 * n.sum() + 1e-6


@given(hnp.arrays(np.int64, 9, elements=st.integers(0, 20)), st.integers(-128, 119), st.integers(1, 5))
def test_equals_brute_force_over_all_codebooks(counts, start, k):
    counts[0] += 1
    hist = np.zeros(256)
    hist[start + 128 : start + 137] = counts
    curve = optimal_codebooks(hist, max_steps=5)
    present = np.flatnonzero(counts)
    assert curve.distortion[k - 1] == brute_force(present, counts[present].astype(float), min(k, present.size))


@given(
    hnp.arrays(np.float64, 10, elements=st.floats(0, 1e6)),
    hnp.arrays(np.bool_, 10),
    st.integers(1, 4),
)
def test_equals_brute_force_with_importance(weights, kept, k):
    weights = np.where(kept, weights, 0.0)
    weights[3] += 1e-3
    hist = np.zeros(256)
    hist[100:130:3] = weights
    curve = optimal_codebooks(hist, max_steps=4)
    expected = brute_force(3 * np.arange(10), weights, k)
    assert curve.distortion[k - 1] == pytest.approx(expected, rel=1e-9, abs=2.0**-36 * weights.sum() * 10 * 27**2)


@given(levels_strategy)
@settings(max_examples=50)
def test_the_curve_falls_to_zero_at_the_number_of_levels(q):
    curve = optimal_codebooks(histogram(q))
    distinct = tuple(int(level) for level in np.unique(q))
    assert curve.levels == len(distinct)
    assert curve.lossless_at == (len(distinct) if len(distinct) <= 32 else None)
    positive = curve.distortion[: len(distinct) - 1]
    assert (positive > 0).all()
    assert (np.diff(curve.distortion[: len(distinct)]) < 0).all()
    assert not curve.distortion[len(distinct) - 1 :].any()
    for k in range(1, 33):
        book = curve.codebook(k)
        assert len(book) == min(k, len(distinct))
        assert list(book) == sorted(set(book))
        assert -128 <= book[0] <= book[-1] <= 127
        if k >= len(distinct):
            assert book == distinct
            np.testing.assert_array_equal(assign(q, book), q)


@given(levels_strategy)
@settings(max_examples=30)
def test_no_neighbouring_codebook_is_better(q):
    hist = histogram(q)
    curve = optimal_codebooks(hist, max_steps=6)
    book = curve.codebook(6)
    for i in range(len(book)):
        for step in (-1, 1):
            moved = tuple(sorted({*book[:i], min(127, max(-128, book[i] + step)), *book[i + 1 :]}))
            assert squared_error(q, moved) >= curve.distortion[5]


@given(
    hnp.arrays(np.int8, hnp.array_shapes(max_dims=4, max_side=8)),
    st.sets(st.integers(-128, 127), min_size=1, max_size=32),
)
def test_assign_takes_the_nearest_level_and_the_lower_of_two(q, levels):
    book = tuple(sorted(levels))
    result = assign(q, book)
    assert result.shape == q.shape
    assert result.dtype == np.int8
    expected = [min(book, key=lambda level: (abs(level - int(value)), level)) for value in q.reshape(-1)]
    assert result.reshape(-1).tolist() == expected
    np.testing.assert_array_equal(assign(result, book), result)


def test_assign_takes_views_and_gives_writable_arrays():
    q = np.arange(-128, 128).astype(np.int8).reshape(16, 16).T
    result = assign(q, (-100, 0, 100))
    assert result[0, 0] == -100
    assert result[15, 15] == 100
    result[0, 0] = 1
    assert q[0, 0] == -128


def test_equal_choices_are_settled_the_same_way():
    hist = np.zeros(256)
    hist[[128, 129]] = 1
    assert optimal_codebooks(hist).codebook(1) == (0,)
    hist[130] = 1
    assert optimal_codebooks(hist).codebook(2) == (0, 1)


def test_histogram_counts_and_weighs():
    q = RNG.integers(-128, 128, (6, 5, 3, 3)).astype(np.int8)
    counts = histogram(q)
    assert counts.dtype == np.float64
    assert [counts[level + 128] for level in (-128, -1, 0, 127)] == [(q == level).sum() for level in (-128, -1, 0, 127)]
    channel = RNG.random((6, 1, 1, 1))
    full = np.broadcast_to(channel, q.shape)
    expected = np.bincount(q.reshape(-1).astype(int) + 128, weights=full.reshape(-1), minlength=256)
    np.testing.assert_allclose(histogram(q, channel), expected)
    np.testing.assert_array_equal(histogram(q, np.ones(1)), counts)
    np.testing.assert_array_equal(histogram(q.transpose(1, 0, 3, 2)), counts)
    assert histogram(np.int8(3), np.float64(2.0))[131] == 2.0
    big = RNG.integers(-128, 128, 200_001).astype(np.int8)
    np.testing.assert_array_equal(histogram(big), np.bincount(big.astype(int) + 128, minlength=256))


def test_importance_moves_the_codebook_and_zero_importance_only_gets_assigned():
    q = np.int8([[0, 10, 20], [100, 100, 100]])
    curve = optimal_codebooks(histogram(q, np.float64([[1.0], [0.0]])))
    assert curve.levels == 3
    assert curve.codebook(3) == (0, 10, 20)
    assert assign(q, curve.codebook(3)).tolist() == [[0, 10, 20], [20, 20, 20]]


def test_importance_of_any_magnitude_keeps_every_level():
    for magnitude in (1e-290, 1e-200, 1.0, 1e290):
        hist = np.zeros(256)
        hist[[0, 200, 201, 255]] = np.array([1.0, 1e-6, 3e-6, 1.0]) * magnitude
        curve = optimal_codebooks(hist)
        assert curve.codebook(3) == (-128, 73, 127)
        assert curve.distortion[2] == pytest.approx(1e-6 * magnitude, rel=1e-4)
        hist[200:202] *= 1e-12
        assert optimal_codebooks(hist).codebook(4) == (-128, 72, 73, 127)


def plain_dynamic_programme(hist, k):
    """The same recurrence over prefixes, without the bound on the runs, in Python's own integers."""
    levels = (np.flatnonzero(hist) - 128).tolist()
    counts = [int(hist[level + 128]) for level in levels]
    n = len(levels)
    cost = {}
    for i in range(n):
        mass = moment = square = 0
        for j in range(i, n):
            mass += counts[j]
            moment += counts[j] * levels[j]
            square += counts[j] * levels[j] ** 2
            near = moment // mass
            cost[i, j] = min(square - 2 * c * moment + c * c * mass for c in (near, near + 1))
    best = [cost[0, j] for j in range(n)]
    curve = [best[-1]]
    for _ in range(k - 1):
        best = [min([cost[0, j], *(best[i - 1] + cost[i, j] for i in range(1, j + 1))]) for j in range(n)]
        curve.append(best[-1])
    return curve


shape_of_counts = st.sampled_from([1, 3, 1000, 10**6])


@given(
    hnp.arrays(np.int64, 256, elements=st.integers(0, 10**8), fill=st.just(0)),
    st.integers(0, 2**32 - 1),
    shape_of_counts,
    st.integers(2, 60),
)
@settings(max_examples=40, deadline=None)
def test_equals_the_plain_dynamic_programme(spikes, seed, magnitude, n):
    rng = np.random.default_rng(seed)
    hist = np.zeros(256)
    chosen = rng.choice(256, n, replace=False)
    hist[chosen] = np.floor(magnitude * rng.exponential(size=n) ** 3)
    hist[:40] += spikes[:40]
    hist[chosen[0]] += 1
    assert optimal_codebooks(hist, max_steps=12).distortion.tolist() == plain_dynamic_programme(hist, 12)


def test_every_size_up_to_256():
    q = np.arange(-128, 128).astype(np.int8)
    curve = optimal_codebooks(histogram(q), max_steps=256)
    assert curve.lossless_at == 256
    assert curve.codebook(256) == tuple(range(-128, 128))
    assert curve.distortion[254] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        curve.distortion[0] = 0.0


def test_errors():
    curve = optimal_codebooks(histogram(np.int8([1, 2])), max_steps=16)
    for k in (0, 17):
        with pytest.raises(QuantizationError, match="sizes 1 to 16"):
            curve.codebook(k)
    hist = np.zeros(256)
    with pytest.raises(QuantizationError, match="no weight has importance"):
        optimal_codebooks(hist)
    for bad in (hist[:255], hist - 1, hist + np.nan, hist + 1e308):
        with pytest.raises(QuantizationError, match="256 numbers >= 0 of finite sum"):
            optimal_codebooks(bad)
    for steps in (0, 257):
        with pytest.raises(QuantizationError, match="max_steps"):
            optimal_codebooks(hist + 1, steps)
    q = np.zeros((2, 3), np.int8)
    with pytest.raises(QuantizationError, match="must be int8"):
        histogram(q.astype(np.uint8))
    with pytest.raises(QuantizationError, match="must be int8"):
        assign(q.astype(np.int16), (0,))
    with pytest.raises(QuantizationError, match=r"shape \(2,\) does not fit weights \(2, 3\)"):
        histogram(q, np.ones(2))
    for value in (-1.0, np.nan, np.inf):
        with pytest.raises(QuantizationError, match="finite and not negative"):
            histogram(q, np.full((2, 1), value))
    for book in ((), (1, 1), (2, 1), (-129, 0), (0, 128)):
        with pytest.raises(QuantizationError, match="strictly ascending"):
            assign(q, book)
