"""Normalization by what the batch itself shows."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import BatchStatistics

__all__: list[str] = []


@lowers(BatchStatistics)
def batch_statistics(build: Builder, node: Node, op: BatchStatistics) -> None:
    """Mean and mean square deviation by ReduceMean over all axes but the channels'."""
    value = node.inputs[0]
    rank = len(build.shape(value))
    axes = [axis for axis in range(rank) if axis != 1]
    centred = build.node("Sub", [value, _mean(build, node, value, axes)], node)
    square = build.node("Mul", [centred, centred], node)
    shifted = build.node("Add", [_mean(build, node, square, axes), build.number(op.eps, node, "eps")], node)
    deviation = build.node("Sqrt", [shifted], node)
    build.node("Div", [centred, deviation], node, output=node.outputs[0])


def _mean(build: Builder, node: Node, value: str, axes: list[int]) -> str:
    if build.opset < 18:
        return build.node("ReduceMean", [value], node, attributes={"axes": axes, "keepdims": 1})
    listed = build.constant(np.array(axes, np.int64), node, "axes")
    return build.node("ReduceMean", [value, listed], node, attributes={"keepdims": 1})
