"""Operators that join, cut or hand on whole values."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import Concat, Crop, Parameter, Silence, Slice, Split

__all__: list[str] = []


@lowers(Concat)
def concat(build: Builder, node: Node, op: Concat) -> None:
    """Concat along the same axis."""
    axis = op.axis % len(build.shape(node.inputs[0]))
    build.node("Concat", node.inputs, node, output=node.outputs[0], attributes={"axis": axis})


@lowers(Crop)
def crop(build: Builder, node: Node, op: Crop) -> None:
    """Slice on the axes that change size; the second input gives its size only."""
    data, like = build.shape(node.inputs[0]), build.shape(node.inputs[1])
    first = op.axis % len(data)
    cuts = [
        (axis, start, start + like[axis])
        for axis, start in enumerate(op.starts(len(data)), first)
        if data[axis] != like[axis]
    ]
    if not cuts:
        build.node("Identity", node.inputs[:1], node, output=node.outputs[0])
        return
    axes, starts, ends = (np.array(column, np.int64) for column in zip(*cuts, strict=True))
    bounds = [
        build.constant(starts, node, "starts"),
        build.constant(ends, node, "ends"),
        build.constant(axes, node, "axes"),
    ]
    build.node("Slice", [node.inputs[0], *bounds], node, output=node.outputs[0])


@lowers(Split)
def split(build: Builder, node: Node, op: Split) -> None:
    """An Identity for each output, so that the values keep their names."""
    del op
    for output in node.outputs:
        build.node("Identity", node.inputs, node, output=output)


@lowers(Silence)
def silence(build: Builder, node: Node, op: Silence) -> None:
    """Nothing: there is no value to make."""
    del build, node, op


@lowers(Parameter)
def parameter(build: Builder, node: Node, op: Parameter) -> None:
    """Identity of the tensor, so that the value keeps its name."""
    del op
    build.node("Identity", [build.param(node.params[0])], node, output=node.outputs[0])


@lowers(Slice)
def cut(build: Builder, node: Node, op: Slice) -> None:
    """Split; Identity where there is one part."""
    if op.parts == 1:
        build.node("Identity", node.inputs, node, output=node.outputs[0])
        return
    shape = build.shape(node.inputs[0])
    axis = op.axis % len(shape)
    sizes = build.constant(np.array(op.sizes(shape[axis]), np.int64), node, "sizes")
    build.multi_node("Split", [node.inputs[0], sizes], node, outputs=node.outputs, attributes={"axis": axis})
