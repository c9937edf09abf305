"""Operators that sum up, rank or count along axes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nuqconv.frontends.onnx.reading import NodeView, Reading
from nuqconv.frontends.onnx.registry import converts
from nuqconv.ir.ops import ArgReduce, CumSum, Identity, Reduce, TopK
from nuqconv.ir.ops.reduction import ReduceFunction

__all__: list[str] = []

_FUNCTIONS: Mapping[str, ReduceFunction] = {
    "ReduceSum": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceProd": "prod",
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceLogSum": "logsum",
    "ReduceLogSumExp": "logsumexp",
    "ReduceSumSquare": "sumsquare",
}


@converts(*_FUNCTIONS)
def reduce(reading: Reading, node: NodeView) -> None:
    """Reduce over axes that are known; without axes over all, or over none if the node says so."""
    rank = len(reading.shape(node))
    axes = reading.argument(node, 1, "axes")
    value = reading.value(node, 0)
    if not axes:
        if node.get("noop_with_empty_axes", 0):
            reading.add(node, Identity(), (value,))
            return
        axes = tuple(range(rank))
    named = tuple(axis % rank for axis in axes) if rank else ()
    reading.add(node, Reduce(_FUNCTIONS[node.op_type], named, bool(node.get("keepdims", 1))), (value,))


@converts("ArgMax", "ArgMin")
def arg_reduce(reading: Reading, node: NodeView) -> None:
    """One operator."""
    op = ArgReduce(
        "argmax" if node.op_type == "ArgMax" else "argmin",
        node.get("axis", 0),
        bool(node.get("keepdims", 1)),
        bool(node.get("select_last_index", 0)),
    )
    reading.add(node, op, (reading.value(node, 0),))


@converts("TopK")
def topk(reading: Reading, node: NodeView) -> None:
    """One operator with a number that is known."""
    count = int(np.asarray(reading.needed(node, 1, "k")).reshape(-1)[0]) if node.has_input(1) else node.get("k")
    op = TopK(count, node.get("axis", -1), bool(node.get("largest", 1)), bool(node.get("sorted", 1)))
    reading.add(node, op, (reading.value(node, 0),))


@converts("CumSum")
def cumsum(reading: Reading, node: NodeView) -> None:
    """One operator."""
    axis = reading.whole(node, 1, "axis")[0]
    op = CumSum(axis, bool(node.get("exclusive", 0)), bool(node.get("reverse", 0)))
    reading.add(node, op, (reading.value(node, 0),))
