"""Operators that change the size of images or look between pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_image, expect_params, spread
from nuqconv.ir.traits import Jumps

__all__ = ["GridSample", "Interp", "Resize", "Upsample", "possible_sizes", "scaled_size"]


def scaled_size(size: int, scale: float) -> int:
    """Returns the length of an axis by a factor, rounded down as onnxruntime does it: 30 by 50/30 in float32 is 50, in higher precision 49."""
    return int(np.floor(np.float32(size) * np.float32(scale)))


def possible_sizes(size: int, scale: float) -> tuple[int, ...]:
    """Returns the lengths of an axis by a factor: in float32, as in onnxruntime, and exactly, by ONNX's rule; one where they are the same."""
    return tuple(dict.fromkeys((scaled_size(size, scale), int(np.floor(size * float(np.float32(scale)))))))


@dataclass(frozen=True)
class Interp(Op, traits=()):
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
class Upsample(Op, traits=(Jumps(),)):
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


@dataclass(frozen=True)
class Resize(Op, traits=()):
    """ONNX's Resize; its documentation tells what the words mean.

    Attributes:
        sizes: The whole shape of the output; -1 for an axis that keeps the input's size, whatever it is.
        scales: The factor of each axis that positions are computed with; empty where sizes were given, which means output / input.
        mode: What is taken at a position between elements.
        coordinates: Where an element of the output lies in the input (``coordinate_transformation_mode``).
        nearest: Which element is the nearest (``nearest_mode``).
        cubic_coeff_a: The coefficient of the cubic kernel.
        exclude_outside: Whether elements outside have no weight.
        extrapolation: What stands outside of the region with ``tf_crop_and_resize``.
        antialias: Whether the kernel is widened where the size shrinks.
        roi: The region with ``tf_crop_and_resize``: beginnings of all axes, then their ends.
    """

    sizes: tuple[int, ...]
    scales: tuple[float, ...] = ()
    mode: Literal["nearest", "linear", "cubic"] = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False
    extrapolation: float = 0.0
    antialias: bool = False
    roi: tuple[float, ...] = ()

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """The same with the entries of the axes in another order."""
        rank = len(order)
        roi = (*spread(self.roi[:rank], order), *spread(self.roi[rank:], order)) if self.roi else ()
        scales = spread(self.scales, order) if self.scales else ()
        return replace(self, sizes=spread(self.sizes, order), scales=scales, roi=roi)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the sizes."""
        expect_params(params, [])
        rank = len(inputs[0])
        if len(self.sizes) != rank or len(self.scales) not in (0, rank) or len(self.roi) not in (0, 2 * rank):
            raise OpError(f"sizes {self.sizes}, scales {self.scales} or roi {self.roi} do not fit {rank} axes")
        if any(size < 1 and size != -1 for size in self.sizes) or min(self.scales, default=1) <= 0:
            raise OpError(f"sizes {self.sizes} and scales {self.scales} must be positive")
        return (tuple(old if new == -1 else new for old, new in zip(inputs[0], self.sizes, strict=True)),)


@dataclass(frozen=True)
class GridSample(Op, traits=()):
    """The first input (N, C, spatial...) at the positions of the second (N, positions..., axes), where -1 and 1 are its ends, as ONNX has it.

    Attributes:
        mode: What is taken between elements.
        padding: What stands outside: 0, the outermost element, or the mirrored input.
        align_corners: Whether -1 and 1 are the centres of the outermost elements or their outer ends.
    """

    mode: Literal["linear", "nearest", "cubic"] = "linear"
    padding: Literal["zeros", "border", "reflection"] = "zeros"
    align_corners: bool = False

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (N, C, positions...)."""
        expect_params(params, [])
        data, grid = inputs
        rank = len(data)
        if rank < 3 or len(grid) != rank or grid[0] != data[0] or grid[-1] != rank - 2:
            raise OpError(f"positions of shape {grid} do not fit an input of shape {data}")
        if self.mode == "cubic" and rank != 4:
            raise OpError(f"mode cubic is for 4 axes, the input has {rank}")
        return ((*data[:2], *grid[1:-1]),)
