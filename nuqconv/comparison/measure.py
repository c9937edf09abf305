"""How far two arrays are apart."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nuqconv.comparison.report import BlobComparison
from nuqconv.comparison.tolerance import Needed, Tolerance
from nuqconv.ir import Array

__all__ = ["QUANTILES", "aligned", "compare_blob", "worst"]

QUANTILES = (0.5, 0.9, 0.99, 0.999)
"""Shares of the numbers of which the absolute difference is told."""

_PART = 1 << 18
_Floats = NDArray[np.float64]


def aligned(a: Array, b: Array) -> bool:
    """Whether two shapes are equal but for axes of size 1."""
    return [size for size in a.shape if size != 1] == [size for size in b.shape if size != 1]


def compare_blob(name: str, layer: str, layer_type: str, a: Array, b: Array, tolerance: Tolerance) -> BlobComparison:
    """Compares one blob. Beside the arrays it needs as much memory as one of them in float32.

    Args:
        name: The blob.
        layer: The layer that makes it.
        layer_type: That layer's type.
        a: Its value on the side that is looked at, of any shape and numeric dtype.
        b: On the reference.
        tolerance: What counts as equal.
    """
    nan, shapes = float("nan"), (b.shape, a.shape)
    if not aligned(a, b):
        return BlobComparison(name, layer, layer_type, shapes, False, a.size, nan, nan, nan, None, {}, tolerance, None)
    found = _Sums(a, b, tolerance)
    return BlobComparison(
        name,
        layer,
        layer_type,
        shapes,
        found.odd == 0 and tolerance.allows(found.differing, a.size),
        found.differing,
        nan if found.odd else found.largest,
        nan if found.odd else _ratio(math.sqrt(found.noise), math.sqrt(found.second)),
        found.cosine,
        _top1(a, b),
        found.quantiles(),
        tolerance,
        found.needed(),
    )


class _Sums:
    """What is summed up over the parts of two arrays of as many numbers."""

    def __init__(self, a: Array, b: Array, tolerance: Tolerance) -> None:
        self.a, self.b, self.tolerance = np.ravel(a), np.ravel(b), tolerance
        self.size = max((_largest(two) for _, two in self._parts()), default=0.0)
        self.odd = self.differing = 0
        self.largest = self.noise = self.first = self.second = self.dot = 0.0
        self._errors = np.empty(self.a.size, np.float32)
        self._relative = self._absolute = 0.0
        place = 0
        for one, two in self._parts():
            self._errors[place : place + one.size] = self._add(one, two)
            place += one.size

    @property
    def cosine(self) -> float:
        """Cosine of the angle between both."""
        norms = math.sqrt(self.first) * math.sqrt(self.second)
        if norms == 0:
            return 1.0 if self.first == self.second else 0.0
        return self.dot / norms if math.isfinite(norms) and math.isfinite(self.dot) else math.nan

    def quantiles(self) -> dict[float, float]:
        """Returns the differences that shares of the numbers do not exceed; those with NaN or infinity on one side count as infinite."""
        if not self._errors.size:
            return {}
        places = [math.ceil(share * self._errors.size) - 1 for share in QUANTILES]
        self._errors.partition(sorted(set(places)))
        return {share: float(self._errors[place]) for share, place in zip(QUANTILES, places, strict=True)}

    def needed(self) -> Needed | None:
        """Returns the smallest tolerances with which as many numbers as have to be are near enough."""
        if self.odd:
            return None
        relative, absolute = self._relative, self._absolute
        if self.tolerance.quantile < 1 and self.a.size:
            # The numbers that are farthest away are passed over.
            left = math.floor(self.a.size * (1 - self.tolerance.quantile) + 1e-9)
            parts = [self._excess(one, two) for one, two in self._parts()]
            place = self.a.size - 1 - left
            relative, absolute = (
                float(np.partition(np.concatenate([part[kind] for part in parts]), place)[place]) for kind in (0, 1)
            )
        return Needed(_rounded_up(relative) if math.isfinite(relative) else None, _rounded_up(absolute))

    def _parts(self) -> Iterator[tuple[_Floats, _Floats]]:
        for start in range(0, self.a.size, _PART):
            yield (
                self.a[start : start + _PART].astype(np.float64),
                self.b[start : start + _PART].astype(np.float64),
            )

    def _add(self, one: _Floats, two: _Floats) -> _Floats:
        """Adds a part and returns its absolute differences."""
        wrong = self.tolerance.differs(one, two, self.size)
        self.differing += int(np.count_nonzero(wrong))
        same = (one == two) | (np.isnan(one) & np.isnan(two))
        with np.errstate(invalid="ignore", over="ignore"):
            difference = np.abs(np.where(same, 0.0, one - two))
            self.noise += float(difference @ difference)
            self.first += float(one @ one)
            self.second += float(two @ two)
            self.dot += float(one @ two)
        odd = ~np.isfinite(difference)
        self.odd += int(np.count_nonzero(odd))
        difference[odd] = np.inf
        if difference.size:
            self.largest = max(self.largest, float(difference.max()))
            relative, absolute = self._excess(one, two)
            self._relative = max(self._relative, float(relative.max()))
            self._absolute = max(self._absolute, float(absolute.max()))
        with np.errstate(over="ignore"):
            return difference

    def _excess(self, one: _Floats, two: _Floats) -> tuple[_Floats, _Floats]:
        """Returns, for each number, the relative tolerance that it needs, and the absolute one."""
        same = (one == two) | (np.isnan(one) & np.isnan(two))
        size, scale = np.abs(two), max(1.0, self.size)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            difference = np.where(same, 0.0, np.abs(one - two))
            over = np.maximum(difference - self.tolerance.atol * scale, 0)
            relative = np.where(over == 0, 0.0, over / size)
            absolute = np.where(same, 0.0, np.maximum(difference - self.tolerance.rtol * size, 0) / scale)
        return np.nan_to_num(relative, nan=np.inf, posinf=np.inf), np.nan_to_num(absolute, nan=np.inf, posinf=np.inf)


def worst(a: Array, b: Array) -> tuple[tuple[int, ...], tuple[float, float]] | None:
    """Returns index and values where two arrays differ most, or None where the shapes differ or nothing is in them."""
    if not aligned(a, b) or not a.size:
        return None
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64).reshape(a.shape)
    with np.errstate(invalid="ignore"):
        difference = np.abs(first - second)
    difference[(first == second) | (np.isnan(first) & np.isnan(second))] = 0
    difference[np.isnan(difference)] = np.inf
    index = tuple(int(i) for i in np.unravel_index(int(difference.argmax()), a.shape))
    return index, (float(first[index]), float(second[index]))


def _largest(values: _Floats) -> float:
    size = np.abs(values)
    finite = size[np.isfinite(size)]
    return float(finite.max()) if finite.size else 0.0


def _rounded_up(number: float) -> float:
    """Returns a number with two digits that is no smaller."""
    if number == 0:
        return 0.0
    # What is rounded in the sums of a run with it must not make it too small.
    number *= 1 + 1e-9
    digit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return float(f"{math.ceil(number / digit) * digit:.2g}")


def _ratio(part: float, whole: float) -> float:
    if part == 0:
        return 0.0
    return part / whole if whole else float("inf")


def _top1(a: Array, b: Array) -> float | None:
    """Only for blobs of shape (N, C) or (N, C, 1, ...) with several classes."""
    if not a.size or a.ndim < 2 or a.shape[1] < 2 or a.size != a.shape[0] * a.shape[1]:
        return None
    first, second = a.reshape(a.shape[0], -1), b.reshape(a.shape[0], -1)
    return float(np.mean(first.argmax(axis=1) == second.argmax(axis=1)))
