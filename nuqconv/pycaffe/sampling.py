"""Resizing of images, with the numbers of the libraries that pycaffe uses (scikit-image from 0.19 on, and scipy)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nuqconv.errors import RuntimeMissingError

__all__ = ["resize", "zoom"]

Image = npt.NDArray[Any]

_TRUNCATE = 4.0


def resize(image: Image, shape: Sequence[int], order: int) -> Image:
    """Resizes the first two axes as ``skimage.transform.resize(..., mode="constant")`` does.

    What gets smaller is smoothed first, by a Gaussian of (factor - 1) / 2; outside of the image there are zeros.

    Args:
        image: Floats, (H, W, K).
        shape: New height and width.
        order: Order of the spline.

    Raises:
        RuntimeMissingError: The order is above 1, and scipy is not installed.
    """
    factors = [old / new for old, new in zip(image.shape[:2], shape, strict=True)]
    smooth: Image = image
    for axis, factor in enumerate(factors):
        if factor > 1:
            smooth = _smoothed(smooth, (factor - 1) / 2, axis)
    if order > 1:
        found = _scipy().zoom(smooth, (*(1 / f for f in factors), 1), order=order, mode="grid-constant", grid_mode=True)
    else:
        found = smooth
        for axis, (factor, size) in enumerate(zip(factors, shape, strict=True)):
            found = _sampled(found, (np.arange(size) + 0.5) * factor - 0.5, axis, order)
    clipped: Image = np.clip(found.astype(image.dtype), image.min(), image.max())
    return clipped


def zoom(image: Image, shape: Sequence[int], order: int) -> Image:
    """Resizes the first two axes as ``scipy.ndimage.zoom`` does: the corners stay where they are.

    Args:
        image: (H, W, K).
        shape: New height and width.
        order: Order of the spline.

    Raises:
        RuntimeMissingError: The order is above 1, and scipy is not installed.
    """
    if order > 1:
        scale = tuple(new / old for new, old in zip(shape, image.shape[:2], strict=True))
        zoomed: Image = _scipy().zoom(image, (*scale, 1), order=order)
        return zoomed
    found: Image = image
    for axis, size in enumerate(shape):
        last = image.shape[axis] - 1
        places = np.linspace(0, last, size) if size > 1 else np.zeros(1)
        found = _sampled(found, places, axis, order)
    return found.astype(image.dtype)


def _sampled(image: Image, places: npt.NDArray[np.float64], axis: int, order: int) -> Image:
    """Returns values between the samples of an axis, where zeros lie outside; float64."""
    moved = np.moveaxis(image.astype(np.float64), axis, 0)
    padded = np.concatenate([np.zeros_like(moved[:1]), moved, np.zeros_like(moved[:1])])
    if order == 0:
        index = np.clip(np.floor(places + 0.5).astype(np.int64) + 1, 0, len(padded) - 1)
        return np.moveaxis(padded[index], 0, axis)
    low = np.floor(places).astype(np.int64)
    part = (places - low).reshape(-1, *(1,) * (moved.ndim - 1))
    ends = [np.clip(low + step, 0, len(padded) - 1) for step in (1, 2)]
    return np.moveaxis(padded[ends[0]] * (1 - part) + padded[ends[1]] * part, 0, axis)


def _smoothed(image: Image, sigma: float, axis: int) -> Image:
    """Returns an axis convolved with a Gaussian that is cut off at 4 sigma, zeros outside, in the image's dtype."""
    radius = int(_TRUNCATE * sigma + 0.5)
    places = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 / (sigma * sigma) * places**2)
    kernel /= kernel.sum()
    moved = np.moveaxis(image, axis, 0)
    padded = np.pad(moved.astype(np.float64), [(radius, radius), *[(0, 0)] * (moved.ndim - 1)])
    found = np.zeros(moved.shape)
    for start, weight in enumerate(kernel):
        found += weight * padded[start : start + len(moved)]
    return np.moveaxis(found, 0, axis).astype(image.dtype)


def _scipy() -> Any:
    try:
        from scipy import ndimage  # noqa: PLC0415 - optional
    except ImportError as error:
        raise RuntimeMissingError("interpolation of an order above 1 needs scipy: pip install scipy") from error
    return ndimage
