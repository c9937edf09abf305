"""Operators that only lay elements out again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_image, expect_params
from nuqconv.ir.traits import Rearranges, SharesMemory, Trait

__all__ = ["DepthToSpace", "Flatten", "Permute", "Reorg", "Reshape", "Reverse", "ShuffleChannel", "SpaceToDepth"]


@dataclass(frozen=True)
class Flatten(Op, traits=(Rearranges(), SharesMemory())):
    """Joins the axes from ``axis`` to ``end_axis`` (inclusive) into one; if that is one before ``axis``, an axis of size 1 is put in."""

    axis: int = 1
    end_axis: int = -1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The joined axis has the product of the sizes."""
        expect_params(params, [])
        shape = inputs[0]
        first, last = canonical_axis(self.axis, len(shape)), canonical_axis(self.end_axis, len(shape))
        if last < first - 1:
            raise OpError(f"end_axis {last} lies more than one before axis {first}")
        return ((*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :]),)


@dataclass(frozen=True)
class Permute(Op, traits=(Rearranges(),)):
    """Axis ``i`` of the output is axis ``order[i]`` of the input; axes that ``order`` leaves out follow in their order."""

    order: tuple[int, ...]

    def special_traits(self) -> tuple[Trait, ...]:
        """One that leaves all axes where they are hands its memory on."""
        return (SharesMemory(),) if self.order == tuple(range(len(self.order))) else ()

    def full_order(self, rank: int) -> tuple[int, ...]:
        """Returns the permutation of all ``rank`` axes.

        Raises:
            OpError: An axis is named twice or lies outside the shape.
        """
        if len(set(self.order)) != len(self.order) or any(not 0 <= axis < rank for axis in self.order):
            raise OpError(f"order {self.order} is no choice of the {rank} axes")
        return (*self.order, *(axis for axis in range(rank) if axis not in self.order))

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The input's sizes in the new order."""
        expect_params(params, [])
        return (tuple(inputs[0][axis] for axis in self.full_order(len(inputs[0]))),)


@dataclass(frozen=True)
class Reshape(Op, traits=(Rearranges(), SharesMemory())):
    """Replaces ``num_axes`` axes from ``axis`` on (-1: all of them) by ``dims``, where 0 copies the input's size and -1 is what remains."""

    dims: tuple[int, ...]
    axis: int = 0
    num_axes: int = -1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has as many elements as the input."""
        expect_params(params, [])
        shape = inputs[0]
        start = canonical_axis(self.axis, len(shape), end=True)
        end = len(shape) if self.num_axes == -1 else start + self.num_axes
        if not start <= end <= len(shape):
            raise OpError(f"num_axes {self.num_axes} from axis {start} exceeds {len(shape)} dimensions")
        if any(dim < -1 for dim in self.dims) or self.dims.count(-1) > 1:
            raise OpError(f"dims {self.dims}: at most one -1, nothing below it")
        if any(dim == 0 and start + number >= len(shape) for number, dim in enumerate(self.dims)):
            raise OpError(f"dims {self.dims}: a 0 stands where the input has no axis")
        middle = [shape[start + number] if dim == 0 else dim for number, dim in enumerate(self.dims)]
        whole = [*shape[:start], *middle, *shape[end:]]
        known = prod(dim for dim in whole if dim != -1)
        total = prod(shape)
        if -1 in whole:
            if known == 0 or total % known:
                raise OpError(f"{total} elements cannot fill {'x'.join(map(str, whole))}")
            whole[whole.index(-1)] = total // known
        elif known != total:
            raise OpError(f"{total} elements cannot fill {'x'.join(map(str, whole))}")
        return (tuple(whole),)


@dataclass(frozen=True)
class DepthToSpace(Op, traits=(Rearranges(),)):
    """Channels of an (N, C, H, W) input become blocks of pixels.

    ``DCR``: channel ``(dy * block + dx) * D + c`` is pixel (dy, dx) of every block of channel c, with D = C / block^2; ``CRD``: channel
    ``(c * block + dy) * block + dx`` is.
    """

    block: int
    mode: Literal["DCR", "CRD"] = "DCR"

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (N, C / block^2, H * block, W * block)."""
        expect_params(params, [])
        expect_image(inputs[0])
        count, channels, height, width = inputs[0]
        if self.block < 1 or channels % self.block**2:
            raise OpError(f"{channels} channels do not divide by block^2 = {self.block**2}")
        return ((count, channels // self.block**2, height * self.block, width * self.block),)


@dataclass(frozen=True)
class SpaceToDepth(Op, traits=(Rearranges(),)):
    """Blocks of pixels become channels: the inverse of DepthToSpace with ``DCR``."""

    block: int

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (N, C * block^2, H / block, W / block)."""
        expect_params(params, [])
        expect_image(inputs[0])
        count, channels, height, width = inputs[0]
        if self.block < 1 or height % self.block or width % self.block:
            raise OpError(f"{height} x {width} does not divide by block {self.block}")
        return ((count, channels * self.block**2, height // self.block, width // self.block),)


@dataclass(frozen=True)
class ShuffleChannel(Op, traits=(Rearranges(),)):
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
class Reverse(Op, traits=(Rearranges(),)):
    """Turns the order along one axis around."""

    axis: int = 0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        canonical_axis(self.axis, len(inputs[0]))
        return (inputs[0],)


@dataclass(frozen=True)
class Reorg(Op, traits=(Rearranges(),)):
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
