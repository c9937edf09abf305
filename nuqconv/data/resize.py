"""Pictures in another size, to the bit as OpenCV makes them (uint8), in numpy.

Source: the behaviour of ``cv::resize`` 4.10 (the coordinates, the 11-bit weights and the order of the sums are part of its results), measured
against it in ``tests/data/test_resize.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import ConfigError

__all__ = ["METHODS", "Window", "resize"]

Picture = NDArray[np.uint8]
_Ints = NDArray[np.intp]

_ONE = 2048
# Pixels of a window that are worked on at once, so that what is between stays in the cache of the processor.
_BAND = 1 << 15


@dataclass(frozen=True)
class Window:
    """A part of the resized picture: rows ``top`` to ``top + height``, columns ``left`` to ``left + width``."""

    top: int
    left: int
    height: int
    width: int


def resize(picture: Picture, height: int, width: int, method: str = "linear", window: Window | None = None) -> Picture:
    """Returns a picture in another size.

    Args:
        picture: (H, W, C) or (H, W), uint8.
        height: Rows of the result.
        width: Columns of the result.
        method: ``linear``, ``nearest`` or ``area`` (OpenCV's INTER_LINEAR, INTER_NEAREST, INTER_AREA), or ``pillow``, Pillow's bilinear, which
            averages over all pixels where a picture gets smaller.
        window: The part of the result that is wanted; all by default. Only what it needs is computed.

    Returns:
        (height, width, C) or (height, width), or of the window's size; uint8.

    Raises:
        ConfigError: The method is not known, a size is not positive, or the window is not within the result.
    """
    if method not in METHODS:
        raise ConfigError(f"resize: '{method}' is not known; known are {', '.join(METHODS)}")
    if min(height, width, *picture.shape) < 1:
        raise ConfigError(f"resize: from {picture.shape} to {height}x{width}; all sizes must be at least 1")
    window = window or Window(0, 0, height, width)
    if (
        min(window.top, window.left) < 0
        or min(window.height, window.width) < 1
        or window.top + window.height > height
        or window.left + window.width > width
    ):
        raise ConfigError(f"resize: {window} is not within {height}x{width}")
    if picture.shape[:2] == (height, width):
        part: Picture = picture[window.top : window.top + window.height, window.left : window.left + window.width]
        return part
    pixels = picture if picture.ndim == 3 else picture[..., None]
    found: Picture = METHODS[method](pixels, height, width, window)
    return found if picture.ndim == 3 else found.reshape(found.shape[:2])


def _scales(old: int, new: int) -> tuple[float, float]:
    """Returns new / old and its inverse, which is not always old / new."""
    inverse = new / old
    return inverse, 1.0 / inverse


@dataclass(frozen=True)
class _Taps:
    """For each place of an axis two neighbours and their weights, as integers of which `_ONE` is 1."""

    first: _Ints
    second: _Ints
    weights: NDArray[np.int32]


def _taps(places: NDArray[np.int64], fractions: NDArray[np.float32], size: int, *, clamped: bool) -> _Taps:
    if clamped:
        inside = (places >= 0) & (places < size - 1)
        fractions = np.where(inside, fractions, np.float32(0))
        places = np.clip(places, 0, size - 1)
    weights = np.rint(np.stack([np.float32(1) - fractions, fractions]) * np.float32(_ONE)).astype(np.int32)
    return _Taps(np.clip(places, 0, size - 1), np.clip(places + 1, 0, size - 1), weights)


def _linear_taps(old: int, new: int, start: int, count: int, *, clamped: bool) -> _Taps:
    _, scale = _scales(old, new)
    exact = ((np.arange(start, start + count) + 0.5) * scale - 0.5).astype(np.float32)
    places = np.floor(exact)
    return _taps(places.astype(np.int64), exact - places, old, clamped=clamped)


def _growing_taps(old: int, new: int, start: int, count: int, *, clamped: bool) -> _Taps:
    """The neighbours of INTER_AREA where the picture gets larger along an axis or the other."""
    inverse, scale = _scales(old, new)
    index = np.arange(start, start + count)
    places = np.floor(index * scale).astype(np.int64)
    fractions = ((index + 1) - (places + 1) * inverse).astype(np.float32)
    fractions = np.where(fractions <= 0, np.float32(0), fractions - np.floor(fractions))
    return _taps(places, fractions, old, clamped=clamped)


def _linear(pixels: Picture, height: int, width: int, window: Window) -> Picture:
    return _interpolated(pixels, height, width, window, _linear_taps)


def _interpolated(pixels: Picture, height: int, width: int, window: Window, taps: Callable[..., _Taps]) -> Picture:
    rows = taps(pixels.shape[0], height, window.top, window.height, clamped=False)
    columns = taps(pixels.shape[1], width, window.left, window.width, clamped=True)
    channels = pixels.shape[2]
    left, right = (_flat(places, channels) for places in (columns.first, columns.second))
    across = np.repeat(columns.weights, channels, axis=1)
    result = np.empty((window.height, window.width * channels), np.uint8)
    step = max(1, _BAND // window.width)
    for start in range(0, window.height, step):
        part = slice(start, start + step)
        total = np.full((len(rows.first[part]), result.shape[1]), 2, np.int32)
        for places, weights in zip((rows.first, rows.second), rows.weights, strict=True):
            lines = pixels[places[part]].reshape(len(total), -1)
            sums = lines[:, left] * across[0]
            sums += lines[:, right] * across[1]
            sums >>= 4
            sums *= weights[part, None]
            sums >>= 16
            total += sums
        total >>= 2
        result[part] = total
    return result.reshape(window.height, window.width, channels)


def _flat(places: _Ints, channels: int) -> _Ints:
    """Returns where the channels of some pixels are in a row of numbers: picking single numbers is several times as fast."""
    flat: _Ints = (places[:, None] * channels + np.arange(channels)).ravel()
    return flat


def _nearest(pixels: Picture, height: int, width: int, window: Window) -> Picture:
    def places(old: int, new: int, start: int, count: int) -> _Ints:
        _, scale = _scales(old, new)
        found: _Ints = np.minimum(np.floor(np.arange(start, start + count) * scale).astype(np.intp), old - 1)
        return found

    rows = places(pixels.shape[0], height, window.top, window.height)
    columns = places(pixels.shape[1], width, window.left, window.width)
    found: Picture = pixels[rows][:, columns]
    return found


def _area(pixels: Picture, height: int, width: int, window: Window) -> Picture:
    old_height, old_width = pixels.shape[:2]
    if height > old_height or width > old_width:
        return _interpolated(pixels, height, width, window, _growing_taps)
    if old_height % height == 0 and old_width % width == 0:
        return _blocks(pixels, old_height // height, old_width // width, window)
    return _averages(pixels, height, width, window)


def _blocks(pixels: Picture, tall: int, wide: int, window: Window) -> Picture:
    """Means of blocks of whole pixels."""
    rows = slice(window.top * tall, (window.top + window.height) * tall)
    columns = slice(window.left * wide, (window.left + window.width) * wide)
    blocks = pixels[rows, columns].reshape(window.height, tall, window.width, wide, -1)
    sums = blocks.sum(axis=(1, 3), dtype=np.int32)
    if (tall, wide) == (2, 2):
        means: Picture = ((sums + 2) >> 2).astype(np.uint8)
    else:
        means = np.rint(sums.astype(np.float32) * np.float32(1 / (tall * wide))).astype(np.uint8)
    return means


def _shares(old: int, new: int, start: int, count: int) -> tuple[_Ints, NDArray[np.float32]]:
    """For each place (rows) its pixels in order and their shares; pixels beyond have share 0."""
    scale = 1.0 / (new / old)
    begin = np.arange(start, start + count) * scale
    end = begin + scale
    cell = np.minimum(scale, old - begin)
    first = np.ceil(begin).astype(np.intp)
    last = np.minimum(np.floor(end).astype(np.intp), old - 1)
    first = np.minimum(first, last)
    before = np.where(first - begin > 1e-3, (first - begin) / cell, 0.0)
    after = np.where(end - last > 1e-3, np.minimum(np.minimum(end - last, 1.0), cell) / cell, 0.0)
    most = int((last - first).max()) + 2
    pixels = first[:, None] - 1 + np.arange(most)
    shares = np.where(pixels < last[:, None], (1.0 / cell)[:, None], 0.0)
    shares[:, 0] = before
    shares[pixels == last[:, None]] = after
    return np.clip(pixels, 0, old - 1), shares.astype(np.float32)


def _averages(pixels: Picture, height: int, width: int, window: Window) -> Picture:
    """Means weighted by the share of each pixel, summed one after the other in float32: along a row, then down the rows."""
    rows, down = _shares(pixels.shape[0], height, window.top, window.height)
    columns, across = _shares(pixels.shape[1], width, window.left, window.width)
    channels = pixels.shape[2]
    across = np.repeat(across, channels, axis=0)
    total = np.zeros((window.height, window.width * channels), np.float32)
    for row in range(rows.shape[1]):
        lines = pixels[rows[:, row]].reshape(window.height, -1)
        sums = np.zeros_like(total)
        for column in range(columns.shape[1]):
            sums += lines[:, _flat(columns[:, column], channels)] * across[:, column]
        total += sums * down[:, row, None]
    means: Picture = np.clip(np.rint(total), 0, 255).astype(np.uint8)
    return means.reshape(window.height, window.width, channels)


def _pillow(pixels: Picture, height: int, width: int, window: Window) -> Picture:
    from nuqconv.data.extras import pillow  # noqa: PLC0415

    image = pillow()
    # Pillow has no two channels, and an alpha channel would weigh the others.
    planes = [image.fromarray(np.ascontiguousarray(pixels[..., index])) for index in range(pixels.shape[2])]
    found = [np.asarray(plane.resize((width, height), image.Resampling.BILINEAR)) for plane in planes]
    rows, columns = (
        slice(start, start + count) for start, count in ((window.top, window.height), (window.left, window.width))
    )
    return np.stack([plane[rows, columns] for plane in found], axis=-1)


METHODS: Mapping[str, Callable[[Picture, int, int, Window], Any]] = {
    "linear": _linear,
    "nearest": _nearest,
    "area": _area,
    "pillow": _pillow,
}
"""How a picture gets another size, by the word for it."""
