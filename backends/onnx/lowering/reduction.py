"""Operators that sum up, rank or count along axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.parts.operands import reshape_to
from nuqconv.backends.onnx.lowering.parts.steps import Steps
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import ArgMax, ArgReduce, CumSum, Reduce, Reduction, TopK

__all__ = ["reduce_over"]

_REDUCTIONS = {"SUM": "ReduceSum", "ASUM": "ReduceL1", "SUMSQ": "ReduceSumSquare", "MEAN": "ReduceMean"}


def reduce_over(
    build: Builder,
    node: Node,
    op_type: str,
    value: str,
    axes: Sequence[int],
    *,
    keepdims: bool = False,
    output: str | None = None,
) -> str:
    """Adds a Reduce operator, whose axes are an input or an attribute depending on the opset.

    Args:
        build: The graph under construction.
        node: The layer that it belongs to.
        op_type: ONNX operator.
        value: What is reduced.
        axes: Over which axes.
        keepdims: Whether the axes stay with size 1.
        output: Name of the result; without it a name is derived.

    Returns:
        The name of the result.
    """
    attributes: dict[str, Attribute] = {"keepdims": int(keepdims)}
    operands = [value]
    if build.opset >= 18 or op_type == "ReduceSum":
        operands.append(build.constant(np.array(axes, np.int64), node, "axes"))
    else:
        attributes["axes"] = list(axes)
    return build.node(op_type, operands, node, output=output, attributes=attributes)


@lowers(Reduction)
def reduction(build: Builder, node: Node, op: Reduction) -> None:
    """A Reduce over the trailing axes, and a Mul by the coefficient."""
    rank = len(build.shape(node.inputs[0]))
    axes = range(op.axis % rank, rank)
    factor = np.float32(op.coeff)
    output = node.outputs[0] if factor == 1 else None
    total = reduce_over(build, node, _REDUCTIONS[op.operation], node.inputs[0], axes, output=output)
    if factor != 1:
        build.node("Mul", [total, build.number(float(factor), node, "coeff")], node, output=node.outputs[0])


@lowers(ArgMax)
def arg_max(build: Builder, node: Node, op: ArgMax) -> None:
    """TopK on the reversed axis, because of equal elements Caffe takes the last first."""
    value = node.inputs[0]
    shape, target = build.shape(value), build.dims(node.outputs[0])
    if op.axis is not None:
        best, places = _top(build, node, op.top_k, value, op.axis % len(shape))
        output = node.outputs[0]
        if op.out_max_val:
            build.node("Identity", [best], node, output=output)
        else:
            build.node("Cast", [places], node, output=output, attributes={"to": int(TensorProto.FLOAT)})
        return
    flat = reshape_to(build, value, (build.dims(value)[0], int(np.prod(shape[1:]))), node)
    best, places = _top(build, node, op.top_k, flat, 1)
    found = build.node("Cast", [places], node, attributes={"to": int(TensorProto.FLOAT)})
    if op.out_max_val:
        found = build.node("Concat", [found, best], node, attributes={"axis": 1})
    reshape_to(build, found, target, node, node.outputs[0])


def _top(build: Builder, node: Node, count: int, value: str, axis: int) -> tuple[str, str]:
    """Returns the ``count`` largest along ``axis``, and their indices as int64."""
    step = np.array([-1], np.int64)
    bounds = {"start": step, "end": np.array([-(2**62)], np.int64), "axis": np.array([axis], np.int64), "step": step}
    operands = [build.constant(bound, node, purpose) for purpose, bound in bounds.items()]
    reversed_value = build.node("Slice", [value, *operands], node)
    wanted = build.constant(np.array([count], np.int64), node, "top_k")
    best, behind = build.multi_node(
        "TopK", [reversed_value, wanted], node, outputs=(None, None), attributes={"axis": axis}
    )
    # The size is taken at run time: axis 0 may be an open batch.
    size = build.node("Gather", [build.node("Shape", [value], node), operands[2]], node)
    last = build.node("Sub", [size, build.constant(np.array([1], np.int64), node, "one")], node)
    return best, build.node("Sub", [last, behind], node)


@lowers(CumSum)
def cum_sum(build: Builder, node: Node, op: CumSum) -> None:
    """CumSum."""
    axis = build.constant(np.array(op.axis, np.int64), node, "axis")
    attributes: dict[str, Attribute] = {"exclusive": int(op.exclusive), "reverse": int(op.reverse)}
    build.node("CumSum", [node.inputs[0], axis], node, output=node.outputs[0], attributes=attributes)


_AXES_AS_INPUT = 18

_OPERATORS: Mapping[str, str] = MappingProxyType(
    {
        "l1": "ReduceL1",
        "l2": "ReduceL2",
        "logsum": "ReduceLogSum",
        "logsumexp": "ReduceLogSumExp",
        "max": "ReduceMax",
        "mean": "ReduceMean",
        "min": "ReduceMin",
        "prod": "ReduceProd",
        "sum": "ReduceSum",
        "sumsquare": "ReduceSumSquare",
    }
)


@lowers(Reduce)
def reduce(build: Builder, node: Node, op: Reduce) -> None:
    """The operator of that name."""
    attributes: dict[str, Attribute] = {"keepdims": int(op.keepdims)}
    inputs = list(node.inputs)
    if op.function == "sum" or build.opset >= _AXES_AS_INPUT:
        inputs.append(Steps(build, node).integers(op.axes))
    else:
        attributes["axes"] = op.axes
    build.node(_OPERATORS[op.function], inputs, node, output=node.outputs[0], attributes=attributes)


@lowers(ArgReduce)
def arg_reduce(build: Builder, node: Node, op: ArgReduce) -> None:
    """ArgMax or ArgMin, as float32."""
    name = {"argmax": "ArgMax", "argmin": "ArgMin"}[op.function]
    attributes: dict[str, Attribute] = {
        "axis": op.axis,
        "keepdims": int(op.keepdims),
        "select_last_index": int(op.last),
    }
    found = build.node(name, node.inputs, node, attributes=attributes)
    build.node("Cast", [found], node, output=node.outputs[0], attributes={"to": int(TensorProto.FLOAT)})


@lowers(TopK)
def top_k(build: Builder, node: Node, op: TopK) -> None:
    """TopK, with indices as float32."""
    attributes: dict[str, Attribute] = {"axis": op.axis, "largest": int(op.largest), "sorted": int(op.sorted)}
    inputs = [node.inputs[0], Steps(build, node).integers([op.k])]
    outputs = (node.outputs[0], None)
    _, indices = build.multi_node("TopK", inputs, node, outputs=outputs, attributes=attributes)
    build.node("Cast", [indices], node, output=node.outputs[1], attributes={"to": int(TensorProto.FLOAT)})
