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
from numpy.typing import NDArray

from nuqconv.errors import QuantizationError
from nuqconv.quantize.rounding import INT8_MAX, INT8_MIN

__all__ = ["LEVELS", "CodebookCurve", "assign", "histogram", "optimal_codebooks"]

LEVELS = 256
"""Number of int8 levels; bin ``b`` of a histogram is level ``b - 128``."""

_BLOCK = 1 << 16
_ROWS = 32


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
        """Return the best codebook of at most ``k`` levels, ascending.

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


def _run_costs(
    levels: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    """Cost and best integer centroid of every run of levels.

    The cost is the error below the centroid plus the error above it, both running sums of terms >= 0. So nothing cancels however
    much the weights differ, and with integer weights all of it is exact.

    Args:
        levels: Ascending levels, shape (n,).
        weights: Their weights > 0, shape (n,).

    Returns:
        ``cost[first, last]`` (infinite where first > last) and ``centroid[first, last]``, both of shape (n, n). Of two equally
        good centroids the lower is taken.
    """
    n, value = levels.size, levels.astype(np.float64)
    # One row for each centroid: running sums upwards from it, and downwards in reversed columns.
    above = value - np.arange(INT8_MIN, INT8_MAX + 1.0)[:, None]
    below = np.minimum(above, 0.0)[:, ::-1]
    np.maximum(above, 0.0, out=above)
    for error, weight in ((above, weights), (below, weights[::-1])):
        error *= error
        error *= weight
        np.cumsum(error, axis=1, out=error)

    cost = np.empty((n, n))
    centroid = np.empty((n, n), dtype=np.int16)
    rank = np.arange(n)
    # In blocks of rows, since fresh pages of memory for whole matrices take longer than the arithmetic.
    for start in range(0, n, _ROWS):
        first = rank[start : start + _ROWS, None]
        outside = first > rank
        mass = np.where(outside, 0.0, weights)
        mean = np.cumsum(mass * (value - value[first]), axis=1)
        mass = np.cumsum(mass, axis=1)
        mass[outside] = 1.0
        mean /= mass
        row = np.ceil(mean - 0.5).astype(np.intp) + levels[first]
        centroid[start : start + _ROWS] = row
        row -= INT8_MIN
        block = above[row, rank]
        block += below[row, n - 1 - first]
        block[outside] = np.inf
        cost[start : start + _ROWS] = block
    return cost, centroid


def optimal_codebooks(hist: NDArray[np.floating], max_steps: int = 32) -> CodebookCurve:
    """Find the best codebook of every size up to ``max_steps``, exactly.

    The least cost of covering the levels from ``first`` on with ``k`` runs is
    ``best[k, first] = min over last of cost[first, last] + best[k - 1, last + 1]``. Of equally good partitions the one whose first
    run ends lowest is taken, so the result depends on nothing but the histogram. Time: ``max_steps * n**2`` additions for ``n`` levels.

    Args:
        hist: Weight of each level, from `histogram`: shape (256,), finite and >= 0, not all 0. Levels of weight 0 play no part.
        max_steps: Largest codebook, 1 to 256.

    Returns:
        The curve. With no more than ``k`` levels present, codebook ``k`` is the levels themselves, at distortion 0.

    Raises:
        QuantizationError: ``hist`` or ``max_steps`` is out of range, or no level has weight.
    """
    if hist.shape != (LEVELS,) or not np.isfinite(hist).all() or (hist < 0).any():
        raise QuantizationError(f"a histogram of levels must be {LEVELS} finite numbers >= 0, found shape {hist.shape}")
    if not 1 <= max_steps <= LEVELS:
        raise QuantizationError(f"a codebook holds 1 to {LEVELS} levels, found max_steps {max_steps}")
    present = np.flatnonzero(hist)
    if not present.size:
        raise QuantizationError("no weight has importance, so no codebook is better than another; skip the layer")
    levels, count = present + INT8_MIN, int(present.size)
    cost, centroid = _run_costs(levels, hist[present].astype(np.float64))

    steps = min(max_steps, count)
    distortion = np.zeros(max_steps, dtype=np.float64)
    last_of_first = np.full((steps, count), count - 1, dtype=np.intp)
    best = cost[:, -1]
    distortion[0] = best[0]
    after = np.full(count, np.inf)
    total = np.empty_like(cost)
    for k in range(1, steps):
        after[:-1] = best[1:]
        np.add(cost, after, out=total)
        total.argmin(axis=1, out=last_of_first[k])
        best = np.take_along_axis(total, last_of_first[k][:, None], axis=1)[:, 0]
        distortion[k] = best[0]
    distortion[count - 1 :] = 0.0
    distortion.flags.writeable = False

    books = [_trace(k, last_of_first, centroid) for k in range(1, steps)]
    books += [tuple(levels.tolist())] if count == steps else [_trace(steps, last_of_first, centroid)]
    books += [books[-1]] * (max_steps - steps)
    return CodebookCurve(distortion=distortion, codebooks=tuple(books), levels=count)


def _trace(k: int, last_of_first: NDArray[np.intp], centroid: NDArray[np.int16]) -> tuple[int, ...]:
    """Follow the choices of the dynamic programme and collect the ``k`` centroids, ascending."""
    book: list[int] = []
    first = 0
    for runs in range(k - 1, -1, -1):
        last = int(last_of_first[runs, first])
        book.append(int(centroid[first, last]))
        first = last + 1
    return tuple(book)


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
