"""The layers that carry the weights."""

from __future__ import annotations

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering import integer
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.backends.onnx.lowering.shape import reshape_to
from nuqconv.ir import Node
from nuqconv.ir.ops import Convolution, Deconvolution, InnerProduct

__all__: list[str] = []


def _window(op: Convolution | Deconvolution) -> dict[str, Attribute]:
    return {
        "kernel_shape": op.kernel,
        "strides": op.stride,
        "pads": [*op.pad, *op.pad],
        "dilations": op.dilation,
        "group": op.group,
    }


@lowers(Convolution)
def convolution(build: Builder, node: Node, op: Convolution) -> None:
    """Conv, or ConvInteger on integers."""
    zero_point = build.zero_point(node.inputs[0])
    if zero_point is not None:
        integer.convolution(build, node, _window(op), zero_point)
        return
    operands = [node.inputs[0], *(build.param(name) for name in node.params)]
    build.node("Conv", operands, node, output=node.outputs[0], attributes=_window(op))


@lowers(Deconvolution)
def deconvolution(build: Builder, node: Node, op: Deconvolution) -> None:
    """ConvTranspose, or zero insertion and ConvInteger on integers."""
    zero_point = build.zero_point(node.inputs[0])
    if zero_point is not None:
        integer.deconvolution(build, node, op, zero_point)
        return
    operands = [node.inputs[0], *(build.param(name) for name in node.params)]
    build.node("ConvTranspose", operands, node, output=node.outputs[0], attributes=_window(op))


@lowers(InnerProduct)
def inner_product(build: Builder, node: Node, op: InnerProduct) -> None:
    """Flatten to a matrix, Gemm (or MatMulInteger on integers), and Reshape back where there are several leading axes."""
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
