"""The two operators around a quantized layer."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Array, Node
from nuqconv.ir.ops import Dequantize, Quantize

__all__ = ["rounded", "times_steps"]


@lowers(Quantize)
def quantize(build: Builder, node: Node, op: Quantize) -> None:
    """Mul, Round (half to even) and Clip to ``u = q - offset`` in float32.

    QuantizeLinear would divide by the step size where Caffe multiplies by its reciprocal, and differ from it at ties.
    """
    rounded(build, node, op, node.outputs[0])


def rounded(build: Builder, node: Node, op: Quantize, output: str | None) -> str:
    """Adds ``u = q - offset`` of a Quantize and returns its name.

    Args:
        build: The graph under construction.
        node: The Quantize.
        op: Its operator.
        output: The name; without it one is derived.
    """
    scaled = build.node("Mul", [node.inputs[0], build.number(op.multiplier, node, "multiplier")], node)
    whole = build.node("Round", [scaled], node)
    bounds = [
        build.number(-128 - op.offset, node, "low"),
        build.number(127 - op.offset, node, "high"),
    ]
    return build.node("Clip", [whole, *bounds], node, output=output)


@lowers(Dequantize)
def dequantize(build: Builder, node: Node, op: Dequantize) -> None:
    """Mul by the step sizes, laid along the axis of the channels.

    The step sizes are a DequantizeLinear of ones, which changes no bit of them: onnxruntime computes such a node at every run, and so does not
    multiply them into the integer weights in front of it, whose sums would no longer be exact (decision D16).
    """
    value, name = node.inputs[0], node.params[0]
    if build.elem_type(value) != TensorProto.FLOAT:
        # Such sums are exact whatever stands behind them.
        times_steps(build, node, op, build.node("Cast", [value], node, attributes={"to": int(TensorProto.FLOAT)}))
        return
    if op.shifts:
        times_steps(build, node, op, value)
        return
    ones = build.constant(np.ones(_laid(build, node, op), np.int8), node, "ones")
    count = build.graph.params[name].size
    steps = build.node("DequantizeLinear", [ones, build.param(name, (count,))], node, attributes={"axis": 0})
    build.node("Mul", [value, steps], node, output=node.outputs[0])


def times_steps(build: Builder, node: Node, op: Dequantize, value: str) -> None:
    """Adds the Mul of a Dequantize alone, where nobody multiplies the step sizes into weights.

    Args:
        build: The graph under construction.
        node: The Dequantize.
        op: Its operator.
        value: What is multiplied, as float32.
    """
    laid = _laid(build, node, op)
    if op.shifts:
        value = _shifted(build, node, value, np.ldexp(np.float32(1), op.shifts).reshape(laid))
    build.node("Mul", [value, build.param(node.params[0], laid)], node, output=node.outputs[0])


def _laid(build: Builder, node: Node, op: Dequantize) -> tuple[int, ...]:
    """Returns the shape of the step sizes with the axes that follow the channels, for broadcasting."""
    rank = len(build.shape(node.inputs[0]))
    return (build.graph.params[node.params[0]].size, *(1,) * (rank - 1 - op.axis % rank))


def _shifted(build: Builder, node: Node, value: str, factors: Array) -> str:
    """Adds what 16 bits hold of sums: rounded to multiples of the factors, halves away from 0, and clipped."""
    units = build.node("Mul", [value, build.constant(1 / factors, node, "per_unit")], node)
    size = build.node("Add", [build.node("Abs", [units], node), build.number(0.5, node, "half")], node)
    whole = build.node("Mul", [build.node("Floor", [size], node), build.node("Sign", [units], node)], node)
    bounds = [build.number(-(2**15), node, "lowest"), build.number(2**15 - 1, node, "highest")]
    return build.node("Mul", [build.node("Clip", [whole, *bounds], node), build.constant(factors, node, "unit")], node)
