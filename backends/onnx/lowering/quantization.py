"""The two operators around a quantized layer."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.parts import products, qdq
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import Dequantize, Quantize

__all__: list[str] = []


@lowers(Quantize)
def quantize(build: Builder, node: Node, op: Quantize) -> None:
    """Mul, Round (half to even) and Clip to ``u = q - offset`` in float32; on integers also Add and Cast to ``q + 128`` in uint8.

    QuantizeLinear would divide by the step size where Caffe multiplies by its reciprocal, and differ from it at ties.
    """
    if build.qdq and not qdq.quantize_pair(build, node, op):
        return
    if build.fast and not products.quantized_bytes(build, node, op):
        return
    output = node.outputs[0]
    scaled = build.node("Mul", [node.inputs[0], build.number(op.multiplier, node, "multiplier")], node)
    rounded = build.node("Round", [scaled], node)
    bounds = [
        build.number(-128 - op.offset, node, "low"),
        build.number(127 - op.offset, node, "high"),
    ]
    if not build.integer:
        build.node("Clip", [rounded, *bounds], node, output=output)
        return
    clipped = build.node("Clip", [rounded, *bounds], node)
    shifted = build.node("Add", [clipped, build.number(op.offset + 128, node, "zero_point")], node)
    build.node("Cast", [shifted], node, output=output, attributes={"to": int(TensorProto.UINT8)})
    build.set_type(output, int(TensorProto.UINT8))


@lowers(Dequantize)
def dequantize(build: Builder, node: Node, op: Dequantize) -> None:
    """Mul by the step sizes, laid along axis 1, after a Cast where the result is an integer.

    In models that others run the step sizes are a DequantizeLinear of ones, which changes no bit of them: onnxruntime computes such a node at every
    run, and so does not multiply them into the integer weights in front of it, whose sums would no longer be exact (decision D16).
    """
    del op
    if any(behind is node for behind in build.qdq.values()):
        return
    value, name = node.inputs[0], node.params[0]
    rank, count = len(build.shape(value)), np.size(build.graph.params[name])
    if build.elem_type(value) != TensorProto.FLOAT:
        value = build.node("Cast", [value], node, attributes={"to": int(TensorProto.FLOAT)})
    elif not build.fast:
        ones = build.constant(np.ones((count, *(1,) * (rank - 2)), np.int8), node, "ones")
        steps = build.node("DequantizeLinear", [ones, build.param(name, (count,))], node, attributes={"axis": 0})
        build.node("Mul", [value, steps], node, output=node.outputs[0])
        return
    steps = build.param(name, (count, *(1,) * (rank - 2)))
    build.node("Mul", [value, steps], node, output=node.outputs[0])
