# ruff: noqa: UP004, UP010, UP031
"""A histogram of activations that is the same whatever the order or the batching of the data.

Source: decision D6 in ``docs/decisions.md``. Bin ``k`` holds the values of ``[k * 2**e, (k + 1) * 2**e)``. The bins in use span 0 and all
values seen, and ``e`` is the smallest exponent for which at most ``BINS`` of them do; when the data outgrow them, neighbours merge, which
is exact. So the bins depend on nothing but the set of values.

The text of this module is also put beside a user's own Caffe: it needs only numpy and runs on Python 2.7 and on 3.6 and later.
"""

from __future__ import division

import numpy as np

__all__ = ["BINS", "Histogram"]

BINS = 16384

_LOG_BINS = 14
# 2**126 is the largest power of two whose inverse is a normal float32 too; smaller values share the bins next to 0.
_MIN_EXPONENT = -126
_CHUNK = 32768


def _exponent_for(low, high):
    # type: (float, float) -> int
    """Returns the smallest exponent with at most BINS bins over [low, high], for low <= 0 <= high."""
    largest = max(-low, high)
    if largest == 0:
        return _MIN_EXPONENT
    exponent = max(_MIN_EXPONENT, int(np.frexp(largest)[1]) - _LOG_BINS)
    while np.floor(high * 2.0**-exponent) - np.floor(low * 2.0**-exponent) >= BINS:
        exponent += 1
    return exponent


def _coarsened(counts, shift):
    # type: (np.typing.NDArray[np.int64], int) -> np.typing.NDArray[np.int64]
    """Merge each 2**shift neighbours of counts, whose bin 0 is at index BINS."""
    if shift == 0:
        return counts
    # After 14 merges only bins -1 and 0 are left, and they stay.
    merged = counts.reshape(-1, 2 ** min(shift, _LOG_BINS)).sum(axis=1)
    result = np.zeros_like(counts)
    start = BINS - merged.size // 2
    result[start : start + merged.size] = merged
    return result


class Histogram(object):
    """Counts of float32 values in bins aligned to powers of two.

    Attributes:
        exponent: The bin width is ``2**exponent``.
        minimum, maximum: Exact extremes of the finite values; inf and -inf when there are none.
        count: Number of finite values.
        zeros: How many of them are exactly 0.
        nonfinite: Number of NaN and infinities, which are in no bin.
        total, sum_squares: Sum of the finite values and of their squares, accumulated in blocks of float32; the last digits
            depend on the order of the data, so nothing that must be reproducible may use them.
    """

    def __init__(self):
        # type: () -> None
        self.exponent = _MIN_EXPONENT
        self.minimum = float("inf")
        self.maximum = float("-inf")
        self.count = 0
        self.zeros = 0
        self.nonfinite = 0
        self.total = 0.0
        self.sum_squares = 0.0
        self._counts = np.zeros(2 * BINS, dtype=np.int64)

    @property
    def origin(self):
        # type: () -> int
        """Bin number of the first element of `counts`; never above 0."""
        return int(np.floor(min(self.minimum, 0.0) * 2.0**-self.exponent))

    @property
    def counts(self):
        # type: () -> np.typing.NDArray[np.int64]
        """Counts of bins ``origin``, ``origin + 1``, ... up to the bin of the maximum or of 0; int64, a copy."""
        last = int(np.floor(max(self.maximum, 0.0) * 2.0**-self.exponent))
        return np.array(self._counts[BINS + self.origin : BINS + last + 1])

    def update(self, array):
        # type: (np.typing.ArrayLike) -> None
        """Count the values of an array of any shape, taken as float32.

        Raises:
            TypeError: The array does not hold real numbers.
        """
        flat = np.asarray(array).reshape(-1)
        if flat.dtype.kind not in "fiub":
            raise TypeError("a histogram counts real numbers, found an array of %s" % flat.dtype)
        index = np.empty(_CHUNK, dtype=np.int32)
        equal = np.empty(_CHUNK, dtype=np.bool_)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for start in range(0, flat.size, _CHUNK):
                self._add(np.asarray(flat[start : start + _CHUNK], dtype=np.float32), index, equal)

    def _add(self, values, index, equal):
        # type: (np.typing.NDArray[np.float32], np.typing.NDArray[np.int32], np.typing.NDArray[np.bool_]) -> None
        """Count one block; index and equal are scratch space for at least as many elements."""
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            finite = values[np.isfinite(values)]
            self.nonfinite += int(values.size - finite.size)
            if finite.size:
                self._add(finite, index, equal)
            return
        self._cover(low, high)
        size = values.size
        # Scaling by a power of two is exact, except that float32 underflows when it makes values smaller.
        wide = np.float32 if self.exponent <= 0 else np.float64
        scaled = np.multiply(values, wide(2.0**-self.exponent), dtype=wide)
        unit = 2.0**self.exponent
        self.count += int(size)
        self.zeros += int(np.count_nonzero(np.equal(values, 0, out=equal[:size])))
        self.total += float(scaled.sum()) * unit
        self.sum_squares += float(np.einsum("i,i->", scaled, scaled)) * unit * unit
        np.floor(scaled, out=scaled)
        first = int(np.floor(low * 2.0**-self.exponent))
        if first:
            scaled -= first
        np.copyto(index[:size], scaled, casting="unsafe")
        found = np.bincount(index[:size])
        start = BINS + first
        self._counts[start : start + found.size] += found

    def _cover(self, low, high):
        # type: (float, float) -> None
        """Take values from low to high into the range, and widen the bins as far as that needs."""
        if low >= self.minimum and high <= self.maximum:
            return
        self.minimum = min(self.minimum, low)
        self.maximum = max(self.maximum, high)
        exponent = _exponent_for(min(self.minimum, 0.0), max(self.maximum, 0.0))
        self._counts = _coarsened(self._counts, exponent - self.exponent)
        self.exponent = exponent

    def merge(self, other):
        # type: (Histogram) -> None
        """Add all that another histogram has counted, as if this one had seen the data."""
        if other.count:
            self._cover(other.minimum, other.maximum)
            self._counts = self._counts + _coarsened(other._counts, self.exponent - other.exponent)  # noqa: SLF001
        self.count += other.count
        self.zeros += other.zeros
        self.nonfinite += other.nonfinite
        self.total += other.total
        self.sum_squares += other.sum_squares

    def to_arrays(self):
        # type: () -> dict[str, np.typing.NDArray[np.generic]]
        """Returns the whole state as plain arrays for ``numpy.savez``; `from_arrays` gives it back."""
        return {
            "counts": self.counts,
            "integers": np.array([self.exponent, self.origin, self.count, self.zeros, self.nonfinite], dtype=np.int64),
            "floats": np.array([self.minimum, self.maximum, self.total, self.sum_squares], dtype=np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays):
        # type: (dict[str, np.typing.NDArray[np.generic]]) -> Histogram
        """Build a histogram from what `to_arrays` returned.

        Raises:
            ValueError: An array is missing, or they contradict each other.
        """
        for name, kind, size in (("counts", "i", None), ("integers", "i", 5), ("floats", "f", 4)):
            if name not in arrays:
                raise ValueError("a saved histogram has no array %r; gather it again" % name)
            array = arrays[name]
            if array.ndim != 1 or array.dtype.kind != kind or (size is not None and array.size != size):
                raise ValueError(
                    "array %r of a saved histogram has shape %s and type %s" % (name, array.shape, array.dtype)
                )
        counts = arrays["counts"].astype(np.int64)
        result = cls()
        exponent, origin, result.count, result.zeros, result.nonfinite = (
            int(n) for n in arrays["integers"].astype(np.int64)
        )
        low, high, result.total, result.sum_squares = (float(x) for x in arrays["floats"].astype(np.float64))
        if result.count and np.isfinite(low) and np.isfinite(high) and low <= high:
            result._cover(low, high)
        known = (result.exponent, result.origin, result.counts.size) == (exponent, origin, counts.size)
        sound = known and (counts >= 0).all() and counts.sum() == result.count and 0 <= result.zeros <= result.count
        if not sound or result.nonfinite < 0 or (result.minimum, result.maximum) != (low, high):
            raise ValueError("the arrays of a saved histogram contradict each other; gather it again")
        result._counts[BINS + origin : BINS + origin + counts.size] = counts
        return result
