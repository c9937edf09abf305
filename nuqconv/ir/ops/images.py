"""Resizing as ONNX has it, and blocks of pixels that become channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params
from nuqconv.ir.ops.resize import expect_image

__all__ = ["DepthToSpace", "Resize", "SpaceToDepth"]


@dataclass(frozen=True)
class Resize(Op):
    """ONNX's Resize; its documentation tells what the words mean.

    Attributes:
        sizes: The whole shape of the output.
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

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the sizes."""
        expect_params(params, [])
        rank = len(inputs[0])
        if len(self.sizes) != rank or len(self.scales) not in (0, rank) or len(self.roi) not in (0, 2 * rank):
            raise OpError(f"sizes {self.sizes}, scales {self.scales} or roi {self.roi} do not fit {rank} axes")
        if min(self.sizes, default=1) < 1 or min(self.scales, default=1) <= 0:
            raise OpError(f"sizes {self.sizes} and scales {self.scales} must be positive")
        return (self.sizes,)


@dataclass(frozen=True)
class DepthToSpace(Op):
    """Channels of an (N, C, H, W) input become blocks of pixels.

    ``DCR``: channel ``(dy * block + dx) * D + c`` is pixel (dy, dx) of every block of channel c, with D = C / block^2; ``CRD``: channel
    ``(c * block + dy) * block + dx`` is.
    """

    block: int
    mode: Literal["DCR", "CRD"] = "DCR"

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (N, C / block^2, H * block, W * block)."""
        expect_params(params, [])
        expect_image(inputs[0])
        count, channels, height, width = inputs[0]
        if self.block < 1 or channels % self.block**2:
            raise OpError(f"{channels} channels do not divide by block^2 = {self.block**2}")
        return ((count, channels // self.block**2, height * self.block, width * self.block),)


@dataclass(frozen=True)
class SpaceToDepth(Op):
    """Blocks of pixels become channels: the inverse of DepthToSpace with ``DCR``."""

    block: int

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (N, C * block^2, H / block, W / block)."""
        expect_params(params, [])
        expect_image(inputs[0])
        count, channels, height, width = inputs[0]
        if self.block < 1 or height % self.block or width % self.block:
            raise OpError(f"{height} x {width} does not divide by block {self.block}")
        return ((count, channels * self.block**2, height // self.block, width // self.block),)
