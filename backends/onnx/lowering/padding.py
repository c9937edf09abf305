"""Padding on any axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.backends.onnx.lowering.steps import Steps
from nuqconv.ir import Node
from nuqconv.ir.ops import Pad

__all__: list[str] = []

_WRAP_OPSET = 19


@lowers(Pad)
def pad(build: Builder, node: Node, op: Pad) -> None:
    """Slice for what is cut off, then Pad, or Gathers where an opset lacks a mode."""
    steps = Steps(build, node)
    value, shape = node.inputs[0], build.shape(node.inputs[0])
    if min(*op.begins, *op.ends, 0) < 0:
        starts = [max(-begin, 0) for begin in op.begins]
        ends = [size - max(-end, 0) for size, end in zip(shape, op.ends, strict=True)]
        axes = [
            axis for axis, bounds in enumerate(zip(starts, ends, shape, strict=True)) if bounds[:2] != (0, bounds[2])
        ]
        taken = ([bounds[axis] for axis in axes] for bounds in (starts, ends))
        value = steps.call("Slice", value, *map(steps.integers, taken), steps.integers(axes))
        shape = tuple(end - start for start, end in zip(starts, ends, strict=True))
    begins, ends_ = ([max(item, 0) for item in items] for items in (op.begins, op.ends))
    if op.mode == "constant" or build.opset >= _WRAP_OPSET or op.mode == "edge":
        more = [steps.number(op.value)] if op.mode == "constant" else []
        inputs = [value, steps.integers([*begins, *ends_]), *more]
        build.node("Pad", inputs, node, output=node.outputs[0], attributes={"mode": op.mode})
        return
    # Pads wider than the axis are not defined before that opset either.
    how: Any = op.mode
    for axis, (size, *wide) in enumerate(zip(shape, begins, ends_, strict=True)):
        if any(wide):
            places = np.pad(np.arange(size), wide, mode=how).tolist()
            value = steps.call("Gather", value, steps.integers(places), axis=axis)
    build.node("Identity", [value], node, output=node.outputs[0])
