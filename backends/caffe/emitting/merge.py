"""Operators that join, cut or hand on blobs."""

from __future__ import annotations

from math import prod

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import constant, discard, eltwise, reshaped
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import (
    Axpy,
    BatchReindex,
    Concat,
    Crop,
    Eltwise,
    Embed,
    Filter,
    Parameter,
    PriorBox,
    Silence,
    Slice,
    Split,
    Tile,
)
from nuqconv.ir.ops.base import canonical_axis

__all__: list[str] = []

_MOST_NUMBERS = 2**24


@emits(Eltwise, construct="Eltwise")
def write_eltwise(b: LayerBuilder, op: Eltwise) -> None:
    """An Eltwise; coefficients have no meaning for a maximum."""
    b.finish(eltwise(b, op.operation, "", *b.inputs, coeff=op.coeff if op.operation == "SUM" else ()))


@emits(Concat, construct="Concat")
def write_concat(b: LayerBuilder, op: Concat) -> None:
    """A Concat."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    b.finish(b.add("", "Concat", b.inputs, b.outputs[0].shape, concat_param={"axis": axis}))


@emits(Crop, construct="Crop")
def write_crop(b: LayerBuilder, op: Crop) -> None:
    """A Crop, whose second bottom has as many axes as the first."""
    data, like = b.inputs
    if len(like.shape) > len(data.shape):
        raise b.refuse(f"a Crop by a blob of {len(like.shape)} axes from one of {len(data.shape)}")
    axis = canonical_axis(op.axis, len(data.shape))
    b.finish(b.add("", "Crop", b.inputs, b.outputs[0].shape, crop_param={"axis": axis, "offset": list(op.offset)}))


@emits(Slice, construct="Slice")
def write_slice(b: LayerBuilder, op: Slice) -> None:
    """A Slice."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    shapes = [item.shape for item in b.outputs]
    b.finish(*b.add_many("", "Slice", [b.input], shapes, slice_param={"axis": axis, "slice_point": list(op.points)}))


@emits(Tile, construct="Tile")
def write_tile(b: LayerBuilder, op: Tile) -> None:
    """A Tile."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    b.finish(b.add("", "Tile", [b.input], b.outputs[0].shape, tile_param={"axis": axis, "tiles": op.tiles}))


@emits(Split, construct="Split")
def write_split(b: LayerBuilder, op: Split) -> None:
    """A Split."""
    b.finish(*b.add_many("", "Split", [b.input], [b.input.shape] * op.count))


@emits(Silence, construct="Silence")
def write_silence(b: LayerBuilder, op: Silence) -> None:
    """A Silence."""
    del op
    discard(b, b.inputs)


@emits(Axpy, construct="Scale with two bottoms, Eltwise SUM", exact="1e-6")
def write_axpy(b: LayerBuilder, op: Axpy) -> None:
    """One factor for each sample and channel, then a sum."""
    del op
    factor, data, added = b.inputs
    factors = reshaped(b, factor, data.shape[:2], "factors")
    scaled = b.add("scale", "Scale", [data, factors], data.shape, scale_param={"axis": 0})
    b.finish(eltwise(b, "SUM", "sum", scaled, added))


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


@emits(Parameter, construct="Parameter")
def write_parameter(b: LayerBuilder, op: Parameter) -> None:
    """A Parameter."""
    del op
    b.finish(constant(b, b.params[0], ""))


@emits(
    PriorBox,
    construct="Parameter: the boxes depend on sizes only",
    exact="to the bit",
    limits="boxes that are not finite, or more than 16,777,216 numbers",
)
def write_prior_box(b: LayerBuilder, op: PriorBox) -> None:
    """The boxes as stored numbers."""
    count = prod(b.outputs[0].shape)
    if count > _MOST_NUMBERS:
        raise b.refuse(
            f"its {count} numbers would be stored; at most {_MOST_NUMBERS} are: check the size of the input and of min_size"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        boxes = op.boxes(b.inputs[0].shape, b.inputs[1].shape)
    if not np.isfinite(boxes).all():
        raise b.refuse("its boxes are not finite; check step, offset and the sizes")
    discard(b, list(dict.fromkeys(b.inputs)))
    b.finish(constant(b, boxes, ""))
