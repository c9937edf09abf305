"""Pooling with Caffe's window rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params

__all__ = ["PoolMethod", "Pooling"]

PoolMethod: TypeAlias = Literal["MAX", "AVE", "STOCHASTIC"]


@dataclass(frozen=True)
class Pooling(Op):
    """Maximum, average or expectation over windows of an (N, C, H, W) input.

    The output size is rounded up (or down if not ``round_up``); if there is any padding, a last window that would start behind the input is
    dropped. AVE divides by the size of the window clipped to the padded input. STOCHASTIC is at inference the sum of squares divided by the sum
    where that is positive, else 0, over the window clipped to the input. With ``mask`` a second output tells where each maximum was first
    found: its index in the plane, ``row * W + column``, as float32, or -1 where the window holds nothing above the lowest float.
    """

    method: PoolMethod
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    global_pooling: bool = False
    round_up: bool = True
    mask: bool = False

    num_outputs: ClassVar[int | None] = None

    def output_count(self, inputs: int) -> int | None:
        """The second output is the mask."""
        del inputs
        return 1 + int(self.mask)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (N, C, windows down, windows across), and a mask of that shape."""
        expect_params(params, [])
        if self.mask and self.method != "MAX":
            raise OpError(f"{self.method} has no mask")
        if self.method == "STOCHASTIC" and any(self.pad):
            raise OpError("STOCHASTIC cannot be padded")
        shape = inputs[0]
        if len(shape) != 4:
            raise OpError(f"input has {len(shape)} dimensions, expected 4")
        if self.global_pooling:
            return ((*shape[:2], 1, 1),) * (1 + int(self.mask))
        spatial = tuple(self.windows(size, axis) for axis, size in enumerate(shape[2:]))
        if min(spatial) < 1:
            raise OpError("the kernel exceeds the padded input")
        return ((*shape[:2], *spatial),) * (1 + int(self.mask))

    def windows(self, size: int, axis: int) -> int:
        """Returns the number of windows along spatial ``axis`` over an input of ``size``."""
        kernel, stride, pad = self.kernel[axis], self.stride[axis], self.pad[axis]
        if pad >= kernel:
            raise OpError(f"pad {pad} is not smaller than kernel {kernel}")
        room = size + 2 * pad - kernel
        count = (-(-room // stride) if self.round_up else room // stride) + 1
        # Caffe clips both axes as soon as one of them is padded.
        if any(self.pad) and (count - 1) * stride >= size + pad:
            count -= 1
        return count
