"""Convolutions, and the windows they look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params

__all__ = ["Convolution", "Deconvolution", "Im2col"]


@dataclass(frozen=True)
class _Windowed(Op, abstract=True):
    """What the two convolutions share. Spatial attributes have one entry for each spatial dimension.

    All axes before the channels at ``axis`` are batch axes, all after it are spatial. Several inputs of one shape give as many outputs,
    each computed with the same parameters: weight, then bias (num_output,) if ``bias_term``.
    """

    num_output: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    group: int = 1
    bias_term: bool = True
    axis: int = 1

    max_inputs: ClassVar[int | None] = None
    num_outputs: ClassVar[int | None] = None

    def output_count(self, inputs: int) -> int | None:
        """Returns one output for each input."""
        return inputs

    @property
    def weight_output_axis(self) -> int:
        """The axis of the weight that runs over output channels."""
        raise NotImplementedError

    def _weight_shape(self, channels: int) -> Shape:
        raise NotImplementedError

    def _extent(self, size: int, axis: int) -> int:
        raise NotImplementedError

    def _reach(self, axis: int) -> int:
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Each input (batch..., C, spatial...), each output (batch..., num_output, spatial...)."""
        shape, rank = inputs[0], len(self.kernel)
        axis = canonical_axis(self.axis, len(shape))
        if len(shape) != axis + 1 + rank:
            raise OpError(f"input has {len(shape)} dimensions, expected {axis + 1 + rank}")
        if len(set(inputs)) != 1:
            raise OpError(f"inputs differ in shape: {', '.join('x'.join(map(str, item)) for item in inputs)}")
        channels = shape[axis]
        if self.group < 1 or channels % self.group or self.num_output % self.group:
            raise OpError(f"group {self.group} does not divide {channels} input or {self.num_output} output channels")
        weight = self._weight_shape(channels)
        expect_params(params, [weight, (self.num_output,)] if self.bias_term else [weight])
        spatial = tuple(self._extent(size, number) for number, size in enumerate(shape[axis + 1 :]))
        if any(size < 1 for size in spatial):
            raise OpError(
                f"output size {'x'.join(map(str, spatial))} is not positive: the kernel exceeds the padded input"
            )
        return ((*shape[:axis], self.num_output, *spatial),) * len(inputs)


@dataclass(frozen=True)
class Convolution(_Windowed):
    """Cross-correlation; weight (num_output, C / group, kernel...)."""

    @property
    def weight_output_axis(self) -> int:
        """The axis of the weight that runs over output channels."""
        return 0

    def end_pads(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Returns the padding behind the last element of each spatial dimension.

        It is ``pad``, or more where a kernel that exceeds the padded input by less than a stride still gets one window.

        Args:
            sizes: The input's spatial dimensions.
        """
        ends = []
        for axis, (size, pad) in enumerate(zip(sizes, self.pad, strict=True)):
            last = (self._extent(size, axis) - 1) * self.stride[axis] + self._reach(axis)
            ends.append(max(pad, last - size - pad))
        return tuple(ends)

    def _weight_shape(self, channels: int) -> Shape:
        return (self.num_output, channels // self.group, *self.kernel)

    def _extent(self, size: int, axis: int) -> int:
        room = size + 2 * self.pad[axis] - self._reach(axis)
        # C++ divides towards zero.
        return (room // self.stride[axis] if room >= 0 else -(-room // self.stride[axis])) + 1


@dataclass(frozen=True)
class Deconvolution(_Windowed):
    """Transposed convolution; weight (C, num_output / group, kernel...)."""

    @property
    def weight_output_axis(self) -> int:
        """The axis of the weight that runs over output channels (of one group)."""
        return 1

    def _weight_shape(self, channels: int) -> Shape:
        return (channels, self.num_output // self.group, *self.kernel)

    def _extent(self, size: int, axis: int) -> int:
        return self.stride[axis] * (size - 1) + self._reach(axis) - 2 * self.pad[axis]


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
