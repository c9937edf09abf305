"""Operators of detectors."""

from __future__ import annotations

from math import prod

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import constant, discard
from nuqconv.backends.caffe.emitting.registry import emits, refuses
from nuqconv.ir.ops import DetectionOutput, PriorBox, YoloOutput

__all__: list[str] = []

_MOST_NUMBERS = 2**24


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


refuses(DetectionOutput, "the SSD fork has a DetectionOutput layer; cut the net before it and decode outside")

refuses(YoloOutput, "forks have layers that decode YOLO's boxes; cut the net before it and decode outside")
