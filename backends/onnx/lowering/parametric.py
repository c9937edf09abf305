"""Operators on each element or channel that have parameters of their own."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.elementwise import append_axes
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import BN, Bias, Normalize, Parameter, PReLU, Scale

__all__: list[str] = []


@lowers(PReLU)
def prelu(build: Builder, node: Node, op: PReLU) -> None:
    """PRelu with the slopes laid along axis 1."""
    del op
    slopes = _on_channels(build, node, node.params[0])
    build.node("PRelu", [node.inputs[0], slopes], node, output=node.outputs[0])


@lowers(Scale)
def scale(build: Builder, node: Node, op: Scale) -> None:
    """Mul and Add with the factors and the bias laid out for broadcasting from ``axis`` on."""
    operands = _laid_out(build, node, op.axis)
    last = len(operands) == 1
    product = build.node("Mul", [node.inputs[0], operands[0]], node, output=node.outputs[0] if last else None)
    if not last:
        build.node("Add", [product, operands[1]], node, output=node.outputs[0])


@lowers(Bias)
def bias(build: Builder, node: Node, op: Bias) -> None:
    """Add with the bias laid out for broadcasting from ``axis`` on."""
    build.node("Add", [node.inputs[0], *_laid_out(build, node, op.axis)], node, output=node.outputs[0])


@lowers(BN)
def bn(build: Builder, node: Node, op: BN) -> None:
    """BatchNormalization, or Mul and Add where the statistics are multiplied in already."""
    if op.statistics:
        tensors = [build.param(name, (-1,)) for name in node.params]
        attributes = {"epsilon": op.eps}
        build.node(
            "BatchNormalization", [node.inputs[0], *tensors], node, output=node.outputs[0], attributes=attributes
        )
        return
    factor, shift = (_on_channels(build, node, name) for name in node.params)
    product = build.node("Mul", [node.inputs[0], factor], node)
    build.node("Add", [product, shift], node, output=node.outputs[0])


@lowers(Normalize)
def normalize(build: Builder, node: Node, op: Normalize) -> None:
    """The input over the root of the sum of its squares plus eps, times the scales."""
    rank = len(build.shape(node.inputs[0]))
    squares = build.node("Mul", [node.inputs[0]] * 2, node)
    axes = np.arange(1, rank if op.across_spatial else 2, dtype=np.int64)
    total = build.node("ReduceSum", [squares, build.constant(axes, node, "axes")], node)
    shifted = build.node("Add", [total, build.number(op.eps, node, "eps")], node)
    unit = build.node("Div", [node.inputs[0], build.node("Sqrt", [shifted], node)], node)
    build.node("Mul", [unit, _on_channels(build, node, node.params[0])], node, output=node.outputs[0])


@lowers(Parameter)
def parameter(build: Builder, node: Node, op: Parameter) -> None:
    """Identity of the tensor, so that the value keeps its name."""
    del op
    build.node("Identity", [build.param(node.params[0])], node, output=node.outputs[0])


def _on_channels(build: Builder, node: Node, param: str) -> str:
    """Returns a parameter of C elements (or one) with the axes that follow the channels, for broadcasting."""
    size, rank = build.graph.params[param].size, len(build.shape(node.inputs[0]))
    return build.param(param, (size, *(1,) * (rank - 2)))


def _laid_out(build: Builder, node: Node, axis: int) -> list[str]:
    """Returns the second input, if there is one, and the parameters with axes of size 1 behind them."""
    rank = len(build.shape(node.inputs[0]))
    parts = [build.shape(name) for name in node.inputs[1:]] + [build.graph.params[name].shape for name in node.params]
    own = parts[0]
    trailing = rank - axis % rank - len(own) if own else 0
    operands = [append_axes(build, node, name, len(own), trailing) for name in node.inputs[1:]]
    return operands + [build.param(name, (*own, *(1,) * trailing)) for name in node.params]
