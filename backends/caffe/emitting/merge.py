"""Operators that join, cut or hand on whole values."""

from __future__ import annotations

from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import constant, discard, eltwise, join
from nuqconv.backends.caffe.emitting.parts.moves import repeated_along
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import Concat, Crop, MergeCrop, Parameter, Silence, Slice, Split
from nuqconv.ir.ops.base import canonical_axis

__all__: list[str] = []


@emits(Concat, construct="Concat, with Tile in front of a table that goes with each item")
def write_concat(b: LayerBuilder, op: Concat) -> None:
    """A Concat."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    parts, items = b.inputs, b.outputs[0].shape[:1]
    if op.for_each and axis:
        parts = tuple(part if part.shape[:1] == items else repeated_along(b, part, 0, items[0]) for part in parts)
    b.finish(b.add("", "Concat", parts, b.outputs[0].shape, concat_param={"axis": axis}))


@emits(Crop, construct="Crop")
def write_crop(b: LayerBuilder, op: Crop) -> None:
    """A Crop, whose second bottom has as many axes as the first."""
    data, like = b.inputs
    if len(like.shape) > len(data.shape):
        raise b.refuse(f"a Crop by a blob of {len(like.shape)} axes from one of {len(data.shape)}")
    axis = canonical_axis(op.axis, len(data.shape))
    b.finish(b.add("", "Crop", b.inputs, b.outputs[0].shape, crop_param={"axis": axis, "offset": list(op.offset)}))


@emits(MergeCrop, construct="Crop, then Concat or Eltwise", exact="to the bit")
def write_merge_crop(b: LayerBuilder, op: MergeCrop) -> None:
    """The middle of the second bottom, joined or added to the first."""
    first, second = b.inputs
    crop = op.crop([first.shape, second.shape])
    shape = (*second.shape[:2], *first.shape[2:])
    middle = b.add("middle", "Crop", [second, first], shape, crop_param={"axis": 2, "offset": list(crop.offset)})
    b.finish(eltwise(b, "SUM", "", first, middle) if op.add else join(b, [first, middle], 1, ""))


@emits(Slice, construct="Slice")
def write_slice(b: LayerBuilder, op: Slice) -> None:
    """A Slice."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    shapes = [item.shape for item in b.outputs]
    b.finish(*b.add_many("", "Slice", [b.input], shapes, slice_param={"axis": axis, "slice_point": list(op.points)}))


@emits(Split, construct="Split")
def write_split(b: LayerBuilder, op: Split) -> None:
    """A Split."""
    b.finish(*b.add_many("", "Split", [b.input], [b.input.shape] * op.count))


@emits(Silence, construct="Silence")
def write_silence(b: LayerBuilder, op: Silence) -> None:
    """A Silence."""
    del op
    discard(b, b.inputs)


@emits(Parameter, construct="Parameter")
def write_parameter(b: LayerBuilder, op: Parameter) -> None:
    """A Parameter."""
    del op
    b.finish(constant(b, b.params[0], ""))
