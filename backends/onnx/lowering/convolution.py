"""The layers that carry the weights."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering import integer, products, qdq
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.backends.onnx.lowering.shape import reshape_to
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Node
from nuqconv.ir.ops import Convolution, Deconvolution, InnerProduct

__all__: list[str] = []


def _window(op: Convolution | Deconvolution, ends: Sequence[int]) -> dict[str, Attribute]:
    return {
        "kernel_shape": op.kernel,
        "strides": op.stride,
        "pads": [*op.pad, *ends],
        "dilations": op.dilation,
        "group": op.group,
    }


@lowers(Convolution)
def convolution(build: Builder, node: Node, op: Convolution) -> None:
    """One Conv for each input, ConvInteger on integers, or a fast product of them."""
    window = _window(op, op.end_pads(build.shape(node.inputs[0])[op.axis + 1 :]))
    zero_point = _zero_point(build, node, op)
    if zero_point is not None:
        integer.convolution(build, node, window, zero_point)
    elif node.name in build.qdq:
        _dequantized(build, node, op, "Conv", window)
    elif not products.as_product(build, node, op):
        _each(build, node, op, "Conv", window)


@lowers(Deconvolution)
def deconvolution(build: Builder, node: Node, op: Deconvolution) -> None:
    """One ConvTranspose for each input, or zero insertion and ConvInteger on integers."""
    zero_point = _zero_point(build, node, op)
    if zero_point is not None:
        integer.deconvolution(build, node, op, zero_point)
    elif node.name in build.qdq:
        _dequantized(build, node, op, "ConvTranspose", _window(op, op.pad))
    else:
        _each(build, node, op, "ConvTranspose", _window(op, op.pad))


def _dequantized(
    build: Builder,
    node: Node,
    op: Convolution | Deconvolution | InnerProduct,
    op_type: str,
    attributes: dict[str, Attribute],
) -> None:
    """Adds the layer on real numbers; the Dequantize behind it is in its operands."""
    value = qdq.dequantized_input(build, node)
    if isinstance(op, InnerProduct) and len(build.shape(node.inputs[0])) != 2:
        value = build.node("Flatten", [value], node, attributes={"axis": 1})
    operands = [value, *qdq.dequantized_operands(build, node, op)]
    build.node(op_type, operands, node, output=build.qdq[node.name].outputs[0], attributes=attributes)


def _zero_point(build: Builder, node: Node, op: Convolution | Deconvolution) -> int | None:
    found = [build.zero_point(value) for value in node.inputs]
    if len(found) > 1 and any(zero_point is not None for zero_point in found):
        raise UnsupportedError(f"{node.place}: shares its weights between {len(found)} inputs, which integers cannot")
    if found[0] is not None and op.axis != 1:
        raise UnsupportedError(f"{node.place}: has its channels on axis {op.axis}; on integers they must be on axis 1")
    return found[0]


def _each(
    build: Builder, node: Node, op: Convolution | Deconvolution, op_type: str, window: dict[str, Attribute]
) -> None:
    """Adds the node for each pair of input and output; other axes than (N, C, spatial...) are reshaped to it and back."""
    spatial = len(op.kernel)
    params = [build.graph.params[name].shape for name in node.params]
    if not spatial:
        # ONNX wants one spatial dimension at least.
        window = {"kernel_shape": [1], "group": op.group}
        params[0] = (*params[0], 1)
    operands = [build.param(name, shape) for name, shape in zip(node.params, params, strict=True)]
    plain = op.axis == 1 and spatial > 0
    for value, output in zip(node.inputs, node.outputs, strict=True):
        shape = build.shape(value)
        if plain:
            build.node(op_type, [value, *operands], node, output=output, attributes=window)
            continue
        batch = -1 if value in build.batched else prod(shape[: op.axis])
        image = reshape_to(build, value, (batch, *shape[op.axis :], *(() if spatial else (1,))), node)
        product = build.node(op_type, [image, *operands], node, attributes=window)
        reshape_to(build, product, build.dims(output), node, output)


@lowers(InnerProduct)
def inner_product(build: Builder, node: Node, op: InnerProduct) -> None:
    """Flatten to a matrix, Gemm (or MatMulInteger on integers), and Reshape back where there are several leading axes."""
    if node.name in build.qdq:
        _dequantized(build, node, op, "Gemm", {"transB": int(not op.transpose)})
        return
    if products.as_product(build, node, op):
        return
    value = node.inputs[0]
    rank = len(build.shape(value))
    axis = op.axis % rank
    if (rank, axis) != (2, 1):
        value = build.node("Flatten", [value], node, attributes={"axis": axis})
    output = node.outputs[0] if axis == 1 else None
    zero_point = build.zero_point(node.inputs[0])
    if zero_point is not None:
        product = integer.matrix_product(build, node, op, value, zero_point, output)
    else:
        operands = [value, *(build.param(name) for name in node.params)]
        attributes = {"transB": int(not op.transpose)}
        product = build.node("Gemm", operands, node, output=output, attributes=attributes)
    if output is None:
        reshape_to(build, product, build.dims(node.outputs[0]), node, node.outputs[0])
