"""Operators that only lay elements out again."""

from __future__ import annotations

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import join, permuted, reshaped
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import DepthToSpace, Flatten, Permute, Reorg, Reshape, Reverse, ShuffleChannel, SpaceToDepth
from nuqconv.ir.ops.base import canonical_axis

__all__: list[str] = []


@emits(Flatten, construct="Flatten")
def write_flatten(b: LayerBuilder, op: Flatten) -> None:
    """A Flatten, or a Reshape where it puts an axis in."""
    rank = len(b.input.shape)
    axis, end = canonical_axis(op.axis, rank), canonical_axis(op.end_axis, rank)
    if end < axis:
        b.finish(reshaped(b, b.input, b.outputs[0].shape, ""))
        return
    b.finish(b.add("", "Flatten", [b.input], b.outputs[0].shape, flatten_param={"axis": axis, "end_axis": op.end_axis}))


@emits(Reshape, construct="Reshape")
def write_reshape(b: LayerBuilder, op: Reshape) -> None:
    """A Reshape."""
    fields = {"shape": {"dim": list(op.dims)}, "axis": op.axis, "num_axes": op.num_axes}
    b.finish(b.add("", "Reshape", [b.input], b.outputs[0].shape, reshape_param=fields))


@emits(
    Permute,
    construct="Permute (SSD and most forks; BVLC Caffe lacks it), or Reshape where only axes of size 1 move",
    exact="to the bit",
)
def write_permute(b: LayerBuilder, op: Permute) -> None:
    """A Permute."""
    b.finish(permuted(b, b.input, op.full_order(len(b.input.shape)), ""))


@emits(ShuffleChannel, construct="Reshape, Permute, Reshape", exact="to the bit")
def write_shuffle_channel(b: LayerBuilder, op: ShuffleChannel) -> None:
    """Groups and their channels change places."""
    count, channels, *sizes = b.input.shape
    area = sizes[0] * sizes[1]
    apart = reshaped(b, b.input, (count, op.group, channels // op.group, area), "groups")
    b.finish(reshaped(b, permuted(b, apart, (0, 2, 1, 3)), b.input.shape, "together"))


@emits(Reorg, construct="Reshape, Permute, Reshape", exact="to the bit")
def write_reorg(b: LayerBuilder, op: Reorg) -> None:
    """Blocks and channels change places, as the operator's definition says."""
    count, channels, height, width = b.input.shape
    step, least = op.stride, channels // op.stride**2
    if op.reverse:
        blocks = reshaped(b, b.input, (count, step, step, least, height, width), "blocks")
        moved = permuted(b, blocks, (0, 3, 4, 1, 5, 2))
    else:
        blocks = reshaped(b, b.input, (count, least, height, step, width, step), "blocks")
        moved = permuted(b, blocks, (0, 3, 5, 1, 2, 4))
    b.finish(reshaped(b, moved, b.outputs[0].shape, "image"))


@emits(Reverse, construct="Slice into single elements and Concat", exact="to the bit")
def write_reverse(b: LayerBuilder, op: Reverse) -> None:
    """All elements along the axis in the other order."""
    x = b.input
    axis = canonical_axis(op.axis, len(x.shape))
    if x.shape[axis] == 1:
        b.finish(x)
        return
    parts = [(*x.shape[:axis], 1, *x.shape[axis + 1 :])] * x.shape[axis]
    single = b.add_many("slice", "Slice", [x], parts, slice_param={"axis": axis})
    b.finish(join(b, single[::-1], axis, ""))


def _in_blocks(
    b: LayerBuilder, x: Blob, split: tuple[int, ...], order: tuple[int, ...], result: tuple[int, ...]
) -> Blob:
    return reshaped(b, permuted(b, reshaped(b, x, split, "blocks"), order), result, "image")


@emits(DepthToSpace, construct="Reshape, Permute, Reshape", exact="to the bit")
def write_depth_to_space(b: LayerBuilder, op: DepthToSpace) -> None:
    """Channels become blocks."""
    count, channels, height, width = b.input.shape
    step, least = op.block, channels // op.block**2
    if op.mode == "DCR":
        split, order = (count, step, step, least, height, width), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (count, least, step, step, height, width), (0, 1, 4, 2, 5, 3)
    b.finish(_in_blocks(b, b.input, split, order, b.outputs[0].shape))


@emits(SpaceToDepth, construct="Reshape, Permute, Reshape", exact="to the bit")
def write_space_to_depth(b: LayerBuilder, op: SpaceToDepth) -> None:
    """Blocks become channels."""
    count, channels, height, width = b.input.shape
    step = op.block
    split = (count, channels, height // step, step, width // step, step)
    b.finish(_in_blocks(b, b.input, split, (0, 3, 5, 1, 2, 4), b.outputs[0].shape))
