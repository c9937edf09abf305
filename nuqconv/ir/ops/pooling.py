"""Pooling, with Caffe's window rule and with ONNX's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal, TypeAlias

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params
from nuqconv.ir.traits import KeepsChannels, KeepsScale, Trait, Windowed

__all__ = ["SPP", "PoolMethod", "Pooling", "WindowPool"]

PoolMethod: TypeAlias = Literal["MAX", "AVE", "STOCHASTIC"]


@dataclass(frozen=True)
class Pooling(Op, traits=(KeepsChannels(), KeepsScale(), Windowed())):
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

    quantizable: ClassVar[bool] = True

    def quantization_limits(self) -> tuple[str, str]:
        """Averages of windows, whose inputs are quantized."""
        fits = self.method == "AVE" and not self.global_pooling
        return ("" if fits else "only AVE Pooling that is not global can be quantized", "a Pooling has no weights")

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


@dataclass(frozen=True)
class SPP(Op, traits=()):
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
class WindowPool(Op, traits=(KeepsChannels(), Windowed())):
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

    def special_traits(self) -> tuple[Trait, ...]:
        """A p-norm is rounded on the way."""
        return () if self.method == "LP" else (KeepsScale(),)

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
