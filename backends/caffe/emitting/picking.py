"""Operators that pick, place, repeat, pad or mask elements."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import (
    affine,
    constant,
    cut,
    eltwise,
    join,
    negated,
    permuted,
    reshaped,
)
from nuqconv.backends.caffe.emitting.parts.moves import broadcast, padded, picked, resized
from nuqconv.backends.caffe.emitting.parts.numbers import positive
from nuqconv.backends.caffe.emitting.parts.pairs import multiplied
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir import Array
from nuqconv.ir.ops import (
    BatchReindex,
    Embed,
    Expand,
    Filter,
    Gather,
    GatherElements,
    GatherND,
    Pad,
    ScatterElements,
    ScatterND,
    Shape,
    StridedSlice,
    Tile,
    Trilu,
)
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
    binds=True,
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


@emits(Tile, construct="Tile")
def write_tile(b: LayerBuilder, op: Tile) -> None:
    """A Tile."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    b.finish(b.add("", "Tile", [b.input], b.outputs[0].shape, tile_param={"axis": axis, "tiles": op.tiles}))


@emits(Filter, construct="Filter")
def write_filter(b: LayerBuilder, op: Filter) -> None:
    """A Filter."""
    del op
    b.finish(*b.add_many("", "Filter", b.inputs, [item.shape for item in b.outputs]))


@emits(BatchReindex, construct="BatchReindex")
def write_batch_reindex(b: LayerBuilder, op: BatchReindex) -> None:
    """A BatchReindex."""
    del op
    b.finish(b.add("", "BatchReindex", b.inputs, b.outputs[0].shape))


@emits(Embed, construct="Embed")
def write_embed(b: LayerBuilder, op: Embed) -> None:
    """An Embed."""
    fields = {"num_output": op.num_output, "input_dim": op.input_dim, "bias_term": op.bias_term}
    b.finish(b.add("", "Embed", [b.input], b.outputs[0].shape, arrays=b.params, embed_param=fields))


_TAKING = "Reshape, Slice and Concat, or a 1x1 Convolution by zeros and ones where there are many pieces, Reshape"

_LIMITS = "computed indices"


def _indices(b: LayerBuilder, size: int | None = None) -> Array:
    """Returns the stored indices, those from the end made positive."""
    stored = b.constants.get(1)
    if stored is None:
        raise b.refuse(
            "its indices are computed: no layer of Caffe or of a known fork takes or puts single elements where a blob says"
        )
    found = stored.astype(np.int64)
    return found if size is None else np.where(found < 0, found + size, found)


def _places(shape: Shape) -> Array:
    """Returns the number of each element in its order."""
    return np.arange(prod(shape)).reshape(shape)


def _within(places: Array, shape: Shape, axis: int) -> Array:
    """Returns the part of an array that indices of a shape speak of: all of one axis, the beginning of the others."""
    return places[tuple(slice(None) if at == axis else slice(size) for at, size in enumerate(shape))]


def _take(b: LayerBuilder, places: Array) -> None:
    """Finishes with the elements at places of the first operand; behind those come the third's."""
    flat = [
        reshaped(b, b.operand(number), (1, prod(b.operand_shape(number))), "flat") for number in (0, *range(2, b.count))
    ]
    taken = picked(b, join(b, flat, 1, "both"), 1, places.ravel().tolist())
    b.finish(reshaped(b, taken, b.outputs[0].shape, "shape"))


@emits(GatherElements, construct=_TAKING, exact="to the bit", limits=_LIMITS, binds=True)
def write_gather_elements(b: LayerBuilder, op: GatherElements) -> None:
    """Elements by an index of their own along one axis."""
    shape = b.operand_shape(0)
    axis = canonical_axis(op.axis, len(shape))
    indices = _indices(b, shape[axis])
    _take(b, np.take_along_axis(_within(_places(shape), indices.shape, axis), indices, axis))


def _rows(indices: Array, shape: Shape) -> tuple[Array, ...]:
    """Returns the index of each axis that rows of indices name."""
    sizes = shape[: indices.shape[-1]]
    return tuple(
        np.where(part < 0, part + size, part) for part, size in zip(np.moveaxis(indices, -1, 0), sizes, strict=True)
    )


@emits(GatherND, construct=_TAKING, exact="to the bit", limits=_LIMITS, binds=True)
def write_gather_nd(b: LayerBuilder, op: GatherND) -> None:
    """Parts by an index for each of several axes."""
    shape, indices = b.operand_shape(0), _indices(b)
    batch, inner = shape[: op.batch_dims], shape[op.batch_dims :]
    places = _places(shape).reshape(-1, *inner)
    rows = indices.reshape(prod(batch), *indices.shape[op.batch_dims :])
    _take(b, np.stack([part[_rows(row, inner)] for part, row in zip(places, rows, strict=True)]))


@emits(
    ScatterElements,
    construct="Reshape, Concat of data and updates, then as GatherElements",
    exact="to the bit",
    limits=f"{_LIMITS}; a reduction",
    binds=True,
)
def write_scatter_elements(b: LayerBuilder, op: ScatterElements) -> None:
    """What is put stands behind what is there, and is taken in its place."""
    _refuse_reduction(b, op.reduction)
    shape = b.operand_shape(0)
    axis = canonical_axis(op.axis, len(shape))
    indices, places = _indices(b, shape[axis]), _places(shape)
    np.put_along_axis(_within(places, indices.shape, axis), indices, places.size + _places(indices.shape), axis)
    _take(b, places)


@emits(
    ScatterND,
    construct="Reshape, Concat of data and updates, then as GatherND",
    exact="to the bit",
    limits=f"{_LIMITS}; a reduction",
    binds=True,
)
def write_scatter_nd(b: LayerBuilder, op: ScatterND) -> None:
    """What is put stands behind what is there, and is taken in its place."""
    _refuse_reduction(b, op.reduction)
    shape, indices = b.operand_shape(0), _indices(b)
    places = _places(shape)
    places[_rows(indices, shape)] = places.size + _places(b.operand_shape(2))
    _take(b, places)


def _refuse_reduction(b: LayerBuilder, reduction: str) -> None:
    if reduction != "none":
        raise b.refuse(f"elements are put with reduction {reduction}; no layer of Caffe or of a known fork does that")
