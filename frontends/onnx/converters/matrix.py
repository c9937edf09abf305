"""Gemm, MatMul and Einsum."""

from __future__ import annotations

from math import prod

import numpy as np

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading, number_array
from nuqconv.frontends.onnx.registry import converts
from nuqconv.ir.ops import Binary, Einsum, InnerProduct, MatMul, Permute, Power

__all__: list[str] = []


@converts("Gemm")
def gemm(reading: Reading, node: NodeView) -> None:
    """InnerProduct where the second matrix is stored and the bias is a row, else MatMul, Power and Binary."""
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    value = reading.value(node, 0)
    if node.get("transA", 0):
        value = reading.add(node, Permute((1, 0)), (value,), purpose="left")
    matrix = reading.constant(node, 1)
    added = reading.constant(node, 2)
    has_bias = node.has_input(2)
    if matrix is not None and (not has_bias or _is_row(added, matrix.shape[0 if node.get("transB", 0) else 1])):
        weight = number_array(matrix, node.inputs[1])
        if not node.get("transB", 0):
            weight = np.ascontiguousarray(weight.T)
        if alpha != 1:
            weight = weight * np.float32(alpha)
        params = [reading.param(node.inputs[1], weight)]
        if added is not None:
            bias = number_array(added, node.inputs[2]) * np.float32(beta)
            params.append(
                reading.param(node.inputs[2], np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), len(weight))))
            )
        reading.add(node, InnerProduct(len(weight), bias_term=added is not None), (value,), params=params)
        return
    right = reading.value(node, 1)
    if node.get("transB", 0):
        right = reading.add(node, Permute((1, 0)), (right,), purpose="right")
    plain = alpha == 1 and not has_bias
    value = reading.add(node, MatMul(), (value, right), node.outputs if plain else None, purpose="product")
    if alpha != 1:
        value = reading.add(node, Power(scale=alpha), (value,), None if has_bias else node.outputs, purpose="alpha")
    if has_bias:
        other = reading.value(node, 2)
        if beta != 1:
            other = reading.add(node, Power(scale=beta), (other,), purpose="beta")
        reading.add(node, Binary("add"), (value, other))


def _is_row(array: object, length: int) -> bool:
    return (
        isinstance(array, np.ndarray)
        and array.size in (1, length)
        and (array.ndim == 0 or array.size == array.shape[-1])
    )


@converts("MatMul")
def matmul(reading: Reading, node: NodeView) -> None:
    """InnerProduct along the last axis where the right side is a stored matrix, else MatMul."""
    matrix = reading.constant(node, 1)
    if matrix is None or matrix.ndim != 2 or len(reading.shape(node)) < 2 or node.inputs[0] in reading.constants:
        reading.add(node, MatMul(), (reading.value(node, 0), reading.value(node, 1)))
        return
    if reading.shape(node)[-1] != matrix.shape[0] or not prod(matrix.shape):
        raise CannotConvertError(f"its matrices of {reading.shape(node)} and {matrix.shape} do not go together")
    weight = np.ascontiguousarray(number_array(matrix, node.inputs[1]).T)
    rank = len(reading.shape(node))
    op = InnerProduct(len(weight), axis=rank - 1, bias_term=False, by_rows=rank > 2)
    reading.add(node, op, (reading.value(node, 0),), params=(reading.param(node.inputs[1], weight),))


@converts("Einsum")
def einsum(reading: Reading, node: NodeView) -> None:
    """One operator."""
    values = [reading.value(node, index) for index in range(len(node.inputs))]
    reading.add(node, Einsum(node.get("equation")), values)
