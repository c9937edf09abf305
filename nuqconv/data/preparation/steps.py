"""The steps of a preparation: size, part, colours, mean."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nuqconv.data.resize import METHODS, Picture, Window, resize
from nuqconv.errors import ConfigError, FormatError, ModelError
from nuqconv.files.bounded import MOST_BINARY, MOST_PIXELS, read_bounded
from nuqconv.frontends.caffe.schema import BlobProto
from nuqconv.frontends.caffe.weights import blob_array
from nuqconv.ir import Array

__all__ = ["FITS", "ColourMatrix", "Crop", "MeanImage", "Resize", "number", "numbers", "reshaped"]

FITS = ("squash", "short", "pad")
"""How a picture comes to its size: as it is, its shorter side, or whole with a border."""


def number(value: float) -> str:
    """Returns a float32 as the shortest text that is that number."""
    text = str(np.float32(value))
    return text.removesuffix(".0")


def numbers(values: tuple[float, ...]) -> str:
    """Returns float32 numbers as text, parted by blanks."""
    return " ".join(map(number, values))


@dataclass(frozen=True)
class Resize:
    """Another size.

    Attributes:
        height: Rows; with ``fit="short"`` the length of the shorter side.
        width: Columns; with ``fit="short"`` the same.
        method: One of `nuqconv.data.resize.METHODS`.
        fit: ``squash``: to height and width, whatever the picture's sides are; ``short``: the shorter side gets that length, the other one
            follows; ``pad``: the picture fits in whole, and the rest at the right and at the bottom is filled.
        fill: With ``pad`` the value of the rest, 0 to 255.
    """

    height: int
    width: int
    method: str = "linear"
    fit: str = "squash"
    fill: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS or self.fit not in FITS or min(self.height, self.width) < 1:
            raise ConfigError(
                f"{self}: expected positive sizes, a method of {', '.join(METHODS)}, and a fit of {', '.join(FITS)}"
            )
        if not 0 <= self.fill <= 255 or (self.fit == "short" and self.height != self.width):
            raise ConfigError(f"{self}: a border is filled with 0 to 255, and a shorter side has one length")

    def __str__(self) -> str:
        size = str(self.height) if self.fit == "short" else f"{self.height}x{self.width}"
        words = ["resize", *([] if self.fit == "squash" else [self.fit]), size]
        words += [] if self.method == "linear" else [self.method]
        words += [f"fill {self.fill}"] if self.fit == "pad" and self.fill else []
        return " ".join(words)

    def sizes(self, height: int, width: int) -> tuple[int, int]:
        """Returns the size that a picture of the given size gets; without a border."""
        if self.fit == "squash":
            return self.height, self.width
        if self.fit == "short":
            shorter = min(height, width)
            return (
                self.height if height == shorter else max(1, height * self.height // shorter),
                self.width if width == shorter else max(1, width * self.width // shorter),
            )
        scale = min(self.height / height, self.width / width)
        return tuple(  # type: ignore[return-value]
            min(most, max(1, round(size * scale))) for size, most in ((height, self.height), (width, self.width))
        )


@dataclass(frozen=True)
class Crop:
    """A part of the picture.

    Attributes:
        height: Rows.
        width: Columns.
        top: First row; None for the middle, where half a row is dropped.
        left: First column; None for the middle.
    """

    height: int
    width: int
    top: int | None = None
    left: int | None = None

    def __post_init__(self) -> None:
        if (
            min(self.height, self.width) < 1
            or (self.top is None) != (self.left is None)
            or min(self.top or 0, self.left or 0) < 0
        ):
            raise ConfigError(f"{self}: expected positive sizes, and the first row and column from 0 or neither")

    def __str__(self) -> str:
        place = "" if self.top is None else f" at {self.top} {self.left}"
        return f"crop {self.height}x{self.width}{place}"

    def window(self, height: int, width: int) -> Window:
        """Returns the place in a picture of a size.

        Raises:
            FormatError: The picture is smaller.
        """
        top = (height - self.height) // 2 if self.top is None else self.top
        left = (width - self.width) // 2 if self.left is None else self.left
        if min(top, left) < 0 or top + self.height > height or left + self.width > width:
            raise FormatError(f"the picture is {height}x{width}, too small for '{self}'")
        return Window(top, left, self.height, self.width)


@dataclass(frozen=True)
class ColourMatrix:
    """A device's conversion of colours, in whole numbers of which 256 is 1; the result is cut to 0 .. 255.

    Attributes:
        rows: Three rows of three weights; the rows are the channels that the net sees, the columns those of the picture.
        before: Subtracted from the channels before.
        after: Added to the channels of the result.
    """

    rows: tuple[tuple[int, int, int], ...]
    before: tuple[int, int, int] = (0, 0, 0)
    after: tuple[int, int, int] = (0, 0, 0)

    def __str__(self) -> str:
        values = [*(value for row in self.rows for value in row), *self.before, *self.after]
        return f"matrix {' '.join(map(str, values))}"

    def apply(self, picture: Picture) -> Picture:
        """Returns a picture (H, W, 3) in the other channels."""
        mixed = (picture.astype(np.int64) - self.before) @ np.array(self.rows, np.int64).T >> 8
        found: Picture = np.clip(mixed + self.after, 0, 255).astype(np.uint8)
        return found


@dataclass(frozen=True)
class MeanImage:
    """A mean for each pixel.

    Attributes:
        path: The file, as it was named.
        digest: SHA-256 of its values and shape; two means with the same one are the same.
        values: float32 (C, H, W).
    """

    path: str = field(compare=False)
    digest: str
    values: Array = field(compare=False, repr=False)

    @classmethod
    def read(cls, path: str | Path, shown: str | None = None) -> MeanImage:
        """Reads a .binaryproto of Caffe's or a .npy.

        Args:
            path: The file.
            shown: How to name it in texts; by default its path.

        Raises:
            FormatError: It cannot be read, or holds no (C, H, W) of finite numbers.
        """
        values = _mean_npy(path) if Path(path).suffix.lower() == ".npy" else _mean_blob(path)
        if values.ndim == 4 and values.shape[0] == 1:
            values = values[0]
        if values.ndim != 3 or not values.size or not np.isfinite(values).all():
            raise FormatError(
                f"{path}: holds {values.shape} of {values.dtype}, expected a mean (C, H, W) of finite numbers"
            )
        values = np.ascontiguousarray(values, np.float32)
        values.flags.writeable = False
        digest = hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).hexdigest()
        return cls(str(path) if shown is None else shown, digest, values)


def _mean_blob(path: str | Path) -> Array:
    blob = BlobProto()
    try:
        blob.ParseFromString(read_bounded(path, MOST_BINARY))
        return blob_array(blob)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ModelError as error:
        raise FormatError(f"{path}: the mean {error}") from error
    except Exception as error:  # protobuf's own class differs with its implementation
        if type(error).__name__ != "DecodeError":
            raise
        raise FormatError(f"{path}: is no .binaryproto (a BlobProto with a mean)") from error


def _mean_npy(path: str | Path) -> Array:
    from nuqconv.data.arrays import read_npy  # noqa: PLC0415  (it imports the base of the sources)

    found = read_npy(path)
    if found.dtype.kind not in "fiu":
        raise FormatError(f"{path}: holds {found.dtype}, expected numbers")
    return found.astype(np.float32)


def reshaped(
    pixels: Picture, change: Resize | None, crop: Crop | None
) -> tuple[Picture, tuple[int, int], tuple[int, int]]:
    """Returns the picture after resizing and cropping, and the place and the size of the whole that the part is of."""
    height, width = pixels.shape[:2]
    if change is not None:
        sides = height, width
        height, width = change.sizes(height, width)
        if height * width > MOST_PIXELS:
            raise FormatError(
                f"'{change}' makes {height}x{width} of a picture of {sides[0]}x{sides[1]}, more than the {MOST_PIXELS} pixels that are worked with"
            )
    padded = change is not None and change.fit == "pad"
    outer = (change.height, change.width) if padded and change is not None else (height, width)
    window = Window(0, 0, *outer) if crop is None else crop.window(*outer)
    if change is not None and not padded:
        # Only the rows and columns that are wanted are made.
        pixels = resize(pixels, height, width, change.method, window)
    else:
        if change is not None:
            whole = np.full((*outer, pixels.shape[2]), change.fill, np.uint8)
            whole[:height, :width] = resize(pixels, height, width, change.method)
            pixels = whole
        pixels = pixels[window.top : window.top + window.height, window.left : window.left + window.width]
    return pixels, (window.top, window.left), outer
