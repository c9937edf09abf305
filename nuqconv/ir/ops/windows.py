"""Pooling with ONNX's window rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params

__all__ = ["WindowPool"]


@dataclass(frozen=True)
class WindowPool(Op):
    """Maximum, average or p-norm over windows of an (N, C, spatial...) input, as ONNX's MaxPool, AveragePool and LpPool have it.

    What lies outside the input counts as lowest for MAX and as 0 otherwise.

    Attributes:
        method: MAX, AVE or LP.
        kernel: Elements of a window along each spatial axis.
        stride: Distance of neighbouring windows.
        begins: Padding before the first element.
        ends: Padding behind the last.
        dilation: Distance of neighbouring elements of a window.
        count_include_pad: Whether AVE divides by all elements of a window within the padded input, or by those within the input.
        ceil: Whether the number of windows is rounded up; one that would start behind the input and its front padding is left out.
        p: The exponent of LP.
    """

    method: Literal["MAX", "AVE", "LP"]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    dilation: tuple[int, ...]
    count_include_pad: bool = False
    ceil: bool = False
    p: int = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (N, C, windows...)."""
        expect_params(params, [])
        shape = inputs[0]
        lists = (self.kernel, self.stride, self.begins, self.ends, self.dilation)
        if len(shape) < 3 or any(len(item) != len(shape) - 2 for item in lists):
            raise OpError(f"has {'/'.join(str(len(item)) for item in lists)} entries for an input of {len(shape)} axes")
        counts = tuple(self.windows(size, axis) for axis, size in enumerate(shape[2:]))
        if min(counts) < 1:
            raise OpError("the kernel exceeds the padded input")
        return ((*shape[:2], *counts),)

    def windows(self, size: int, axis: int) -> int:
        """Returns the number of windows along spatial ``axis`` over an input of ``size``."""
        stride = self.stride[axis]
        room = size + self.begins[axis] + self.ends[axis] - self.dilation[axis] * (self.kernel[axis] - 1) - 1
        count = (-(-room // stride) if self.ceil else room // stride) + 1
        if self.ceil and (count - 1) * stride >= size + self.begins[axis]:
            count -= 1
        return count
