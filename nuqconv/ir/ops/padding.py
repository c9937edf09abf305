"""Padding on any axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params

__all__ = ["Pad", "PadMode"]

PadMode: TypeAlias = Literal["constant", "reflect", "edge", "wrap"]


@dataclass(frozen=True)
class Pad(Op):
    """Puts elements before and behind those of every axis.

    Attributes:
        begins: How many before the first, for each axis; a negative number cuts elements off, which happens before anything is put.
        ends: How many behind the last.
        mode: ``constant`` puts ``value``; ``reflect`` mirrors without repeating the outermost element, ``edge`` repeats it, ``wrap`` goes on
            at the other end.
        value: What ``constant`` puts.
    """

    begins: tuple[int, ...]
    ends: tuple[int, ...]
    mode: PadMode = "constant"
    value: float = 0.0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the sum of sizes and pads."""
        expect_params(params, [])
        shape = inputs[0]
        if not len(self.begins) == len(self.ends) == len(shape):
            raise OpError(f"has pads for {len(self.begins)} and {len(self.ends)} axes, the input has {len(shape)}")
        for axis, (size, begin, end) in enumerate(zip(shape, self.begins, self.ends, strict=True)):
            left = size + min(begin, 0) + min(end, 0)
            if left < 1:
                raise OpError(f"nothing is left of axis {axis} with {size} elements and pads {begin} and {end}")
            if self.mode == "reflect" and max(begin, end) > 0 and left == 1:
                raise OpError(f"axis {axis} has one element, which nothing can be mirrored at")
        return (tuple(size + begin + end for size, begin, end in zip(shape, self.begins, self.ends, strict=True)),)
