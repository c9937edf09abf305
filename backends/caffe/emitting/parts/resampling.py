"""Resizing along one axis as a matrix: what ONNX's Resize does in each of its modes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from nuqconv.ir import Array

__all__ = ["COORDINATES", "Resampling", "weights"]

COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
)
"""The rules that are known."""


@dataclass(frozen=True)
class Resampling:
    """How elements between elements are computed.

    Attributes:
        mode: What is taken: the ``nearest`` element, or two (``linear``) or four (``cubic``) weighted ones.
        coordinates: Where in the input an element of the output lies, one of `COORDINATES`.
        nearest: Which element is the nearest: ``round_prefer_floor``, ``round_prefer_ceil``, ``floor`` or ``ceil``.
        cubic: The coefficient of the cubic kernel.
        exclude_outside: Whether elements outside the input have no weight, instead of being the outermost one.
    """

    mode: str
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False


def weights(how: Resampling, size: int, count: int, scale: float) -> Array:
    """Returns the matrix (count, size) that resizes an axis.

    Args:
        how: The mode.
        size: Elements of the input.
        count: Elements of the output.
        scale: The factor that positions are computed with; ``count / size`` where only sizes were given.
    """
    places = _places(how.coordinates, size, count, scale)
    if how.mode == "nearest":
        found = np.clip(_NEAREST[how.nearest](places), 0, size - 1).astype(int)
        return np.asarray(np.eye(size, dtype=np.float32)[found])
    # In float32, as onnxruntime has them.
    first = np.floor(places)
    share = (places - first)[:, None]
    reach = 1 if how.mode == "linear" else 2
    taps = np.arange(1 - reach, 1 + reach)
    factors = np.where(taps == 0, 1 - share, share) if how.mode == "linear" else _cubic(np.abs(taps - share), how.cubic)
    index = first[:, None].astype(int) + taps
    if how.mode == "linear":
        # Positions before the first and behind the last element are moved there first.
        return weights_at(np.clip(index, 0, size - 1), factors, size)
    if how.exclude_outside:
        factors = np.where((index < 0) | (index >= size), 0, factors)
        factors = factors / factors.sum(1, keepdims=True)
    return weights_at(np.clip(index, 0, size - 1), factors, size)


def weights_at(index: Array, factors: Array, size: int) -> Array:
    """Returns a matrix with factors at indices of each row, added up where an index comes twice."""
    matrix = np.zeros((len(index), size))
    np.add.at(matrix, (np.arange(len(index))[:, None], index), factors)
    return matrix.astype(np.float32)


def _cubic(distance: Array, a: float) -> Array:
    near: Array = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.asarray(np.where(distance <= 1, near, np.where(distance < 2, far, 0)))


def _places(coordinates: str, size: int, count: int, scale: float) -> Array:
    one, step = np.float32(1), np.float32(scale)
    at: Array = np.arange(count, dtype=np.float32)
    half = np.float32(0.5)
    if coordinates == "align_corners":
        return np.asarray(at * np.float32(size - 1) / np.float32(max(count - 1, 1)))
    if coordinates == "asymmetric":
        return np.asarray(at / step)
    if coordinates == "tf_half_pixel_for_nn":
        return np.asarray((at + half) / step)
    if coordinates == "pytorch_half_pixel" and count == 1:
        return np.zeros_like(at)
    middle: Array = (at + half) / step - half
    if coordinates == "half_pixel_symmetric":
        adjustment = np.float32(count) / (step * np.float32(size))
        return np.asarray(np.float32(size) / 2 * (one - adjustment) + middle)
    return middle


def _with_ties(places: Array) -> Array:
    """Puts places that miss the middle between two elements by rounding errors only there, as onnxruntime does."""
    middle = np.round(places.astype(np.float64) * 2) / 2
    return np.where(np.abs(places - middle) < _TIE, middle, places)


_TIE = 1e-5
_NEAREST: Mapping[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda places: np.asarray(np.ceil(_with_ties(places) - 0.5)),
    "round_prefer_ceil": lambda places: np.asarray(np.floor(_with_ties(places) + 0.5)),
    "floor": lambda places: np.asarray(np.floor(places)),
    "ceil": lambda places: np.asarray(np.ceil(places)),
}
