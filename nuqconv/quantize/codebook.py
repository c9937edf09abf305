"""Optimal non-uniform codebooks on the integer grid.

The int8 weights of a layer are a histogram of at most 256 levels, so the best codebook of every size is found exactly, by dynamic
programming over that histogram. The cost of a run of levels is its squared error against its best *integer* centroid: clustering in
floats and rounding afterwards would not be optimal.

Source: one-dimensional k-means by dynamic programming (H. Wang and M. Song, "Ckmeans.1d.dp", The R Journal 3/2, 2011), here with
integer centroids and weighted bins. For one codebook the nearest-level assignment is optimal and its cells are runs of levels, so the
best partition into runs with best integer centroids is the best codebook.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nuqconv.errors import QuantizationError
from nuqconv.quantize.rounding import INT8_MAX, INT8_MIN

__all__ = ["LEVELS", "CodebookCurve", "assign", "histogram", "optimal_codebooks"]

LEVELS = 256
"""Number of int8 levels; bin ``b`` of a histogram is level ``b - 128``."""

_BLOCK = 1 << 16
_ROWS = 32
_LOG_TOTAL = 36
_TOTAL = 2.0**_LOG_TOTAL


@dataclass(frozen=True, eq=False, slots=True)
class CodebookCurve:
    """The best codebook of every size for one layer, and what each costs.

    Attributes:
        distortion: Weighted squared error with at most ``k`` levels at index ``k - 1``; float64, shape (max_steps,), in integer
            steps squared times the histogram's weights. It falls strictly until it is 0.
        codebooks: The codebook of size ``k`` at index ``k - 1``, ascending levels in [-128, 127]; never longer than `levels`.
        levels: Number of distinct levels with weight in the histogram.
    """

    distortion: NDArray[np.float64]
    codebooks: tuple[tuple[int, ...], ...]
    levels: int

    @property
    def lossless_at(self) -> int | None:
        """Smallest size whose codebook loses nothing, or None if it is above the largest computed."""
        return self.levels if self.levels <= len(self.codebooks) else None

    def codebook(self, k: int) -> tuple[int, ...]:
        """Returns the best codebook of at most ``k`` levels, ascending.

        Raises:
            QuantizationError: ``k`` was not computed.
        """
        if not 1 <= k <= len(self.codebooks):
            raise QuantizationError(f"a codebook of {k} levels was not computed; sizes 1 to {len(self.codebooks)} were")
        return self.codebooks[k - 1]


def histogram(q: NDArray[np.int8], importance: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
    """Count the levels of integer weights, or add up their importance.

    Args:
        q: Integer weights, int8, any shape.
        importance: Weight of each element, finite and >= 0, of a shape that broadcasts to that of ``q`` (for each output channel
            of a convolution: (channels, 1, 1, 1)); None counts each element once.

    Returns:
        Float64, shape (256,); bin ``b`` belongs to level ``b - 128``.

    Raises:
        QuantizationError: ``q`` is not int8, or the importance does not broadcast, is negative or not finite.
    """
    if q.dtype != np.int8:
        raise QuantizationError(f"integer weights must be int8, found {q.dtype}; quantize them first")
    bins = np.zeros(LEVELS, dtype=np.float64)
    if importance is None:
        flat = q.reshape(-1).view(np.uint8)
        for start in range(0, flat.size, _BLOCK):
            bins += np.bincount(flat[start : start + _BLOCK], minlength=LEVELS)
        return np.roll(bins, -INT8_MIN)
    if not (np.isfinite(importance).all() and (importance >= 0).all()):
        raise QuantizationError("the importance of weights must be finite and not negative")
    try:
        weights = np.broadcast_to(importance, q.shape)
    except ValueError as error:
        raise QuantizationError(f"importance of shape {importance.shape} does not fit weights {q.shape}") from error
    if not q.ndim:
        q, weights = q.reshape(1), weights.reshape(1)
    rows = max(1, _BLOCK * q.shape[0] // max(1, q.size))
    for start in range(0, q.shape[0], rows):
        block = q[start : start + rows].reshape(-1).view(np.uint8)
        bins += np.bincount(block, weights=weights[start : start + rows].reshape(-1), minlength=LEVELS)
    return np.roll(bins, -INT8_MIN)


def _whole_weights(hist: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Turn weights > 0 into whole numbers with a sum of about 2**36 at most, and give the power of two they count.

    Sums of such weights times squared levels stay below 2**53, where floats are exact, so the search decides nothing by rounding
    errors. Counts of weights stay as they are.
    """
    total = hist.sum()
    if total <= _TOTAL and (hist == np.floor(hist)).all():
        return hist, 0
    exponent = int(np.frexp(total)[1]) - _LOG_TOTAL
    return np.maximum(np.rint(np.ldexp(hist, -exponent)), 1.0), exponent


def _prefix_sums(levels: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns sums of weight, weight * level and weight * level**2 before each level; shape (3, n + 1)."""
    moments = weights * np.power(levels.astype(np.float64), np.arange(3)[:, None])
    return np.concatenate([np.zeros((3, 1)), np.cumsum(moments, axis=1)], axis=1)


def _centroids(mass: NDArray[np.float64], moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """Best integer centroid of runs with these sums; the lower of two equally good ones."""
    center = moment / mass
    center -= 0.5
    return np.ceil(center, out=center)


def _run_costs(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the squared error of every run of levels at its best integer centroid.

    Args:
        sums: From `_prefix_sums`, shape (3, n + 1).

    Returns:
        Float64, shape (n, n): ``[first, length - 1]`` for the run of ``length`` levels from ``first`` on. Runs that would go past
        the last level hold some finite number.
    """
    n = sums.shape[1] - 1
    padded = np.concatenate([sums[:, 1:], np.repeat(sums[:, -1:], n - 1, axis=1)], axis=1)
    ends = sliding_window_view(padded, n, axis=1)
    cost = np.zeros((n, n))
    # In blocks of rows, since fresh pages of memory for whole matrices take longer than the arithmetic.
    for start in range(0, n, _ROWS):
        rows, width = slice(start, min(start + _ROWS, n)), n - start
        mass, moment, square = ends[:, rows, :width] - sums[:, rows, None]
        center = _centroids(mass, moment)
        mass *= center
        moment *= 2.0
        moment -= mass
        moment *= center
        np.subtract(square, moment, out=cost[rows, :width])
    return cost


def optimal_codebooks(hist: NDArray[np.floating], max_steps: int = 32) -> CodebookCurve:
    """Find the best codebook of every size up to ``max_steps``, exactly.

    The least cost of covering the levels from ``first`` on with at most ``k`` runs is
    ``best[k, first] = min over last of cost[first, last] + best[k - 1, last + 1]``. Of equally good partitions the one whose first
    run ends lowest is taken, so the result depends on nothing but the histogram. The cost satisfies the quadrangle inequality, hence the
    first run of ``k`` never ends after that of ``k - 1`` (the bound behind Knuth's and Yao's speed-up), which keeps the search narrow.

    Args:
        hist: Weight of each level, from `histogram`: shape (256,), finite and >= 0, not all 0. Levels of weight 0 play no part. Counts
            are used as they are; other weights are rounded to 2**-36 of their sum, but never to 0.
        max_steps: Largest codebook, 1 to 256.

    Returns:
        The curve. With no more than ``k`` levels present, codebook ``k`` is the levels themselves, at distortion 0.

    Raises:
        QuantizationError: ``hist`` or ``max_steps`` is out of range, or no level has weight.
    """
    with np.errstate(over="ignore"):
        total = hist.sum(dtype=np.float64)
    if hist.shape != (LEVELS,) or not np.isfinite(total) or (hist < 0).any():
        raise QuantizationError(
            f"a histogram of levels must be {LEVELS} numbers >= 0 of finite sum, found shape {hist.shape}"
        )
    if not 1 <= max_steps <= LEVELS:
        raise QuantizationError(f"a codebook holds 1 to {LEVELS} levels, found max_steps {max_steps}")
    present = np.flatnonzero(hist)
    if not present.size:
        raise QuantizationError("no weight has importance, so no codebook is better than another; skip the layer")
    levels, n = present + INT8_MIN, int(present.size)
    weights, exponent = _whole_weights(hist[present].astype(np.float64))
    sums = _prefix_sums(levels, weights)
    cost = _run_costs(sums)

    steps, rank = min(max_steps, n), np.arange(n)
    distortion = np.zeros(max_steps, dtype=np.float64)
    ends = [np.full(n, n)]
    best = cost[rank, n - 1 - rank]
    distortion[0] = best[0]
    after = np.full(2 * n, np.inf)
    after[n - 1] = 0.0
    windows, scratch, width = sliding_window_view(after, n), np.empty(n * n), n
    for k in range(1, steps):
        after[: n - 1] = best[1:]
        reached = scratch[: n * width].reshape(n, width)
        np.add(cost[:, :width], windows[:n, :width], out=reached)
        length = reached.argmin(axis=1)
        best = reached[rank, length]
        distortion[k] = best[0]
        ends.append(rank + length + 1)
        width = int(length.max()) + 1
    distortion = np.ldexp(distortion, exponent)
    distortion.flags.writeable = False
    return CodebookCurve(distortion=distortion, codebooks=_trace(ends, sums, max_steps), levels=n)


def _trace(ends: list[NDArray[np.intp]], sums: NDArray[np.float64], max_steps: int) -> tuple[tuple[int, ...], ...]:
    """Follow the choices of the dynamic programme from the first level on, for each number of runs.

    Args:
        ends: For each number of runs less one, where the first run ends (exclusive) for each first level.
        sums: From `_prefix_sums`.
        max_steps: Number of codebooks to return; sizes beyond those of ``ends`` repeat the last.

    Returns:
        The codebooks of sizes 1 to ``max_steps``.
    """
    table = [row.tolist() for row in ends]
    bounds: list[int] = []
    for k in range(len(ends)):
        bounds.append(0)
        for runs in range(k, -1, -1):
            bounds.append(table[runs][bounds[-1]])
    # Between the end of one codebook and the start of the next lies a step back to 0, which is no run.
    parts = np.diff(sums[:, bounds], axis=1)
    valid = np.diff(bounds) > 0
    flat = _centroids(parts[0, valid], parts[1, valid]).astype(np.int64).tolist()
    books = [tuple(flat[k * (k + 1) // 2 : (k + 1) * (k + 2) // 2]) for k in range(len(ends))]
    return tuple(books + [books[-1]] * (max_steps - len(books)))


def assign(q: NDArray[np.int8], codebook: tuple[int, ...]) -> NDArray[np.int8]:
    """Replace integer weights by the nearest level of a codebook, ties to the lower level.

    Args:
        q: Integer weights, int8, any shape.
        codebook: Levels in [-128, 127], strictly ascending, at least one.

    Returns:
        A new int8 array of the shape of ``q``, C-contiguous.

    Raises:
        QuantizationError: ``q`` is not int8, or the codebook is empty, unsorted or out of range.
    """
    if q.dtype != np.int8:
        raise QuantizationError(f"integer weights must be int8, found {q.dtype}; quantize them first")
    book = np.array(codebook, dtype=np.int64)
    if not book.size or book[0] < INT8_MIN or book[-1] > INT8_MAX or (np.diff(book) <= 0).any():
        raise QuantizationError(f"a codebook must be strictly ascending levels in [-128, 127], found {codebook}")
    levels = np.arange(LEVELS, dtype=np.uint8).view(np.int8).astype(np.int64)
    nearest = book[np.searchsorted(book[:-1] + book[1:], 2 * levels, side="left")]
    # bytes.translate is several times faster than numpy's indexing with uint8, which first widens every index to 64 bits.
    moved = bytearray(q.tobytes()).translate(nearest.astype(np.int8).tobytes())
    return np.frombuffer(moved, dtype=np.int8).reshape(q.shape)
