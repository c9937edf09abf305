"""Operators that change the size of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params

__all__ = ["Interp", "Upsample"]


def expect_image(shape: Shape, what: str = "input") -> None:
    """Raises OpError unless the shape has four dimensions."""
    if len(shape) != 4:
        raise OpError(f"{what} has {len(shape)} dimensions, expected 4")


@dataclass(frozen=True)
class Interp(Op):
    """Bilinear resizing of (N, C, H, W) that maps corners to corners.

    Row ``y`` of the output is taken at row ``y * (H - 1) / (H' - 1)`` of the input, or at row 0 if there is only one.

    Attributes:
        size: Height and width of the output; None where ``shrink`` or ``zoom`` say it.
        shrink: Keeps about one of so many rows and columns; None if not given.
        zoom: Puts ``zoom - 1`` new rows and columns between neighbours, after shrinking; None if not given.
        crop: Rows and columns cut off at the top and left, and at the bottom and right, before resizing.
    """

    size: tuple[int, int] | None = None
    shrink: int | None = None
    zoom: int | None = None
    crop: tuple[int, int] = (0, 0)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (N, C, H', W')."""
        expect_params(params, [])
        expect_image(inputs[0])
        cropped = [length - sum(self.crop) for length in inputs[0][2:]]
        if min(cropped) < 1:
            raise OpError(f"nothing of {inputs[0][2]} x {inputs[0][3]} is left after cropping by {sum(self.crop)}")
        return ((*inputs[0][:2], *(self._length(length, axis) for axis, length in enumerate(cropped))),)

    def _length(self, length: int, axis: int) -> int:
        if self.size is not None:
            return self.size[axis]
        if self.shrink is not None:
            length = (length - 1) // self.shrink + 1
        return length + (length - 1) * ((self.zoom or 1) - 1)


@dataclass(frozen=True)
class Upsample(Op):
    """Enlarges (N, C, H, W): repeats each element, or with a second input puts it where a maximum was.

    The second input is the mask of a MAX pooling, of the first input's shape: for each element its flat index in the output's (H', W');
    everything else is 0. The last of several elements with the same index counts.

    Attributes:
        scale: Factor down and across.
        size: Height and width of the output in place of the factors; only with a mask.
        less: Rows and columns by which the output is smaller than the factors say; only with a mask.
    """

    scale: tuple[int, int] = (2, 2)
    size: tuple[int, int] | None = None
    less: tuple[int, int] = (0, 0)

    max_inputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (N, C, H', W')."""
        expect_params(params, [])
        shape = inputs[0]
        expect_image(shape)
        if len(inputs) == 2 and inputs[1] != shape:
            raise OpError(f"the mask has shape {inputs[1]}, the input {shape}")
        if len(inputs) == 1 and (self.size or any(self.less)):
            raise OpError("upsample_h, upsample_w, pad_out_h and pad_out_w go with the mask of a pooling")
        height, width = self.size or (
            length * factor - less for length, factor, less in zip(shape[2:], self.scale, self.less, strict=True)
        )
        return ((*shape[:2], height, width),)
