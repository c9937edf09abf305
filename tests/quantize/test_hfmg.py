"""HFMG against plain loops that follow the description in docs/formats.md."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nuqconv.errors import CalibrationError
from nuqconv.quantize.activation import ActivationQuant, quantizer_for_range
from nuqconv.quantize.hfmg import equal_bins, expected_error, hfmg, shrunk_ranges
from nuqconv.quantize.histogram import Histogram

RNG = np.random.default_rng(5)
CASES = {
    "normal": RNG.normal(size=30_000),
    "after a ReLU": np.maximum(RNG.normal(size=30_000), 0),
    "long tail": RNG.standard_t(2, size=30_000),
    "far from 0": RNG.normal(size=5_000) + 40,
    "negative": -np.abs(RNG.normal(size=5_000)) - 3,
    "few": np.array([-1.0, 0.25, 7.0]),
}


def histogram(values):
    hist = Histogram()
    hist.update(np.asarray(values, np.float32))
    return hist


def plain_ranges(counts):
    """Shrinks step by step, bin by bin."""
    total, number = sum(counts), len(counts)
    found = [(0, number - 1)]
    for k in range(50_000):
        left_out, first = 0, 0
        while first < number - 1 and left_out + counts[first] <= k * 1e-5 * total:
            left_out += counts[first]
            first += 1
        left_out, last = 0, number - 1
        while last > 0 and left_out + counts[last] <= k * 1e-5 * total:
            left_out += counts[last]
            last -= 1
        if last - first + 1 < number / 4:
            break
        if (first, last) != found[-1]:
            found.append((first, last))
    return found


def plain_error(counts, edges, quant):
    """Integrates the squared error over each bin by Gauss's rule between the points where the level changes."""
    nodes, shares = np.polynomial.legendre.leggauss(2)
    total = 0.0
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        if not count:
            continue
        first, last = int(np.floor(low / quant.scale)) - 1, int(np.ceil(high / quant.scale)) + 1
        cuts = [low, *((k + 0.5) * quant.scale for k in range(first, last + 1)), high]
        cuts = [cut for cut in cuts if low <= cut <= high]
        for a, b in pairwise(cuts):
            for node, share in zip(nodes, shares, strict=True):
                x = (a + b) / 2 + node * (b - a) / 2
                q = min(max(round(x / quant.scale) + quant.offset, -128), 127)
                total += count * share * (b - a) / 2 * (x - (q - quant.offset) * quant.scale) ** 2 / (high - low)
    return total


@pytest.mark.parametrize("name", CASES)
def test_bins_hold_every_value(name):
    counts, edges = equal_bins(histogram(CASES[name]), 1024)
    assert counts.sum() == len(CASES[name])
    values = np.asarray(CASES[name], np.float32)
    assert (edges[0], edges[-1]) == (values.min(), values.max())
    # No value is farther from its bin than a fine bin is wide.
    exact = np.histogram(values, edges)[0]
    assert (
        np.abs(np.cumsum(counts) - np.cumsum(exact)).max()
        <= np.bincount(
            np.floor(values / 2.0 ** histogram(values).exponent).astype(int)
            - int(values.min() // 2.0 ** histogram(values).exponent)
        ).max()
    )


@pytest.mark.parametrize("name", CASES)
def test_ranges_are_those_of_plain_loops(name):
    counts, _ = equal_bins(histogram(CASES[name]), 1024)
    found = shrunk_ranges(counts)
    assert found == plain_ranges(counts.tolist())
    assert all(last - first + 1 >= 256 for first, last in found)


@pytest.mark.parametrize(
    "quant", [ActivationQuant(0.5, 0), ActivationQuant(0.0078125, -128), ActivationQuant(0.25, 100)]
)
@pytest.mark.parametrize("name", ["normal", "after a ReLU", "far from 0", "negative"])
def test_the_expected_error_is_the_integral(name, quant):
    counts, edges = equal_bins(histogram(CASES[name]), 128)
    assert expected_error(counts, edges, quant) == pytest.approx(plain_error(counts, edges, quant), rel=1e-9)


@pytest.mark.parametrize("with_offset", [True, False])
@pytest.mark.parametrize("name", ["normal", "after a ReLU", "long tail", "few"])
def test_the_range_of_least_error_wins(name, with_offset):
    hist = histogram(CASES[name])
    counts, edges = equal_bins(hist, 1024)
    candidates = [
        quantizer_for_range(float(edges[first]), float(edges[last + 1]), with_offset=with_offset)
        for first, last in plain_ranges(counts.tolist())[:400]
    ]
    errors = [expected_error(counts, edges, candidate) for candidate in candidates]
    found = hfmg(hist, num_of_bins=1024, with_offset=with_offset)
    assert expected_error(counts, edges, found) <= min(errors)
    assert with_offset or found.offset == 0
    if len(errors) < 400:
        assert found == candidates[int(np.argmin(errors))]


def test_the_order_of_the_data_makes_no_difference():
    values = CASES["long tail"]
    parts = Histogram()
    for part in np.split(values[::-1], 10):
        parts.update(part.astype(np.float32))
    assert hfmg(parts) == hfmg(histogram(values))


def test_what_has_no_range():
    assert hfmg(histogram(np.zeros(4))).scale == 1.0
    assert hfmg(histogram(np.full(9, 3.0)), with_offset=False).scale == pytest.approx(3 / 127)
    with pytest.raises(CalibrationError, match="no values"):
        hfmg(Histogram())
    with pytest.raises(CalibrationError, match="NaN"):
        hfmg(histogram([1.0, np.nan]), name="x")
