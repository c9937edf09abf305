"""Products of matrices."""

from __future__ import annotations

from collections.abc import Callable

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.parts.operands import reshape_to
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import Einsum, InnerProduct, MatMul

__all__ = ["as_matrix"]


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
    """MatMul of rows; else Flatten to a matrix, Gemm, and Reshape back where there are several leading axes."""
    if op.by_rows:
        _rows(build, node, op)
        return

    def product(matrix: str, output: str | None) -> str:
        operands = [matrix, *(build.param(name) for name in node.params)]
        return build.node("Gemm", operands, node, output=output, attributes={"transB": int(not op.transpose)})

    as_matrix(build, node, op, product)


def _rows(build: Builder, node: Node, op: InnerProduct) -> None:
    """MatMul, and Add of the bias."""
    matrix, *bias = (build.param(name) for name in node.params)
    if not op.transpose:
        matrix = build.node("Transpose", [matrix], node, attributes={"perm": [1, 0]})
    found = build.node("MatMul", [node.inputs[0], matrix], node, output=None if bias else node.outputs[0])
    if bias:
        build.node("Add", [found, *bias], node, output=node.outputs[0])


def as_matrix(build: Builder, node: Node, op: InnerProduct, product: Callable[[str, str | None], str]) -> None:
    """Adds an InnerProduct whose matrix product is made by ``product``, of the input as a matrix and the name of its result, if it has one.

    Rows of more than two axes stay as they are, which ONNX's products of matrices take.
    """
    value = node.inputs[0]
    if op.by_rows:
        product(value, node.outputs[0])
        return
    rank = len(build.shape(value))
    axis = op.axis % rank
    if (rank, axis) != (2, 1):
        value = build.node("Flatten", [value], node, attributes={"axis": axis})
    output = node.outputs[0] if axis == 1 else None
    found = product(value, output)
    if output is None:
        reshape_to(build, found, build.dims(node.outputs[0]), node, node.outputs[0])
