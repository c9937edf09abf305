"""Convolution, Deconvolution and InnerProduct: the layers that carry the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params

__all__ = ["Convolution", "Deconvolution", "InnerProduct"]


@dataclass(frozen=True)
class _Windowed(Op):
    """What the two convolutions share. Spatial attributes have one entry for each spatial dimension.

    Parameters: weight, then bias (num_output,) if ``bias_term``.
    """

    num_output: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    group: int = 1
    bias_term: bool = True

    @property
    def weight_output_axis(self) -> int:
        """The axis of the weight that runs over output channels."""
        raise NotImplementedError

    def _weight_shape(self, channels: int) -> Shape:
        raise NotImplementedError

    def _extent(self, size: int, axis: int) -> int:
        raise NotImplementedError

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input (N, C, spatial...), output (N, num_output, spatial...)."""
        shape, rank = inputs[0], len(self.kernel)
        if len(shape) != rank + 2:
            raise OpError(f"input has {len(shape)} dimensions, expected {rank + 2}")
        if self.group < 1 or shape[1] % self.group or self.num_output % self.group:
            raise OpError(f"group {self.group} does not divide {shape[1]} input or {self.num_output} output channels")
        weight = self._weight_shape(shape[1])
        expect_params(params, [weight, (self.num_output,)] if self.bias_term else [weight])
        spatial = tuple(self._extent(size, axis) for axis, size in enumerate(shape[2:]))
        if min(spatial) < 1:
            raise OpError(
                f"output size {'x'.join(map(str, spatial))} is not positive: the kernel exceeds the padded input"
            )
        return ((shape[0], self.num_output, *spatial),)


@dataclass(frozen=True)
class Convolution(_Windowed):
    """Cross-correlation; weight (num_output, C / group, kernel...)."""

    @property
    def weight_output_axis(self) -> int:
        """The axis of the weight that runs over output channels."""
        return 0

    def _weight_shape(self, channels: int) -> Shape:
        return (self.num_output, channels // self.group, *self.kernel)

    def _extent(self, size: int, axis: int) -> int:
        reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        return (size + 2 * self.pad[axis] - reach) // self.stride[axis] + 1


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
        reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        return self.stride[axis] * (size - 1) + reach - 2 * self.pad[axis]


@dataclass(frozen=True)
class InnerProduct(Op):
    """Matrix product over all dimensions from ``axis`` on; weight (num_output, K), or (K, num_output) if ``transpose``.

    Parameters: weight, then bias (num_output,) if ``bias_term``.
    """

    num_output: int
    axis: int = 1
    transpose: bool = False
    bias_term: bool = True

    @property
    def weight_output_axis(self) -> int:
        """The axis of the weight that runs over outputs."""
        return 1 if self.transpose else 0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input (leading..., rest...), output (leading..., num_output)."""
        shape = inputs[0]
        axis = canonical_axis(self.axis, len(shape))
        size = 1
        for dim in shape[axis:]:
            size *= dim
        weight = (size, self.num_output) if self.transpose else (self.num_output, size)
        expect_params(params, [weight, (self.num_output,)] if self.bias_term else [weight])
        return ((*shape[:axis], self.num_output),)
