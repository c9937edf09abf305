"""Products of matrices."""

from __future__ import annotations

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.parts import integer, products, qdq
from nuqconv.backends.onnx.lowering.parts.operands import reshape_to
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import Einsum, InnerProduct, MatMul

__all__: list[str] = []


@lowers(MatMul)
def mat_mul(build: Builder, node: Node, op: MatMul) -> None:
    """MatMul."""
    del op
    build.node("MatMul", node.inputs, node, output=node.outputs[0])


@lowers(Einsum)
def einsum(build: Builder, node: Node, op: Einsum) -> None:
    """Einsum."""
    build.node("Einsum", node.inputs, node, output=node.outputs[0], attributes={"equation": op.equation})


@lowers(InnerProduct)
def inner_product(build: Builder, node: Node, op: InnerProduct) -> None:
    """Flatten to a matrix, Gemm (or MatMulInteger on integers), and Reshape back where there are several leading axes."""
    if node.name in build.qdq:
        qdq.add_layer(build, node, op, "Gemm", {"transB": int(not op.transpose)})
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
