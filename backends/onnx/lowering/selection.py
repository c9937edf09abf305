"""Operators that pick, cut or repeat parts of their input."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.backends.onnx.lowering.shape import reshape_to
from nuqconv.ir import Node
from nuqconv.ir.ops import BatchReindex, Embed, Filter, Slice, Tile

__all__: list[str] = []


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


@lowers(Tile)
def tile(build: Builder, node: Node, op: Tile) -> None:
    """Tile with 1 for all other axes."""
    repeats = np.ones(len(build.shape(node.inputs[0])), np.int64)
    repeats[op.axis] = op.tiles
    operands = [node.inputs[0], build.constant(repeats, node, "repeats")]
    build.node("Tile", operands, node, output=node.outputs[0])


@lowers(Filter)
def choose(build: Builder, node: Node, op: Filter) -> None:
    """NonZero on the selector, and a Gather for each other input."""
    del op
    *data, selector = node.inputs
    flags = reshape_to(build, selector, (-1,), node)
    chosen = reshape_to(build, build.node("NonZero", [flags], node), (-1,), node)
    for value, output in zip(data, node.outputs, strict=True):
        build.node("Gather", [value, chosen], node, output=output, attributes={"axis": 0})


@lowers(BatchReindex)
def batch_reindex(build: Builder, node: Node, op: BatchReindex) -> None:
    """Gather along axis 0."""
    del op
    operands = [node.inputs[0], _indices(build, node, node.inputs[1])]
    build.node("Gather", operands, node, output=node.outputs[0], attributes={"axis": 0})


@lowers(Embed)
def embed(build: Builder, node: Node, op: Embed) -> None:
    """Gather of the weight's rows, and Add."""
    operands = [build.param(node.params[0]), _indices(build, node, node.inputs[0])]
    output = None if op.bias_term else node.outputs[0]
    rows = build.node("Gather", operands, node, output=output, attributes={"axis": 0})
    if op.bias_term:
        build.node("Add", [rows, build.param(node.params[1])], node, output=node.outputs[0])


def _indices(build: Builder, node: Node, value: str) -> str:
    """Returns float indices as int64; negative ones lie outside, where Gather alone would count them from the end."""
    numbers = build.node("Cast", [value], node, attributes={"to": int(TensorProto.INT64)})
    zero, outside = (
        build.constant(np.array(number, np.int64), node, purpose)
        for number, purpose in ((0, "zero"), (2**31 - 1, "outside"))
    )
    negative = build.node("Less", [numbers, zero], node)
    return build.node("Where", [negative, outside, numbers], node)
