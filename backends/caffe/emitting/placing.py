"""Operators that take or put single elements by indices, where those are constants."""

from __future__ import annotations

from math import prod

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import join, reshaped
from nuqconv.backends.caffe.emitting.parts.moves import picked
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir import Array
from nuqconv.ir.ops import GatherElements, GatherND, ScatterElements, ScatterND, Shape
from nuqconv.ir.ops.base import canonical_axis

__all__: list[str] = []

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


@emits(GatherElements, construct=_TAKING, exact="to the bit", limits=_LIMITS)
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


@emits(GatherND, construct=_TAKING, exact="to the bit", limits=_LIMITS)
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
