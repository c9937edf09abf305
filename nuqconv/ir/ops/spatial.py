"""Operators over neighbourhoods in space or across channels, other than convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params
from nuqconv.ir.ops.pooling import Pooling, PoolMethod

__all__ = ["LRN", "SPP", "Im2col"]


@dataclass(frozen=True)
class LRN(Op):
    """Local response normalization of an (N, C, H, W) input.

    ACROSS_CHANNELS: ``x * (k + alpha / local_size * s) ** -beta``, with ``s`` the sum of squares over ``local_size`` channels around each.
    WITHIN_CHANNEL: ``x * (1 + alpha / local_size**2 * s) ** -beta``, with ``s`` over a square of ``local_size`` in height and width; ``k`` has
    no part in it. What lies outside counts as 0.
    """

    local_size: int = 5
    alpha: float = 1.0
    beta: float = 0.75
    k: float = 1.0
    region: Literal["ACROSS_CHANNELS", "WITHIN_CHANNEL"] = "ACROSS_CHANNELS"

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        if len(inputs[0]) != 4:
            raise OpError(f"input has {len(inputs[0])} dimensions, expected 4")
        if self.local_size % 2 != 1:
            raise OpError(f"local_size {self.local_size} is not odd")
        return (inputs[0],)


@dataclass(frozen=True)
class SPP(Op):
    """Spatial pyramid pooling: level ``i`` pools an (N, C, H, W) input in ``2**i`` windows each way, and all results are joined along axis 1."""

    pyramid_height: int
    method: PoolMethod = "MAX"

    def levels(self, height: int, width: int) -> tuple[Pooling, ...]:
        """Returns the pooling of each level for an input of that size."""
        levels = []
        for level in range(self.pyramid_height):
            kernels, pads = [], []
            for size in (height, width):
                kernel = -(-size // 2**level)
                kernels.append(kernel)
                pads.append((kernel * 2**level - size + 1) // 2)
            kernel_pair, pad_pair = (kernels[0], kernels[1]), (pads[0], pads[1])
            levels.append(Pooling(self.method, kernel_pair, kernel_pair, pad_pair))
        return tuple(levels)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (N, C * number of windows); a pyramid of one level is a plain pooling with output (N, C, 1, 1)."""
        expect_params(params, [])
        shape = inputs[0]
        if len(shape) != 4:
            raise OpError(f"input has {len(shape)} dimensions, expected 4")
        made: list[Shape] = []
        for number, level in enumerate(self.levels(*shape[2:])):
            try:
                made += level.infer([shape], [])
            except OpError as error:
                raise OpError(f"level {number} of the pyramid: {error}") from error
        if len(made) == 1:
            return (made[0],)
        return ((shape[0], sum(prod(found[1:]) for found in made)),)


@dataclass(frozen=True)
class Im2col(Op):
    """The windows of a convolution laid out as channels: channel ``(c, k...)`` at a position is what the kernel's element ``k`` meets there.

    ``kernel``, ``stride``, ``pad`` and ``dilation`` have one entry for each axis behind ``axis``, or one for all of them.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...] = (1,)
    pad: tuple[int, ...] = (0,)
    dilation: tuple[int, ...] = (1,)
    axis: int = 1

    def windows(self, shape: Shape) -> tuple[tuple[int, int, int, int], ...]:
        """Returns (kernel, stride, pad, dilation) of each spatial axis.

        Raises:
            OpError: The lists do not fit the number of axes.
        """
        count = len(shape) - canonical_axis(self.axis, len(shape)) - 1
        if count < 1:
            raise OpError(f"no axis is left behind axis {self.axis}")
        columns = []
        for name in ("kernel", "stride", "pad", "dilation"):
            values: tuple[int, ...] = getattr(self, name)
            if len(values) not in (1, count):
                raise OpError(f"{name} has {len(values)} entries for {count} spatial axes")
            columns.append(values * count if len(values) == 1 else values)
        return tuple(zip(*columns, strict=True))

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input (leading..., C, sizes...), output (leading..., C * kernel elements, positions...)."""
        expect_params(params, [])
        shape = inputs[0]
        axis = canonical_axis(self.axis, len(shape))
        windows = self.windows(shape)
        positions = [
            (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for size, (kernel, stride, pad, dilation) in zip(shape[axis + 1 :], windows, strict=True)
        ]
        if min(positions) < 1:
            raise OpError("the kernel exceeds the padded input")
        return ((*shape[:axis], shape[axis] * prod(window[0] for window in windows), *positions),)
