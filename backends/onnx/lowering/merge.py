"""Operators with several inputs."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import Concat, Crop, Eltwise

__all__: list[str] = []

_ELTWISE = {"PROD": "Mul", "SUM": "Add", "MAX": "Max"}


@lowers(Eltwise)
def eltwise(build: Builder, node: Node, op: Eltwise) -> None:
    """A chain of Mul, Add or Max from the left; in a sum after a Mul for each coefficient other than 1."""
    terms = list(node.inputs)
    for number, coefficient in enumerate(op.coeff if op.operation == "SUM" else ()):
        if np.float32(coefficient) != 1:
            factor = build.number(coefficient, node, f"coeff{number}")
            terms[number] = build.node("Mul", [terms[number], factor], node)
    result = terms[0]
    for number, term in enumerate(terms[1:], 2):
        output = node.outputs[0] if number == len(terms) else None
        result = build.node(_ELTWISE[op.operation], [result, term], node, output=output)


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
