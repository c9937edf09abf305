"""Operators on each element."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import Identity, Power, ReLU, Sigmoid, Softmax, TanH

__all__: list[str] = []


@lowers(ReLU)
def relu(build: Builder, node: Node, op: ReLU) -> None:
    """Relu, or LeakyRelu where there is a slope."""
    if op.negative_slope:
        attributes = {"alpha": op.negative_slope}
        build.node("LeakyRelu", node.inputs, node, output=node.outputs[0], attributes=attributes)
    else:
        build.node("Relu", node.inputs, node, output=node.outputs[0])


@lowers(Sigmoid)
def sigmoid(build: Builder, node: Node, op: Sigmoid) -> None:
    """Sigmoid."""
    del op
    build.node("Sigmoid", node.inputs, node, output=node.outputs[0])


@lowers(TanH)
def tanh(build: Builder, node: Node, op: TanH) -> None:
    """Tanh."""
    del op
    build.node("Tanh", node.inputs, node, output=node.outputs[0])


@lowers(Identity)
def identity(build: Builder, node: Node, op: Identity) -> None:
    """Identity, so that the value keeps its name."""
    del op
    build.node("Identity", node.inputs, node, output=node.outputs[0])


@lowers(Softmax)
def softmax(build: Builder, node: Node, op: Softmax) -> None:
    """Softmax along the same axis."""
    axis = op.axis % len(build.shape(node.inputs[0]))
    build.node("Softmax", node.inputs, node, output=node.outputs[0], attributes={"axis": axis})


@lowers(Power)
def power(build: Builder, node: Node, op: Power) -> None:
    """Mul, Add, Pow, each only where it changes something; each rounds to float32 as Caffe's steps do."""
    exponent, scale, shift = np.float32(op.power), np.float32(op.scale), np.float32(op.shift)
    if exponent == 0 or scale == 0:
        # Caffe fills in the constant whatever the input holds, even NaN.
        with np.errstate(all="ignore"):
            value = np.float32(1) if exponent == 0 else np.power(shift, exponent)
        size = build.node("Shape", node.inputs, node)
        constant = build.number(float(value), node, "value")
        build.node("Expand", [constant, size], node, output=node.outputs[0])
        return
    steps = [
        step
        for step in (("Mul", scale, 1, "scale"), ("Add", shift, 0, "shift"), ("Pow", exponent, 1, "power"))
        if step[1] != step[2]
    ]
    value_name = node.inputs[0]
    for number, (op_type, factor, _, purpose) in enumerate(steps, 1):
        output = node.outputs[0] if number == len(steps) else None
        operand = build.number(float(factor), node, purpose)
        value_name = build.node(op_type, [value_name, operand], node, output=output)
    if not steps:
        build.node("Identity", node.inputs, node, output=node.outputs[0])
