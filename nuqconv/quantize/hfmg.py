"""Choosing the range of an activation by the least expected error on a histogram.

Source: the HFMG search of the toolkit whose files this package writes, in the outline that ``docs/formats.md`` gives. The histogram here is that
of all data (`Histogram`), put into equal bins in one step, so that the order of batches makes no difference; the original merges batch by batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import CalibrationError, QuantizationError
from nuqconv.quantize.activation import ActivationQuant, check_histogram, quantizer_for_range
from nuqconv.quantize.histogram import Histogram
from nuqconv.quantize.rounding import INT8_MAX, INT8_MIN

__all__ = ["equal_bins", "expected_error", "hfmg", "shrunk_ranges"]

_STEP = 1e-5
"""Share of the values that a step leaves out at each end."""
_LEFT = 4
"""The search ends when fewer than one in so many bins are left."""


def hfmg(hist: Histogram, *, num_of_bins: int = 4096, with_offset: bool = True, name: str = "") -> ActivationQuant:
    """Searches the range of least expected squared error.

    Args:
        hist: The values seen.
        num_of_bins: Bins that the values are put into.
        with_offset: Whether the offset may differ from 0.
        name: Name of the activation for error messages.

    Returns:
        The quantizer of least error, of equal ones that of the widest range; for nothing but zeros, scale 1.

    Raises:
        CalibrationError: The histogram is empty or has seen NaN or infinities, or its range is too large.
    """
    check_histogram(hist, name)
    if hist.minimum == hist.maximum == 0:
        return quantizer_for_range(0.0, 0.0, with_offset=with_offset)
    counts, edges = equal_bins(hist, num_of_bins)
    best: ActivationQuant | None = None
    least = np.inf
    try:
        for first, last in shrunk_ranges(counts):
            candidate = quantizer_for_range(float(edges[first]), float(edges[last + 1]), with_offset=with_offset)
            error = expected_error(counts, edges, candidate)
            if best is None or error < least:
                best, least = candidate, error
    except QuantizationError as error:
        raise CalibrationError(f"activation {name!r}: {error}") from error
    if best is None:
        raise CalibrationError(f"activation {name!r}: the histogram holds no range")
    return best


def equal_bins(hist: Histogram, number: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Puts a histogram into equal bins between its extremes; a finer bin goes where its centre lies.

    Returns:
        Counts, (number,), and edges, (number + 1,).
    """
    low, high = float(hist.minimum), float(hist.maximum)
    if low == high:
        # One value other than 0: a range from 0 to it.
        low, high = min(low, 0.0), max(high, 0.0)
    edges = np.linspace(low, high, number + 1)
    fine = hist.counts
    centers = (np.arange(fine.size) + (hist.origin + 0.5)) * 2.0**hist.exponent
    where = np.clip(((centers - low) * (number / (high - low))).astype(np.int64), 0, number - 1)
    return np.bincount(where, weights=fine, minlength=number).astype(np.int64), edges


def shrunk_ranges(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Returns first and last bin of each range, from the widest on, each once.

    Step ``k`` leaves out the bins at either end that hold no more than ``k`` times 1e-5 of the values together.
    """
    total, number = int(counts.sum()), counts.size
    steps = np.arange(int(0.5 / _STEP)) * (_STEP * total)
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])
    first = np.minimum(np.searchsorted(below, steps, side="right"), number - 1)
    last = number - 1 - np.minimum(np.searchsorted(above, steps, side="right"), number - 1)
    # Empty bins at the ends are left out by the first step already, so the whole histogram goes before it.
    pairs = [(0, number - 1), *zip(first.tolist(), last.tolist(), strict=True)]
    return list(dict.fromkeys(pair for pair in pairs if (pair[1] - pair[0] + 1) * _LEFT >= number))


def expected_error(counts: NDArray[np.int64], edges: NDArray[np.float64], quant: ActivationQuant) -> float:
    """Returns the squared error of all values, those of a bin being spread evenly over it.

    The integral of the squared distance to the nearest level is a cubic in each cell, and a whole cell holds ``scale**3 / 12``.
    """
    scale = quant.scale
    level = np.clip(np.rint(edges / scale), INT8_MIN - quant.offset, INT8_MAX - quant.offset)
    integral = level * (scale**3 / 12) + (edges - level * scale) ** 3 / 3
    return float(np.sum(counts * np.diff(integral)) / (edges[1] - edges[0]))
