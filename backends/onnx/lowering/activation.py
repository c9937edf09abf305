"""Activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType

import numpy as np

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.parts.operands import on_channels, times
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import (
    BNLL,
    ELU,
    Celu,
    Hardmax,
    HardSigmoid,
    HSigmoid,
    HSwish,
    LogSoftmax,
    Mish,
    Op,
    PReLU,
    ReLU,
    Selu,
    Shrink,
    Sigmoid,
    Softmax,
    Swish,
    TanH,
    ThresholdedReLU,
)

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


@lowers(Softmax)
def softmax(build: Builder, node: Node, op: Softmax) -> None:
    """Softmax along the same axis."""
    axis = op.axis % len(build.shape(node.inputs[0]))
    build.node("Softmax", node.inputs, node, output=node.outputs[0], attributes={"axis": axis})


@lowers(BNLL)
def bnll(build: Builder, node: Node, op: BNLL) -> None:
    """Softplus."""
    del op
    build.node("Softplus", node.inputs, node, output=node.outputs[0])


@lowers(ELU)
def elu(build: Builder, node: Node, op: ELU) -> None:
    """Elu."""
    build.node("Elu", node.inputs, node, output=node.outputs[0], attributes={"alpha": op.alpha})


@lowers(Swish)
def swish(build: Builder, node: Node, op: Swish) -> None:
    """Mul by beta, Sigmoid, Mul with the input."""
    scaled = times(build, node, node.inputs[0], np.float32(op.beta), "beta")
    gate = build.node("Sigmoid", [scaled], node)
    build.node("Mul", [node.inputs[0], gate], node, output=node.outputs[0])


@lowers(Mish)
def mish(build: Builder, node: Node, op: Mish) -> None:
    """Softplus, Tanh, Mul; Mish exists from opset 18 on only."""
    del op
    gate = build.node("Tanh", [build.node("Softplus", node.inputs, node)], node)
    build.node("Mul", [node.inputs[0], gate], node, output=node.outputs[0])


@lowers(HSigmoid)
def hsigmoid(build: Builder, node: Node, op: HSigmoid) -> None:
    """Add, Clip, Div."""
    del op
    build.node("Div", [_relu6_of_shifted(build, node), build.number(6, node, "six")], node, output=node.outputs[0])


@lowers(HSwish)
def hswish(build: Builder, node: Node, op: HSwish) -> None:
    """Add, Clip, Mul, Div; HardSwish exists from opset 14 on only."""
    del op
    product = build.node("Mul", [node.inputs[0], _relu6_of_shifted(build, node)], node)
    build.node("Div", [product, build.number(6, node, "six")], node, output=node.outputs[0])


def _relu6_of_shifted(build: Builder, node: Node) -> str:
    shifted = build.node("Add", [node.inputs[0], build.number(3, node, "three")], node)
    return build.node("Clip", [shifted, build.number(0, node, "low"), build.number(6, node, "high")], node)


_SAME: Mapping[type[Op], str] = MappingProxyType(
    {
        Celu: "Celu",
        HardSigmoid: "HardSigmoid",
        Hardmax: "Hardmax",
        LogSoftmax: "LogSoftmax",
        Selu: "Selu",
        Shrink: "Shrink",
        ThresholdedReLU: "ThresholdedRelu",
    }
)
"""Operators whose fields are ONNX's attributes."""


def _same(build: Builder, node: Node, op: Op) -> None:
    """The operator of ONNX with the same attributes."""
    build.node(_SAME[type(op)], node.inputs, node, output=node.outputs[0], attributes=asdict(op))


for _kind in _SAME:
    lowers(_kind)(_same)


@lowers(PReLU)
def prelu(build: Builder, node: Node, op: PReLU) -> None:
    """PRelu with the slopes laid along axis 1."""
    del op
    slopes = on_channels(build, node, node.params[0])
    build.node("PRelu", [node.inputs[0], slopes], node, output=node.outputs[0])
