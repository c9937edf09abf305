"""Convolutions, and the windows they look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params
from nuqconv.ir.ops.weighted import Weighted
from nuqconv.ir.traits import Windowed

__all__ = ["Convolution", "Deconvolution", "Im2col"]

_EVERY = (slice(None), slice(None))


@dataclass(frozen=True)
class _Windowed(Weighted, abstract=True, traits=(Windowed(),)):
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
    scales_by_channel: ClassVar[bool] = True

    def output_count(self, inputs: int) -> int | None:
        """Returns one output for each input."""
        return inputs

    def _weight_shape(self, channels: int) -> Shape:
        raise NotImplementedError

    def _extent(self, size: int, axis: int) -> int:
        raise NotImplementedError

    @property
    def groups(self) -> int:
        """The groups."""
        return self.group

    def windows(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Axes of positions and of the kernel as there are spatial ones."""
        axis = self.axis % x.ndim if -x.ndim <= self.axis < x.ndim else x.ndim
        if x.ndim != axis + 1 + len(self.kernel) or x.shape[axis] % self.group:
            raise OpError(f"an input of shape {x.shape} does not fit {self}")
        return self._windows(x.reshape(-1, *x.shape[axis:]).astype(np.float32, copy=False))

    def _windows(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        raise NotImplementedError

    @property
    def _misfit(self) -> str:
        if len(self.kernel) != 2:
            return "the filter is not 4-D"
        return "" if self.axis == 1 else "its channels are not on axis 1"

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
class Convolution(_Windowed, traits=()):
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

    def quantization_limits(self) -> tuple[str, str]:
        """A 4-D filter; NUQ with dilation 1 and group 1."""
        if self._misfit:
            return (self._misfit,) * 2
        if any(step != 1 for step in self.dilation):
            return "", "NUQ needs dilation 1"
        return "", "NUQ needs group 1" if self.group != 1 else ""

    def to_matrix(self, weight: NDArray[Any]) -> NDArray[Any]:
        """A view."""
        return weight.reshape(self.group, self.num_output // self.group, -1)

    def from_matrix(self, matrix: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """A view, unless the matrix is no C-contiguous one."""
        return np.ascontiguousarray(matrix).reshape(shape)

    def _windows(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        pads = [(0, 0), (0, 0), *zip(self.pad, self.end_pads(images.shape[2:]), strict=True)]
        reach = [self._reach(axis) for axis in range(len(self.kernel))]
        views = sliding_window_view(np.pad(images, pads), reach, tuple(range(2, images.ndim)))
        taken = (*_EVERY, *(slice(None, None, step) for step in (*self.stride, *self.dilation)))
        return views[taken]

    def _weight_shape(self, channels: int) -> Shape:
        return (self.num_output, channels // self.group, *self.kernel)

    def _extent(self, size: int, axis: int) -> int:
        room = size + 2 * self.pad[axis] - self._reach(axis)
        # C++ divides towards zero.
        return (room // self.stride[axis] if room >= 0 else -(-room // self.stride[axis])) + 1


@dataclass(frozen=True)
class Deconvolution(_Windowed, traits=()):
    """Transposed convolution; weight (C, num_output / group, kernel...)."""

    @property
    def weight_output_axis(self) -> int:
        """The axis of the weight that runs over output channels (of one group)."""
        return 1

    def quantization_limits(self) -> tuple[str, str]:
        """A 4-D filter with dilation 1 and group 1, and no NUQ."""
        if self._misfit:
            return (self._misfit,) * 2
        if self.group != 1 or any(step != 1 for step in self.dilation):
            return ("a Deconvolution needs dilation 1 and group 1",) * 2
        return "", "a Deconvolution has no NUQ"

    def to_matrix(self, weight: NDArray[Any]) -> NDArray[Any]:
        """A copy: in the weight the columns come first."""
        split = weight.reshape(self.group, -1, *weight.shape[1:])
        return np.swapaxes(split, 1, 2).reshape(self.group, weight.shape[1], -1)

    def from_matrix(self, matrix: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """A copy."""
        split = matrix.reshape(self.group, shape[1], shape[0] // self.group, *shape[2:])
        return np.ascontiguousarray(np.swapaxes(split, 1, 2)).reshape(shape)

    def scale_outputs(self, weight: NDArray[np.float64], factor: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factors go along axis 1, group by group."""
        inputs, outputs = weight.shape[0] // self.group, weight.shape[1]
        grouped = weight.reshape(self.group, inputs, outputs, -1) * factor.reshape(self.group, 1, outputs, 1)
        return grouped.reshape(weight.shape)

    def _windows(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        # Output p sums input i times kernel k wherever p + pad = i * stride + k * dilation: zeros go between the inputs, the kernel is mirrored.
        sizes = images.shape[2:]
        steps = [(self._reach(axis) - 1, self.stride[axis], size) for axis, size in enumerate(sizes)]
        spread = np.zeros(
            (*images.shape[:2], *(step * (size - 1) + 2 * edge + 1 for edge, step, size in steps)), np.float32
        )
        places = (*_EVERY, *(slice(edge, edge + 1 + step * (size - 1), step) for edge, step, size in steps))
        spread[places] = images
        views = sliding_window_view(spread, [edge + 1 for edge, _, _ in steps], tuple(range(2, images.ndim)))
        inner = (slice(pad, views.shape[2 + axis] - pad) for axis, pad in enumerate(self.pad))
        turned = (*_EVERY, *inner, *(slice(None, None, -step) for step in self.dilation))
        return views[turned]

    def _weight_shape(self, channels: int) -> Shape:
        return (channels, self.num_output // self.group, *self.kernel)

    def _extent(self, size: int, axis: int) -> int:
        return self.stride[axis] * (size - 1) + self._reach(axis) - 2 * self.pad[axis]


@dataclass(frozen=True)
class Im2col(Op, traits=()):
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
