"""Reductions over any axes, and ranks along one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from onnx import TensorProto

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.backends.onnx.lowering.steps import Steps
from nuqconv.ir import Node
from nuqconv.ir.ops import ArgReduce, Reduce, TopK

__all__: list[str] = []

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
