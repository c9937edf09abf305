"""Operators that pad, pick, repeat or mask elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, constant, cut, eltwise, negated, permuted, reshaped
from nuqconv.backends.caffe.emitting.parts.moves import broadcast, padded, picked, resized
from nuqconv.backends.caffe.emitting.parts.numbers import positive
from nuqconv.backends.caffe.emitting.parts.pairs import multiplied
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import DepthToSpace, Expand, Gather, Pad, SpaceToDepth, StridedSlice, Trilu
from nuqconv.ir.ops.base import canonical_axis

__all__: list[str] = []


@emits(
    Pad,
    construct="constant: Power (scale 0), Tile and Concat; reflect, edge, wrap: Slice and Concat; negative: Slice",
    exact="to the bit",
)
def write_pad(b: LayerBuilder, op: Pad) -> None:
    """One axis after the other, after what is cut off."""
    x = b.input
    for axis, (begin, end) in enumerate(zip(op.begins, op.ends, strict=True)):
        x = cut(b, x, axis, max(-begin, 0), x.shape[axis] - max(-end, 0), "crop")
    for axis, (begin, end) in enumerate(zip(op.begins, op.ends, strict=True)):
        wide = max(begin, 0), max(end, 0)
        if op.mode == "constant":
            x = padded(b, x, axis, *wide, op.value)
        elif any(wide):
            x = picked(b, x, axis, _mirrored(x.shape[axis], wide, op.mode))
    b.finish(x)


def _mirrored(size: int, wide: tuple[int, int], mode: str) -> list[int]:
    """Returns which elements stand in the padded axis."""
    how: Any = mode
    indices: list[int] = np.pad(np.arange(size), wide, mode=how).tolist()
    return indices


@emits(
    StridedSlice,
    construct="Slice; with steps a Pooling of windows of one element behind it; backwards, Slice into elements and Concat",
    exact="to the bit",
)
def write_strided_slice(b: LayerBuilder, op: StridedSlice) -> None:
    """One axis after the other."""
    x = b.input
    for axis, bounds in enumerate(zip(op.starts, op.ends, op.steps, strict=True)):
        indices = range(*bounds)
        if not indices:
            raise b.refuse(f"nothing is left of axis {axis}, and a Caffe blob holds at least one number")
        if list(indices) != list(range(x.shape[axis])):
            x = picked(b, x, axis, list(indices))
    b.finish(x)


@emits(
    Gather,
    construct="stored indices: Slice and Concat, or a 1x1 Convolution by zeros and ones where they are many; computed: BatchReindex, "
    "between Permutes",
    exact="to the bit",
)
def write_gather(b: LayerBuilder, op: Gather) -> None:
    """Indices count from the end if negative."""
    data = b.operand(0)
    axis = canonical_axis(op.axis, len(data.shape))
    size, wanted = data.shape[axis], b.outputs[0].shape
    stored = b.constants.get(1)
    if stored is not None:
        places = np.where(stored < 0, stored + size, stored).astype(int)
        b.finish(reshaped(b, picked(b, data, axis, places.ravel().tolist()), wanted, "shape"))
        return
    raw = b.operand(1)
    flat = reshaped(b, raw, (int(np.prod(raw.shape)),), "flat")
    behind = affine(b, positive(b, negated(b, flat), "negative"), "behind", scale=float(size))
    indices = eltwise(b, "SUM", "indices", flat, behind)
    order = (axis, *(other for other in range(len(data.shape)) if other != axis))
    first = permuted(b, data, order, "first")
    taken = b.add("taken", "BatchReindex", [first, indices], resized(first.shape, 0, indices.shape[0]))
    back = tuple(order.index(number) for number in range(len(order)))
    b.finish(reshaped(b, permuted(b, taken, back, "back"), wanted, "shape"))


@emits(Expand, construct="Reshape, and Tile for each axis", exact="to the bit")
def write_expand(b: LayerBuilder, op: Expand) -> None:
    """Axes of size 1 are repeated."""
    del op
    b.finish(broadcast(b, b.input, b.outputs[0].shape))


@emits(Trilu, construct="Parameter (zeros and ones), Scale or Eltwise PROD", exact="to the bit")
def write_trilu(b: LayerBuilder, op: Trilu) -> None:
    """The input times a mask."""
    rows, columns = b.input.shape[-2:]
    ones = np.ones((rows, columns), np.float32)
    mask = constant(b, np.triu(ones, op.k) if op.upper else np.tril(ones, op.k), "mask")
    b.finish(multiplied(b, b.input, mask))


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
