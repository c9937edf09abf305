"""Branches whose condition is known."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import AttributeProto, NodeProto

from nuqconv.frontends.onnx.reading import NodeView
from nuqconv.ir import Array

__all__ = ["taken_branch"]


def taken_branch(node: NodeView, constants: Mapping[str, Array]) -> list[NodeProto] | None:
    """Returns the nodes that may stand in the place of an If whose condition is known; None for all other nodes.

    A branch sees all names of the graph around it, and no name is made twice in a model, so its nodes can stand there as they are.
    """
    condition = constants.get(node.inputs[0]) if node.op_type == "If" and node.has_input(0) else None
    if condition is None or condition.size != 1:
        return None
    branch = node.get("then_branch" if bool(condition.reshape(-1)[0]) else "else_branch")
    found = []
    for tensor in branch.initializer:
        stored = NodeProto(op_type="Constant", output=[tensor.name], name=f"{node.name}/{tensor.name}")
        value = stored.attribute.add(name="value", type=AttributeProto.TENSOR)
        value.t.CopyFrom(tensor)
        found.append(stored)
    found += branch.node
    return found + [
        NodeProto(op_type="Identity", input=[inner.name], output=[outer], name=f"{node.name}/{outer}")
        for inner, outer in zip(branch.output, node.outputs, strict=True)
    ]
