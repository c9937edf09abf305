"""Operators of forks that only move elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params
from nuqconv.ir.ops.resize import expect_image

__all__ = ["Reorg", "Reverse", "ShuffleChannel"]


@dataclass(frozen=True)
class ShuffleChannel(Op):
    """Channel ``g * (C / group) + c`` of the input becomes channel ``c * group + g`` (ShuffleNet)."""

    group: int = 1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        expect_image(inputs[0])
        if inputs[0][1] % self.group:
            raise OpError(f"{inputs[0][1]} channels do not divide into {self.group} groups")
        return (inputs[0],)


@dataclass(frozen=True)
class Reverse(Op):
    """Turns the order along one axis around."""

    axis: int = 0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        canonical_axis(self.axis, len(inputs[0]))
        return (inputs[0],)


@dataclass(frozen=True)
class Reorg(Op):
    """Moves blocks of ``stride`` x ``stride`` elements into channels as YOLO2 does, or back with ``reverse``.

    The published definition, in both directions, with (C, H, W) of the *input*, D = C / stride^2, k = o * D + c, o = dy * stride + dx: element
    (k, y, x) of an array (C, H, W) belongs to element (c, y * stride + dy, x * stride + dx) of an array (D, H * stride, W * stride). With
    ``reverse`` the first is the input and the second the output. Without, the input's numbers in their order are read as the second array,
    and the first, in its order, is the output of shape (C * stride^2, H / stride, W / stride).
    """

    stride: int = 2
    reverse: bool = False

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output with stride^2 times the channels and 1 / stride of the height and width, or the other way round."""
        expect_params(params, [])
        expect_image(inputs[0])
        count, channels, height, width = inputs[0]
        block = self.stride**2
        if channels % block:
            raise OpError(f"{channels} channels do not divide by stride^2 = {block}")
        if self.reverse:
            return ((count, channels // block, height * self.stride, width * self.stride),)
        if height % self.stride or width % self.stride:
            raise OpError(f"{height} x {width} does not divide by stride {self.stride}")
        return ((count, channels * block, height // self.stride, width // self.stride),)
