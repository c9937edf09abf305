"""What is done with a sample before the net sees it, as one value."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuqconv.data.pictures import Channels
from nuqconv.data.preparation.steps import ColourMatrix, Crop, MeanImage, Resize, numbers, reshaped
from nuqconv.data.resize import Picture
from nuqconv.errors import ConfigError, FormatError
from nuqconv.ir import Array

__all__ = ["COLOURS", "Preparation"]

COLOURS = {"bgr": Channels.COLOUR, "rgb": Channels.COLOUR, "gray": Channels.GRAY, "native": Channels.NATIVE}
"""The orders of channels that a net sees, and how a picture is read for them."""


@dataclass(frozen=True)
class Preparation:
    """All that is done with a sample, in this order: read, resize, crop, order of channels, range, mean, scale.

    ``net input = (pixel - mean) * scale``, with pixels 0 to 255; with ``unit`` they are divided by 255 first, and with ``std`` the result is
    divided by it.

    Attributes:
        colour: What the net sees: ``bgr``, ``rgb``, ``gray``, or ``native`` (as stored, colours as BGR); None where nobody said it: then what the
            net's number of channels tells, else ``bgr``.
        resize: Another size first.
        crop: Then a part of it.
        matrix: Then a device's conversion of colours.
        unit: Whether pixels are divided by 255.
        mean: Subtracted: one number for all channels or one for each; in the order that the net sees. Empty for none.
        mean_image: Subtracted instead, pixel by pixel.
        scale: Factors, for all channels or for each. Empty for none.
        std: Divisors, for all channels or for each. Empty for none.
        channels_last: Whether the net takes (H, W, C).
        notes: What was left out or taken for granted where this was read; no part of what is compared.
    """

    colour: str | None = None
    resize: Resize | None = None
    crop: Crop | None = None
    matrix: ColourMatrix | None = None
    unit: bool = False
    mean: tuple[float, ...] = ()
    mean_image: MeanImage | None = None
    scale: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channels_last: bool = False
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        problems = []
        if self.colour is not None and self.colour not in COLOURS:
            problems.append(f"colour is '{self.colour}'; known are {', '.join(COLOURS)}")
        if self.mean and self.mean_image is not None:
            problems.append("there are a mean for each channel and one for each pixel; give one of them")
        for name in ("mean", "scale", "std"):
            values = tuple(float(np.float32(value)) for value in getattr(self, name))
            object.__setattr__(self, name, values)
            if not np.isfinite(values).all():
                problems.append(f"{name} is {numbers(values)}; expected finite numbers")
            if self.colour in ("bgr", "rgb", "gray") and len(values) not in (0, 1, self.channels):
                problems.append(f"{name} has {len(values)} numbers, expected 1 or {self.channels} for '{self.colour}'")
        if 0 in self.std or 0 in self.scale:
            problems.append("a scale or std of 0 leaves nothing of the picture")
        if problems:
            raise ConfigError("the preparation is wrong", problems)

    @property
    def channels(self) -> int | None:
        """Channels that the net sees; None where the data tell."""
        return {"bgr": 3, "rgb": 3, "gray": 1}.get(self.colour or "")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is done."""
        return self == Preparation()

    def __str__(self) -> str:
        """The canonical text; `read_preparation` reads it back."""
        steps = [
            self.colour,
            self.resize,
            self.crop,
            self.matrix,
            "0..1" if self.unit else None,
            f"mean {numbers(self.mean)}" if self.mean else None,
            f'mean "{self.mean_image.path}"' if self.mean_image is not None else None,
            f"scale {numbers(self.scale)}" if self.scale else None,
            f"std {numbers(self.std)}" if self.std else None,
            "channels last" if self.channels_last else None,
        ]
        return ", ".join(str(step) for step in steps if step is not None)

    def digest(self) -> str:
        """Returns a hash of all that makes a difference, the values of a mean image included."""
        mean = "" if self.mean_image is None else self.mean_image.digest
        shown = replace(self, mean_image=None, colour=self.colour or "bgr")
        return hashlib.sha256(f"{shown} {mean}".encode()).hexdigest()

    def with_channels(self, channels: int | None) -> Preparation:
        """Returns it with the colours said that a net of so many channels takes, where nobody said them."""
        if self.colour is not None:
            return self
        return replace(self, colour="gray" if channels == 1 else "bgr")

    @property
    def reading(self) -> Channels:
        """How a picture is read for it."""
        return COLOURS[self.colour or "bgr"]

    def picture(self, pixels: Picture, *, ordered: bool = False) -> Array:
        """Prepares a picture.

        Args:
            pixels: (H, W, C), uint8, read as `reading` says.
            ordered: Whether the channels are in the net's order already, and not blue, green, red.

        Returns:
            float32 (C, H, W), or (H, W, C) for channels last.

        Raises:
            FormatError: The picture does not fit the preparation.
        """
        shaped, offset, size = reshaped(pixels, self.resize, self.crop)
        if self.colour == "rgb" and shaped.shape[2] == 3 and not ordered:
            shaped = shaped[..., ::-1]
        if self.matrix is not None:
            if shaped.shape[2] != 3:
                raise FormatError(f"'{self.matrix}' is for three channels, the picture has {shaped.shape[2]}")
            shaped = self.matrix.apply(shaped)
        return self._numbered(np.ascontiguousarray(shaped.transpose(2, 0, 1)), offset, size)

    def array(self, values: Array, *, ordered: bool = False) -> Array:
        """Prepares an array.

        Args:
            values: (C, H, W), or for no more than mean and scale any shape with the channels first. Only uint8 gets another size.
            ordered: Whether the channels are in the net's order already, and not blue, green, red.

        Returns:
            float32.

        Raises:
            FormatError: They do not fit the preparation.
        """
        if values.dtype == np.uint8 and values.ndim == 3 and (self.resize is not None or self.matrix is not None):
            return self.picture(np.ascontiguousarray(values.transpose(1, 2, 0)), ordered=ordered)
        if self.resize is not None or self.matrix is not None:
            raise FormatError(
                f"'{self.resize or self.matrix}' is for pictures of whole numbers 0 .. 255 (uint8), the sample is {values.shape} of {values.dtype}"
            )
        size = tuple(values.shape[1:])
        offset = (0, 0)
        if self.crop is not None:
            if values.ndim != 3:
                raise FormatError(f"'{self.crop}' is for samples (C, H, W), the sample is {values.shape}")
            window = self.crop.window(*values.shape[1:])
            offset = (window.top, window.left)
            values = values[:, window.top : window.top + window.height, window.left : window.left + window.width]
        if self.colour == "rgb" and values.ndim == 3 and values.shape[0] == 3 and not ordered:
            values = values[::-1]
        return self._numbered(values, offset, size)

    def label_map(self, classes: NDArray[Any]) -> NDArray[Any]:
        """Returns a map of classes (H, W), uint8, in the place and size of what the net sees; nearest neighbours, 255 on a border."""
        nearest = None if self.resize is None else replace(self.resize, method="nearest", fill=255)
        found, _, _ = reshaped(classes[..., None], nearest, self.crop)
        return found.reshape(found.shape[:2])

    @property
    def keeps_edges(self) -> bool:
        """Whether the net sees the whole picture and nothing beyond it, so that boxes in parts of the picture stay as they are."""
        return self.crop is None and (self.resize is None or self.resize.fit != "pad")

    def _numbered(self, values: Array, offset: tuple[int, int], size: tuple[int, ...]) -> Array:
        """Returns float32 with mean and scale done, each step in float32 as Caffe does it."""
        found = values.astype(np.float32)
        if self.unit:
            found /= np.float32(255)
        if self.mean_image is not None:
            found -= self._mean_part(found, offset, size)
        if self.mean:
            found -= self._spread("mean", self.mean, found)
        if self.scale:
            found *= self._spread("scale", self.scale, found)
        if self.std:
            found /= self._spread("std", self.std, found)
        return np.ascontiguousarray(found.transpose(1, 2, 0)) if self.channels_last and found.ndim == 3 else found

    def _mean_part(self, found: Array, offset: tuple[int, int], size: tuple[int, ...]) -> Array:
        mean: Any = self.mean_image.values if self.mean_image is not None else None
        if mean.shape != (found.shape[0], *size):
            shown = "x".join(map(str, (found.shape[0], *size)))
            raise FormatError(
                f"the mean image is {'x'.join(map(str, mean.shape))}, the picture before its crop {shown}"
            )
        rows, columns = (slice(start, start + count) for start, count in zip(offset, found.shape[1:], strict=True))
        part: Array = mean[:, rows, columns]
        return part

    def _spread(self, name: str, values: tuple[float, ...], found: Array) -> Array:
        if len(values) == 1:
            return np.full((), values[0], np.float32)
        if not found.ndim or len(values) != found.shape[0]:
            channels = found.shape[0] if found.ndim else 0
            raise FormatError(f"{name} has {len(values)} numbers, but a sample has {channels} channels")
        return np.array(values, np.float32).reshape(-1, *(1,) * (found.ndim - 1))
