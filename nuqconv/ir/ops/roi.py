"""Pooling over regions of interest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params
from nuqconv.ir.ops.resize import expect_image

__all__ = ["PSROIPooling", "ROIPooling"]


def _regions(inputs: Sequence[Shape]) -> int:
    """Checks the inputs and returns the number of regions."""
    expect_image(inputs[0])
    regions = inputs[1]
    if len(regions) < 2 or regions[1] != 5 or prod(regions[2:]) != 1:
        raise OpError(f"regions have shape {regions}, expected R x 5: image, x1, y1, x2, y2")
    return regions[0]


@dataclass(frozen=True)
class ROIPooling(Op):
    """Maximum over a grid of bins in each region (Fast R-CNN).

    Inputs are (N, C, H, W) and the regions (R, 5): image, x1, y1, x2, y2, both ends inclusive. The corners are multiplied by ``scale`` and
    rounded, half away from zero. A bin's ends are rounded outwards, so bins overlap; a bin outside of the input gives 0.
    """

    pooled: tuple[int, int]
    scale: float = 1.0

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    @property
    def fixed_batch(self) -> str:
        """Regions pick their image by number."""
        return "regions pick their image out of a fixed number"

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (R, C, pooled height, pooled width)."""
        expect_params(params, [])
        return ((_regions(inputs), inputs[0][1], *self.pooled),)


@dataclass(frozen=True)
class PSROIPooling(Op):
    """Average over a grid of bins in each region, each bin in channels of its own (R-FCN).

    Inputs are (N, ``channels`` * group * group, H, W) and the regions as in `ROIPooling`. The corners are rounded, half away from zero, and then
    multiplied by ``scale``; bin (i, j) of output channel c averages input channel ``(c * group + i) * group + j`` over the rows and columns that
    the bin touches; a bin outside of the input gives 0.
    """

    channels: int
    group: int
    scale: float

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    @property
    def fixed_batch(self) -> str:
        """Regions pick their image by number."""
        return "regions pick their image out of a fixed number"

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (R, channels, group, group)."""
        expect_params(params, [])
        count = _regions(inputs)
        expected = self.channels * self.group**2
        if inputs[0][1] != expected:
            raise OpError(f"input has {inputs[0][1]} channels, expected {expected} = output_dim * group_size^2")
        return ((count, self.channels, self.group, self.group),)
