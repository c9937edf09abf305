"""Quantized layers in integer arithmetic.

A quantized value ``q`` is held as uint8 ``q + 128`` with zero point ``offset + 128``, weights as uint8 ``w + 128`` with zero point 128:
of the four combinations of signs it is the one that every version of onnxruntime has and computes without saturation on every CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.convolution import window_of
from nuqconv.backends.onnx.lowering.matrix import as_matrix
from nuqconv.backends.onnx.lowering.parts.operands import reshape_to
from nuqconv.backends.onnx.lowering.pooling import pool_input
from nuqconv.backends.onnx.lowering.quantization import rounded
from nuqconv.backends.onnx.style import Layers
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import Convolution, Deconvolution, Dequantize, InnerProduct, Pooling, Quantize, Weighted

__all__ = ["IntegerLayers"]


class IntegerLayers(Layers):
    """The layers of one graph on integers."""

    def problems(self) -> list[str]:
        """Returns a line for each layer that keeps the graph from being computed on integers."""
        graph, found = self.graph, []
        for node in graph.nodes:
            makers = [graph.producer.get(name) for name in node.inputs]
            quantized = any(maker is not None and isinstance(maker.op, Quantize) for maker in makers)
            if isinstance(node.op, Dequantize):
                if not _is_quantized_layer(graph, makers[0]):
                    found.append(f"{node.place}: its input is not made by a quantized layer")
            elif quantized and not _can_be_integer(node):
                found.append(f"{node.place}: reads a quantized value; only {_NAMES} can")
            elif quantized:
                found += _param_problems(graph, node)
                found += [
                    f"{reader.place}: reads the integer result of '{node.name}' before it is dequantized"
                    for reader in graph.consumers[node.outputs[0]]
                    if not isinstance(reader.op, Dequantize)
                ]
        return found

    def write(self, build: Builder, node: Node) -> bool:
        """Adds a Quantize, or a layer that reads one."""
        op = node.op
        if isinstance(op, Quantize):
            _quantize(build, node, op)
            return True
        if not isinstance(op, Weighted | Pooling):
            return False
        zero_point = self._zero_point(node)
        if zero_point is None:
            return False
        match op:
            case Convolution():
                _convolution(build, node, window_of(build, node, op), zero_point)
            case Deconvolution():
                _deconvolution(build, node, op, zero_point)
            case InnerProduct():
                as_matrix(build, node, op, partial(_matrix_product, build, node, op, zero_point))
            case Pooling():
                # The average of the integers, as float32.
                pool_input(build, node, op, _centred(build, node, zero_point), node.outputs[0])
        return True

    def _zero_point(self, node: Node) -> int | None:
        """Returns the uint8 zero point of what a layer reads, or None when that is no integer."""
        makers = [self.graph.producer.get(value) for value in node.inputs]
        found = [maker.op.offset + 128 if maker and isinstance(maker.op, Quantize) else None for maker in makers]
        if isinstance(node.op, Convolution | Deconvolution):
            if len(found) > 1 and any(zero_point is not None for zero_point in found):
                raise UnsupportedError(
                    f"{node.place}: shares its weights between {len(found)} inputs, which integers cannot"
                )
            if found[0] is not None and node.op.axis != 1:
                raise UnsupportedError(
                    f"{node.place}: has its channels on axis {node.op.axis}; on integers they must be on axis 1"
                )
        return found[0]


_NAMES = "Convolution, Deconvolution, InnerProduct and average Pooling"


def _can_be_integer(node: Node) -> bool:
    return isinstance(node.op, Weighted) or (isinstance(node.op, Pooling) and node.op.method == "AVE")


def _is_quantized_layer(graph: Graph, node: Node | None) -> bool:
    if node is None or not _can_be_integer(node):
        return False
    maker = graph.producer.get(node.inputs[0])
    return maker is not None and isinstance(maker.op, Quantize)


def _param_problems(graph: Graph, node: Node) -> list[str]:
    wanted = (np.dtype(np.int8), np.dtype(np.int32))
    return [
        f"{node.place}: '{name}' is {graph.params[name].dtype}, expected {dtype}"
        for name, dtype in zip(node.params, wanted, strict=False)
        if graph.params[name].dtype != dtype
    ]


def _quantize(build: Builder, node: Node, op: Quantize) -> None:
    """Adds ``q + 128`` in uint8."""
    value, output = rounded(build, node, op, None), node.outputs[0]
    shifted = build.node("Add", [value, build.number(op.offset + 128, node, "zero_point")], node)
    build.node("Cast", [shifted], node, output=output, attributes={"to": int(TensorProto.UINT8)})
    build.set_type(output, int(TensorProto.UINT8))


def _centred(build: Builder, node: Node, zero_point: int) -> str:
    """Returns a layer's first input with its zero point taken off, as float32."""
    cast = build.node("Cast", node.inputs[:1], node, attributes={"to": int(TensorProto.FLOAT)})
    return build.node("Sub", [cast, build.number(zero_point, node, "zero_point")], node)


def _convolution(build: Builder, node: Node, attributes: Mapping[str, Attribute], zero_point: int) -> None:
    """Adds ConvInteger, whose padding is the zero point, and the bias in int32."""
    operands = [
        node.inputs[0],
        _weight(build, node, build.graph.params[node.params[0]]),
        *_points(build, node, zero_point),
    ]
    _with_bias(build, node, "ConvInteger", operands, attributes, node.outputs[0])


def _matrix_product(
    build: Builder, node: Node, op: InnerProduct, zero_point: int, matrix: str, output: str | None
) -> str:
    """Adds MatMulInteger of ``matrix`` (M, K) with the weights and the bias in int32; returns the name of the result."""
    stored = build.graph.params[node.params[0]]
    operands = [
        matrix,
        _weight(build, node, stored if op.transpose else stored.T),
        *_points(build, node, zero_point),
    ]
    return _with_bias(build, node, "MatMulInteger", operands, {}, output)


def _deconvolution(build: Builder, node: Node, op: Deconvolution, zero_point: int) -> None:
    """Adds a transposed convolution as a convolution with the turned kernel.

    ::

        a b    becomes    a 0 b 0    and then    ConvInteger, pads reach - 1 - pad (Slice where that is negative)
        c d               0 0 0 0
                          c 0 d 0
                          0 0 0 0

    """
    value = _insert_zeros(build, node, op, zero_point)
    begin = [d * (k - 1) - p for d, k, p in zip(op.dilation, op.kernel, op.pad, strict=True)]
    # The zeros inserted behind the last element are part of the padding there.
    end = [pad - (stride - 1) for pad, stride in zip(begin, op.stride, strict=True)]
    value = _cut(build, node, op, value, begin, end)
    attributes: dict[str, Attribute] = {
        "kernel_shape": op.kernel,
        "pads": [max(0, pad) for pad in (*begin, *end)],
        "dilations": op.dilation,
        "group": op.group,
    }
    operands = [value, _weight(build, node, _turned(build.graph.params[node.params[0]], op.group))]
    operands += _points(build, node, zero_point)
    _with_bias(build, node, "ConvInteger", operands, attributes, node.outputs[0])


def _insert_zeros(build: Builder, node: Node, op: Deconvolution, zero_point: int) -> str:
    value = node.inputs[0]
    if set(op.stride) == {1}:
        return value
    batch, channels, *sizes = build.dims(value)
    rank = len(sizes)
    spread = [dim for size in sizes for dim in (size, 1)]
    value = reshape_to(build, value, (batch, channels, *spread), node)
    behind = [width for stride in op.stride for width in (0, stride - 1)]
    pads = build.constant(np.array([0] * (2 + 2 * rank) + [0, 0, *behind], np.int64), node, "pads")
    value = build.node("Pad", [value, pads, _point(build, node, zero_point, "zero_point")], node)
    joined = [size * stride for size, stride in zip(sizes, op.stride, strict=True)]
    return reshape_to(build, value, (batch, channels, *joined), node)


def _cut(build: Builder, node: Node, op: Deconvolution, value: str, begin: Sequence[int], end: Sequence[int]) -> str:
    """Takes off what negative pads ask for."""
    sizes = [size * stride for size, stride in zip(build.shape(node.inputs[0])[2:], op.stride, strict=True)]
    cuts = [
        (axis, max(0, -first), size - max(0, -last))
        for axis, (size, first, last) in enumerate(zip(sizes, begin, end, strict=True), 2)
        if first < 0 or last < 0
    ]
    if not cuts:
        return value
    axes, starts, ends = (np.array(column, np.int64) for column in zip(*cuts, strict=True))
    bounds = [
        build.constant(starts, node, "starts"),
        build.constant(ends, node, "ends"),
        build.constant(axes, node, "axes"),
    ]
    return build.node("Slice", [value, *bounds], node)


def _turned(weight: Array, group: int) -> Array:
    """(C, O / group, kernel...) -> (O, C / group, kernel turned by 180 degrees...)."""
    channels, outputs = weight.shape[0], weight.shape[1]
    kernel = weight.shape[2:]
    grouped = weight.reshape(group, channels // group, outputs, *kernel).swapaxes(1, 2)
    whole = grouped.reshape(group * outputs, channels // group, *kernel)
    return np.flip(whole, tuple(range(2, whole.ndim)))


def _weight(build: Builder, node: Node, integers: Array) -> str:
    shifted = (integers.astype(np.int16) + 128).astype(np.uint8)
    return build.constant(shifted, node, "weight")


def _point(build: Builder, node: Node, value: int, purpose: str) -> str:
    return build.constant(np.array(value, np.uint8), node, purpose)


def _points(build: Builder, node: Node, zero_point: int) -> list[str]:
    return [_point(build, node, zero_point, "zero_point"), _point(build, node, 128, "weight_zero_point")]


def _with_bias(
    build: Builder,
    node: Node,
    op_type: str,
    operands: Sequence[str],
    attributes: Mapping[str, Attribute],
    output: str | None,
) -> str:
    build.set_type(node.outputs[0], int(TensorProto.INT32))
    if len(node.params) == 1:
        return build.node(op_type, operands, node, output=output, attributes=attributes)
    product = build.node(op_type, operands, node, attributes=attributes)
    bias = build.graph.params[node.params[1]]
    trailing = 0 if op_type == "MatMulInteger" else len(build.shape(node.outputs[0])) - 2
    bias_name = build.tensor(bias.reshape(-1, *(1,) * trailing), node.params[1])
    return build.node("Add", [product, bias_name], node, output=output)
