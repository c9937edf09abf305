"""Quantized layers as pairs of QuantizeLinear and DequantizeLinear around the float operator, the form that ONNX runtimes know.

::

    x -> QuantizeLinear -> DequantizeLinear -> Conv (int8 weight -> DequantizeLinear, int32 bias -> DequantizeLinear) -> y

Scales are those of the graph; QuantizeLinear divides by the step size where the graph multiplies by its reciprocal, so a value at a tie may come
out one step away (decision D2).
"""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import Convolution, Deconvolution, Dequantize, InnerProduct, Pooling, Quantize

__all__ = ["add_layer", "dequantized_input", "dequantized_operands", "qdq_layers", "quantize_pair"]

_Layer = Convolution | Deconvolution | InnerProduct


def qdq_layers(graph: Graph) -> dict[str, Node]:
    """Returns for each layer that has this form the Dequantize behind it.

    It reads a Quantize, and only a Dequantize reads it. A Deconvolution in groups has no axis of its weight for all its step sizes.
    """
    found = {}
    for node in graph.nodes:
        maker = graph.producer.get(node.inputs[0]) if node.inputs else None
        readers = graph.consumers[node.outputs[0]] if node.outputs else ()
        if not isinstance(node.op, _Layer | Pooling) or len(node.inputs) != 1 or maker is None:
            continue
        grouped = isinstance(node.op, Deconvolution) and node.op.group > 1
        grouped = grouped or (isinstance(node.op, Convolution | Deconvolution) and not node.op.kernel)
        alone = len(readers) == 1 and isinstance(readers[0].op, Dequantize) and node.outputs[0] not in graph.outputs
        if isinstance(maker.op, Quantize) and alone and not grouped and getattr(node.op, "axis", 1) == 1:
            found[node.name] = readers[0]
    return found


def quantize_pair(build: Builder, node: Node, op: Quantize) -> bool:
    """Adds the pair behind a Quantize if a layer of this form reads it; returns whether others need the value itself."""
    value = node.outputs[0]
    readers = build.graph.consumers[value]
    taken = [reader.name in build.qdq for reader in readers]
    if any(taken):
        step = build.number(float(np.float32(1) / np.float32(op.multiplier)), node, "step")
        point = build.constant(np.array(op.offset + 128, np.uint8), node, "zero_point")
        quantized = build.node("QuantizeLinear", [node.inputs[0], step, point], node)
        build.real[value] = build.node("DequantizeLinear", [quantized, step, point], node)
    return not all(taken) or not readers or value in build.graph.outputs


def dequantized_input(build: Builder, node: Node) -> str:
    """Returns the real input of a layer of this form."""
    return build.real[node.inputs[0]]


def dequantized_operands(build: Builder, node: Node, op: _Layer) -> list[str]:
    """Adds the real weight and bias of a layer of this form, stored as integers."""
    graph, behind = build.graph, build.qdq[node.name]
    maker = graph.producer[node.inputs[0]].op
    multiplier = maker.multiplier if isinstance(maker, Quantize) else 1.0
    steps = graph.params[behind.params[0]].reshape(-1)
    scales = (steps.astype(np.float64) * np.float64(np.float32(multiplier))).astype(np.float32)
    axis = op.weight_output_axis
    weight = graph.params[node.params[0]]
    operands = [_dequantized(build, node, node.params[0], weight, scales, axis)]
    if len(node.params) > 1:
        operands.append(_dequantized(build, node, node.params[1], graph.params[node.params[1]], steps, 0))
    return operands


def _dequantized(build: Builder, node: Node, name: str, integers: Array, scales: Array, axis: int) -> str:
    steps = build.constant(scales, node, "steps")
    attributes: dict[str, Attribute] = {"axis": axis}
    return build.node("DequantizeLinear", [build.integers(name, integers), steps], node, attributes=attributes)


def add_layer(
    build: Builder,
    node: Node,
    op: Convolution | Deconvolution | InnerProduct,
    op_type: str,
    attributes: dict[str, Attribute],
) -> None:
    """Adds the layer on real numbers; the Dequantize behind it is in its operands."""
    value = dequantized_input(build, node)
    if isinstance(op, InnerProduct) and len(build.shape(node.inputs[0])) != 2:
        value = build.node("Flatten", [value], node, attributes={"axis": 1})
    operands = [value, *dequantized_operands(build, node, op)]
    build.node(op_type, operands, node, output=build.qdq[node.name].outputs[0], attributes=attributes)
