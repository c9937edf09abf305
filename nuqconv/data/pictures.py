"""Pictures from files: what OpenCV's ``imread`` and ``imdecode`` make of them, with Pillow.

To the bit for PNG, BMP, PPM and TIFF, and for JPEG as far as both were built with the same libjpeg (``docs/data.md``).
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuqconv.data.extras import pillow
from nuqconv.errors import FormatError
from nuqconv.files.bounded import MOST_BINARY, MOST_PIXELS, read_bounded

__all__ = ["SUFFIXES", "Channels", "decode", "opened_picture", "read_picture", "read_picture_file"]

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""File names of pictures end so."""

_ORIENTATION = 0x0112
_ROWS = 256
"""Rows that are converted at a time, so that what lies between stays small."""
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N")


class Channels(str, Enum):
    """What a picture is made into."""

    COLOUR = "colour"
    GRAY = "gray"
    NATIVE = "native"
    """As it is stored: grey stays grey, and an alpha channel stays."""


def read_picture(path: str | Path, channels: Channels) -> NDArray[np.uint8]:
    """Reads a picture from a file.

    Args:
        path: The file.
        channels: What to make of its colours.

    Returns:
        (H, W, C) with C = 1, 3 (blue, green, red) or 4 (and alpha).

    Raises:
        FormatError: It cannot be read, or is no whole picture.
    """
    return decode(read_picture_file(path), channels, str(path))


def read_picture_file(path: str | Path) -> bytes:
    """Returns the bytes of a picture's file.

    Raises:
        FormatError: It cannot be read.
    """
    try:
        return read_bounded(path, MOST_BINARY)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error


def decode(data: bytes, channels: Channels, name: str) -> NDArray[np.uint8]:
    """Decodes a picture.

    Args:
        data: The bytes of the file.
        channels: What to make of its colours.
        name: What messages call it.

    Returns:
        (H, W, C) with C = 1, 3 (blue, green, red) or 4 (and alpha).

    Raises:
        FormatError: It is no whole picture.
    """
    with opened_picture(data, name) as opened:
        return _decoded(opened, channels)


@contextmanager
def opened_picture(data: bytes, name: str) -> Iterator[Any]:
    """Opens a picture with Pillow, for as long as it is worked with.

    Args:
        data: The bytes of the file.
        name: What messages call it.

    Yields:
        Pillow's image, whose pixels may not be decoded yet.

    Raises:
        FormatError: It is no whole picture, or has too many pixels; whatever is raised while it is open becomes that.
    """
    image = pillow()
    try:
        with warnings.catch_warnings():
            # Whatever Pillow thinks of a stranger's file, it is read or it is not.
            warnings.simplefilter("ignore")
            with image.open(io.BytesIO(data)) as opened:
                _check_size(*opened.size)
                yield opened
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        OverflowError,
        NotImplementedError,
        struct.error,
        MemoryError,
        image.DecompressionBombError,
    ) as error:
        what = (
            "is empty"
            if not data
            else f"is no picture that can be read: {str(error).replace(repr(error), '') or type(error).__name__}"
        )
        raise FormatError(f"{name}: {what}") from error


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ValueError(f"it is {height}x{width}, more than the {MOST_PIXELS} pixels that are read")


def _decoded(opened: Any, channels: Channels) -> NDArray[np.uint8]:
    kind = opened.format
    if channels is Channels.GRAY and kind == "JPEG":
        # The decoder gives the brightness as it is stored.
        opened.draft("L", None)
    if channels is Channels.NATIVE and (opened.mode in _DEEP or _is_deep(opened)):
        raise ValueError("it has 16 bits a channel, which Caffe refuses in a database")
    # Before the rest: a second try gives the pixels of a broken file without an error.
    opened.load()
    orientation = 1 if channels is Channels.NATIVE else _orientation(opened)
    pixels = _pixels(opened, channels)
    if channels is Channels.COLOUR and pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif channels is not Channels.NATIVE and pixels.shape[2] == 4:
        pixels = pixels[..., :3]
    if channels is Channels.GRAY and pixels.shape[2] == 3:
        pixels = _by_rows(pixels, partial(_gray, kind=kind))
    return np.ascontiguousarray(_turned(pixels, orientation))


def _pixels(opened: Any, channels: Channels) -> NDArray[np.uint8]:
    """Returns the pixels as they are stored, colours as blue, green, red."""
    mode = opened.mode
    if mode in _DEEP:
        deep: NDArray[np.uint8] = (np.asarray(opened) >> 8).astype(np.uint8)[..., None]
        return deep
    if mode == "CMYK" and opened.format == "JPEG":
        return _by_rows(np.asarray(opened), _from_cmyk)
    if mode in ("1", "L"):
        return np.asarray(opened.convert("L"))[..., None]
    if mode in ("LA", "RGBA", "PA") or (mode == "P" and "transparency" in opened.info):
        return np.asarray(opened.convert("RGBA"))[..., [2, 1, 0, 3]]
    if mode == "P" and opened.format == "BMP" and channels is Channels.NATIVE and _is_gray(opened):
        return np.asarray(opened.convert("L"))[..., None]
    if mode in ("P", "RGB", "YCbCr"):
        return np.asarray(opened.convert("RGB"))[..., ::-1]
    raise ValueError(f"its pixels are {mode}, which is not read")


def _is_deep(opened: Any) -> bool:
    """Says whether Pillow drops the lower half of 16 bits on its own."""
    modes = (tile[3][0] if isinstance(tile[3], tuple) else tile[3] for tile in opened.tile)
    return any(";16" in str(mode) for mode in modes)


def _is_gray(opened: Any) -> bool:
    colours = np.asarray(opened.getpalette("RGB")).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _by_rows(pixels: NDArray[np.uint8], convert: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    starts = range(0, max(1, pixels.shape[0]), _ROWS)
    return np.concatenate([convert(pixels[start : start + _ROWS]) for start in starts])


def _from_cmyk(stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Source: OpenCV's conversion, which takes the inks as they are stored in the file."""
    inks = 255 - stored.astype(np.int32)
    black = inks[..., 3:]
    colours: NDArray[np.int32] = black - ((255 - inks[..., 2::-1]) * black >> 8)
    return colours.astype(np.uint8)


def _gray(pixels: NDArray[np.uint8], kind: str | None) -> NDArray[np.uint8]:
    """Returns the brightness, each format with the rounding of its decoder."""
    blue, green, red = (pixels[..., channel].astype(np.int32) for channel in range(3))
    if kind == "PNG":
        # libpng drops what is behind the point, of its weights too.
        mixed = (red * 9797 + green * 19234 + blue * 3737) >> 15
    elif kind == "WEBP":
        mixed = (red * 9798 + green * 19235 + blue * 3735 + (1 << 14)) >> 15
    else:
        mixed = (red * 4899 + green * 9617 + blue * 1868 + (1 << 13)) >> 14
    return mixed.astype(np.uint8)[..., None]


def _orientation(opened: Any) -> int:
    """Returns EXIF's orientation, 1 to 8; 1 where there is none that can be read."""
    try:
        found = opened.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
