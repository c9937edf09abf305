"""How far two arrays are apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nuqconv.comparison.report import BlobComparison
from nuqconv.comparison.tolerance import Tolerance
from nuqconv.ir import Array
from nuqconv.search.metrics.boxes import real_rows

__all__ = ["aligned", "compare_blob", "detections", "worst"]


def aligned(a: Array, b: Array) -> bool:
    """Whether two shapes are equal but for axes of size 1."""
    return [size for size in a.shape if size != 1] == [size for size in b.shape if size != 1]


def compare_blob(name: str, layer: str, layer_type: str, a: Array, b: Array, tolerance: Tolerance) -> BlobComparison:
    """Compares one blob.

    Args:
        name: The blob.
        layer: The layer that makes it.
        layer_type: That layer's type.
        a: Its value on the first side, of any shape and numeric dtype.
        b: On the second.
        tolerance: What counts as equal.
    """
    nan = float("nan")
    if not aligned(a, b):
        return BlobComparison(name, layer, layer_type, (a.shape, b.shape), False, a.size, nan, nan, nan, None)
    first, second = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    differing = int(np.count_nonzero(tolerance.differs(first, second)))
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, first - second)
    largest = float(np.abs(difference).max()) if difference.size else 0.0
    return BlobComparison(
        name,
        layer,
        layer_type,
        (a.shape, b.shape),
        differing == 0,
        differing,
        largest if np.isfinite(largest) else nan,
        _ratio(float(np.linalg.norm(difference)), float(np.linalg.norm(second))),
        _cosine(first, second),
        _top1(a, b),
    )


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


def detections(rows: Array) -> Array:
    """Returns the rows (1, 1, found, 7) of a DetectionOutput without those that only fill up; -1 or zeros, by the runtime's taste."""
    return real_rows(rows).reshape(1, 1, -1, 7)


def _ratio(part: float, whole: float) -> float:
    if part == 0:
        return 0.0
    return part / whole if whole else float("inf")


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    if norms == 0:
        return 1.0 if not a.any() and not b.any() else 0.0
    return float(a @ b) / norms if np.isfinite(norms) else float("nan")


def _top1(a: Array, b: Array) -> float | None:
    """Only for blobs of shape (N, C) or (N, C, 1, ...) with several classes."""
    if not a.size or a.ndim < 2 or a.shape[1] < 2 or a.size != a.shape[0] * a.shape[1]:
        return None
    first, second = a.reshape(a.shape[0], -1), b.reshape(a.shape[0], -1)
    return float(np.mean(first.argmax(axis=1) == second.argmax(axis=1)))
