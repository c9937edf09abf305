"""Operators that join, cut or hand on whole values."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import Concat, Crop, MergeCrop, Parameter, Silence, Slice, Split

__all__: list[str] = []


@lowers(Concat)
def concat(build: Builder, node: Node, op: Concat) -> None:
    """Concat along the same axis, with Expand where an input of one item goes with each of the others."""
    axis = op.axis % len(build.shape(node.inputs[0]))
    operands = list(node.inputs)
    if op.for_each and axis:
        operands = [_for_each(build, node, value) for value in operands]
    build.node("Concat", operands, node, output=node.outputs[0], attributes={"axis": axis})


def _for_each(build: Builder, node: Node, value: str) -> str:
    """Returns a value repeated for each item of the node's output, if it is one item."""
    output, rank = node.outputs[0], len(build.shape(value))
    if (
        build.shape(value)[0] != 1
        or value in build.open_sizes
        or (build.shape(output)[0] == 1 and output not in build.open_sizes)
    ):
        return value
    if output not in build.open_sizes:
        size = build.constant(np.array([build.shape(output)[0], *(1,) * (rank - 1)], np.int64), node, "items")
    else:
        like = next(name for name in node.inputs if name in build.open_sizes)
        first = [build.constant(np.array([bound], np.int64), node, name) for name, bound in (("start", 0), ("end", 1))]
        count = build.node("Slice", [build.node("Shape", [like], node), *first], node)
        rest = build.constant(np.ones(rank - 1, np.int64), node, "ones")
        size = build.node("Concat", [count, rest], node, attributes={"axis": 0})
    return build.node("Expand", [value, size], node)


@lowers(Crop)
def crop(build: Builder, node: Node, op: Crop) -> None:
    """Slice on the axes that change size; the second input gives its size only."""
    found = _cropped(build, node, op, *node.inputs, output=node.outputs[0])
    if found != node.outputs[0]:
        build.node("Identity", [found], node, output=node.outputs[0])


@lowers(MergeCrop)
def merge_crop(build: Builder, node: Node, op: MergeCrop) -> None:
    """Slice of the second input, then Add or Concat."""
    first, second = node.inputs
    crop = op.crop([build.shape(first), build.shape(second)])
    inputs = [first, _cropped(build, node, crop, second, first)]
    attributes: dict[str, Attribute] = {} if op.add else {"axis": 1}
    build.node("Add" if op.add else "Concat", inputs, node, output=node.outputs[0], attributes=attributes)


def _cropped(build: Builder, node: Node, op: Crop, value: str, other: str, *, output: str | None = None) -> str:
    """Adds a Slice of a value by the size of another, and returns its name; the value's own where nothing is cut."""
    data, like = build.shape(value), build.shape(other)
    first = op.axis % len(data)
    cuts = [
        (axis, start, start + like[axis])
        for axis, start in enumerate(op.starts(len(data)), first)
        if data[axis] != like[axis]
    ]
    if not cuts:
        return value
    axes, starts, ends = (np.array(column, np.int64) for column in zip(*cuts, strict=True))
    bounds = [
        build.constant(starts, node, "starts"),
        build.constant(ends, node, "ends"),
        build.constant(axes, node, "axes"),
    ]
    return build.node("Slice", [value, *bounds], node, output=output)


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
