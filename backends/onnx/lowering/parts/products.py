"""Quantized layers as products of 8-bit matrices, for sessions that must be fast.

A Convolution that reads a Quantize becomes, with channels behind the spatial axes::

    x -> Mul -> QuantizeLinear -> Transpose -> (Pad, one Slice for each place of the kernel, Concat) -> MatMulIntegerToFloat -> Transpose

onnxruntime takes the transpositions of neighbouring layers against each other. Sums are made in int32 and turned into float32 before the bias is
added, so the result is that of the layer on integers held in floats (decision D3) to the bit while those sums stay below 2^24; beyond, it
is the exact sum rounded once. ``MatMulIntegerToFloat`` is onnxruntime's own operator: models written to files do not have it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from itertools import product

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.quantization import times_steps
from nuqconv.backends.onnx.style import Layers
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import Convolution, Dequantize, InnerProduct, Quantize

__all__ = ["ProductLayers", "product_layers"]

_Layout = Callable[[Array], Array]

_DOMAIN = "com.microsoft"
# With fewer channels a window is put together from too many short pieces; onnxruntime's Conv is faster then.
_FEWEST_CHANNELS = 16
_LARGEST_SUM = 2**31


def product_layers(graph: Graph, among: Collection[str] | None = None) -> frozenset[str]:
    """Returns the names of the layers that can be such products: they read a Quantize, and their weights are integers of 8 bits.

    Args:
        graph: A graph.
        among: Names of the layers to look at; all if None.
    """
    return frozenset(
        node.name for node in graph.nodes if (among is None or node.name in among) and _is_product(graph, node)
    )


class ProductLayers(Layers):
    """The layers of one graph that are such products.

    Args:
        graph: The graph.
        signed: Whether weights are int8 in a product with uint8; else they are uint8 too.
    """

    def __init__(self, graph: Graph, *, signed: bool) -> None:
        super().__init__(graph)
        self._names = product_layers(graph)
        self._signed = signed
        self._bytes: dict[str, tuple[str, str]] = {}
        """For a quantized value that is there as uint8 ``q + 128``, that tensor and its zero point."""

    def write(self, build: Builder, node: Node) -> bool:
        """Adds a Quantize, a Dequantize or a product."""
        op = node.op
        if isinstance(op, Quantize):
            return self._quantize(build, node, op)
        if isinstance(op, Dequantize) and build.elem_type(node.inputs[0]) == TensorProto.FLOAT:
            # A session of this package multiplies nothing out beforehand.
            times_steps(build, node, op, node.inputs[0])
            return True
        if node.name not in self._names:
            return False
        if isinstance(op, Convolution):
            self._convolution(build, node, op)
        elif isinstance(op, InnerProduct):
            self._inner_product(build, node, op)
        return True

    def _quantize(self, build: Builder, node: Node, op: Quantize) -> bool:
        """Adds the uint8 ``q + 128`` of a Quantize if a product reads it; returns whether nothing else needs the value as float32."""
        value = node.outputs[0]
        readers = build.graph.consumers[value]
        taken = [reader.name in self._names for reader in readers]
        if any(taken):
            scaled = build.node("Mul", [node.inputs[0], build.number(op.multiplier, node, "multiplier")], node)
            zero_point = build.constant(np.array(op.offset + 128, np.uint8), node, "zero_point")
            # The step size is multiplied in before: QuantizeLinear would divide by it, and differ at ties.
            one = build.number(1.0, node, "one")
            self._bytes[value] = (build.node("QuantizeLinear", [scaled, one, zero_point], node), zero_point)
        return bool(readers) and all(taken) and value not in build.graph.outputs

    def _convolution(self, build: Builder, node: Node, op: Convolution) -> None:
        value, zero_point = self._bytes[node.inputs[0]]
        ends = op.end_pads(build.shape(node.inputs[0])[2:])
        image = build.node("Transpose", [value], node, attributes={"perm": [0, 2, 3, 1]})
        if any((*op.pad, *ends)):
            pads = _integers(build, node, "pads", [0, *op.pad, 0, 0, *ends, 0])
            image = build.node("Pad", [image, pads, zero_point], node)
        columns = _windows(build, node, op, image)
        found = self._multiply(build, node, columns, _kernel_rows, zero_point)
        build.node("Transpose", [found], node, output=node.outputs[0], attributes={"perm": [0, 3, 1, 2]})

    def _inner_product(self, build: Builder, node: Node, op: InnerProduct) -> None:
        value, zero_point = self._bytes[node.inputs[0]]
        if len(build.shape(node.inputs[0])) != 2 and not op.by_rows:
            value = build.node("Flatten", [value], node, attributes={"axis": 1})
        self._multiply(build, node, value, _itself if op.transpose else _transposed, zero_point, node.outputs[0])

    def _multiply(
        self, build: Builder, node: Node, rows: str, lay: _Layout, zero_point: str, output: str | None = None
    ) -> str:
        """Adds the product of (..., K) with the weights, laid out as (K, O), and the bias."""
        one = build.number(1.0, node, "one")
        weight = build.derived(node.params[0], partial(_as_bytes, lay=lay, signed=self._signed), node, "weight")
        weight_point = "" if self._signed else build.constant(np.array(128, np.uint8), node, "weight_zero_point")
        operands = [rows, weight, one, one, zero_point, weight_point]
        if len(node.params) > 1:
            operands.append(build.derived(node.params[1], _as_floats, node, "bias"))
        return build.node("MatMulIntegerToFloat", operands, node, output=output, domain=_DOMAIN)


def _is_product(graph: Graph, node: Node) -> bool:
    op = node.op
    if not isinstance(op, Convolution | InnerProduct) or len(node.inputs) != 1:
        return False
    maker = graph.producer.get(node.inputs[0])
    if maker is None or not isinstance(maker.op, Quantize):
        return False
    weight = graph.params[node.params[0]]
    fits = op.axis == 1 or (isinstance(op, InnerProduct) and op.by_rows)
    if isinstance(op, Convolution):
        fits = fits and (op.group, len(op.kernel)) == (1, 2) and weight.shape[1] >= _FEWEST_CHANNELS
    return fits and weight.size // op.num_output * 255 * 128 < _LARGEST_SUM and _holds_bytes(weight)


def _holds_bytes(weight: Array) -> bool:
    if weight.dtype != np.float32:
        return weight.dtype == np.int8
    # Weights that are no integers fail at the first few of them, without a look at the others.
    head = weight.reshape(-1)[:64]
    if not np.array_equal(head, np.rint(head)) or weight.min() < -128 or weight.max() > 127:
        return False
    return np.array_equal(weight, weight.astype(np.int8))


def _windows(build: Builder, node: Node, op: Convolution, image: str) -> str:
    """(N, H, W, C) -> (N, H', W', places of the kernel * C)."""
    if {*op.kernel, *op.stride} == {1}:
        return image
    sizes = build.shape(node.outputs[0])[2:]
    axes, strides = _integers(build, node, "axes", [1, 2]), _integers(build, node, "strides", op.stride)
    pieces = []
    for place in product(*(range(size) for size in op.kernel)):
        starts = [at * dilation for at, dilation in zip(place, op.dilation, strict=True)]
        last = [start + (size - 1) * stride + 1 for start, size, stride in zip(starts, sizes, op.stride, strict=True)]
        bounds = [_integers(build, node, "starts", starts), _integers(build, node, "ends", last)]
        pieces.append(build.node("Slice", [image, *bounds, axes, strides], node))
    return pieces[0] if len(pieces) == 1 else build.node("Concat", pieces, node, attributes={"axis": 3})


def _as_bytes(weight: Array, *, lay: _Layout, signed: bool) -> Array:
    integers = np.ascontiguousarray(lay(weight.astype(np.int8)))
    shifted: Array = integers.view(np.uint8) ^ np.uint8(0x80)
    return integers if signed else shifted


def _as_floats(array: Array) -> Array:
    return array.astype(np.float32)


def _kernel_rows(weight: Array) -> Array:
    """(O, C, kernel...) -> (places of the kernel * C, O)."""
    rows: Array = weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))
    return rows


def _transposed(weight: Array) -> Array:
    matrix: Array = weight.T
    return matrix


def _itself(weight: Array) -> Array:
    return weight


def _integers(build: Builder, node: Node, purpose: str, values: object) -> str:
    return build.constant(np.array(values, np.int64), node, purpose)
