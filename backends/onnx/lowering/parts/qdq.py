"""Quantized layers as pairs of QuantizeLinear and DequantizeLinear around the float operator, the form that ONNX runtimes know.

::

    x -> QuantizeLinear -> DequantizeLinear -> Conv (int8 weight -> DequantizeLinear, int32 bias -> DequantizeLinear) -> y

Scales are those of the graph; QuantizeLinear divides by the step size where the graph multiplies by its reciprocal, so a value at a tie may come
out one step away (decision D2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.convolution import window, window_of
from nuqconv.backends.onnx.lowering.pooling import pool_input
from nuqconv.backends.onnx.style import Layers
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import Convolution, Deconvolution, Dequantize, InnerProduct, Pooling, Quantize, Weighted

__all__ = ["QdqLayers"]


class QdqLayers(Layers):
    """The layers of one graph that have this form, with the pairs around them."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self._behind = _qdq_layers(graph)
        self._ends = {id(node) for node in self._behind.values()}
        self._real: dict[str, str] = {}
        """For a quantized value that is there as real numbers, those."""

    def write(self, build: Builder, node: Node) -> bool:
        """Adds a Quantize, a layer of this form, or the Dequantize behind one."""
        op = node.op
        if isinstance(op, Quantize):
            return self._quantize(build, node, op)
        if isinstance(op, Dequantize):
            # It is in the layer's operands.
            return id(node) in self._ends
        if node.name not in self._behind:
            return False
        value, output = self._real[node.inputs[0]], self._behind[node.name].outputs[0]
        match op:
            case Pooling():
                pool_input(build, node, op, value, output)
            case Convolution():
                self._weighted(build, node, op, "Conv", window_of(build, node, op))
            case Deconvolution():
                self._weighted(build, node, op, "ConvTranspose", window(op, op.pad))
            case InnerProduct():
                self._weighted(build, node, op, "Gemm", {"transB": int(not op.transpose)})
        return True

    def _quantize(self, build: Builder, node: Node, op: Quantize) -> bool:
        """Adds the pair behind a Quantize if a layer of this form reads it; returns whether nothing else needs the value itself."""
        value = node.outputs[0]
        readers = build.graph.consumers[value]
        taken = [reader.name in self._behind for reader in readers]
        if any(taken):
            step = build.number(float(np.float32(1) / np.float32(op.multiplier)), node, "step")
            point = build.constant(np.array(op.offset + 128, np.uint8), node, "zero_point")
            quantized = build.node("QuantizeLinear", [node.inputs[0], step, point], node)
            self._real[value] = build.node("DequantizeLinear", [quantized, step, point], node)
        return bool(readers) and all(taken) and value not in build.graph.outputs

    def _weighted(
        self, build: Builder, node: Node, op: Weighted, op_type: str, attributes: dict[str, Attribute]
    ) -> None:
        """Adds the layer on real numbers, its weight and bias stored as integers; the Dequantize behind it is in its operands."""
        value = self._real[node.inputs[0]]
        if isinstance(op, InnerProduct) and len(build.shape(node.inputs[0])) != 2:
            value = build.node("Flatten", [value], node, attributes={"axis": 1})
        graph, behind = build.graph, self._behind[node.name]
        maker = graph.producer[node.inputs[0]].op
        multiplier = maker.multiplier if isinstance(maker, Quantize) else 1.0
        steps = graph.params[behind.params[0]].reshape(-1)
        scales = (steps.astype(np.float64) * np.float64(np.float32(multiplier))).astype(np.float32)
        weight = graph.params[node.params[0]]
        # onnxruntime up to 1.20 makes up one zero point for a Gemm's weight that has none, and then asks for as many as there are step sizes.
        points = [build.constant(np.zeros(scales.size, np.int8), node, "zero_points")] if op_type == "Gemm" else []
        operands = [_dequantized(build, node, node.params[0], weight, scales, op.weight_output_axis, points)]
        if len(node.params) > 1:
            operands.append(_dequantized(build, node, node.params[1], graph.params[node.params[1]], steps, 0))
        build.node(op_type, [value, *operands], node, output=behind.outputs[0], attributes=attributes)


def _qdq_layers(graph: Graph) -> dict[str, Node]:
    """Returns for each layer that has this form the Dequantize behind it.

    It reads a Quantize, and only a Dequantize without shifts reads it. A Deconvolution in groups has no axis of its weight for all its step sizes.
    """
    found = {}
    for node in graph.nodes:
        maker = graph.producer.get(node.inputs[0]) if node.inputs else None
        readers = graph.consumers[node.outputs[0]] if node.outputs else ()
        if not isinstance(node.op, Weighted | Pooling) or len(node.inputs) != 1 or maker is None:
            continue
        grouped = isinstance(node.op, Deconvolution) and node.op.group > 1
        grouped = grouped or (isinstance(node.op, Convolution | Deconvolution) and not node.op.kernel)
        alone = len(readers) == 1 and node.outputs[0] not in graph.outputs
        plain = alone and isinstance(readers[0].op, Dequantize) and not readers[0].op.shifts
        if isinstance(maker.op, Quantize) and plain and not grouped and getattr(node.op, "axis", 1) == 1:
            found[node.name] = readers[0]
    return found


def _dequantized(
    build: Builder, node: Node, name: str, integers: Array, scales: Array, axis: int, points: Sequence[str] = ()
) -> str:
    steps = build.constant(scales, node, "steps")
    attributes: dict[str, Attribute] = {"axis": axis}
    return build.node("DequantizeLinear", [build.integers(name, integers), steps, *points], node, attributes=attributes)
