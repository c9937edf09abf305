"""Operators that only move elements."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import Flatten, Permute, Reshape

__all__ = ["reshape_to"]


def reshape_to(build: Builder, value: str, dims: tuple[int, ...], node: Node, output: str | None = None) -> str:
    """Adds a Reshape to ``dims`` and returns its output's name."""
    target = build.constant(np.array(dims, np.int64), node, "shape")
    return build.node("Reshape", [value, target], node, output=output)


@lowers(Flatten)
def flatten(build: Builder, node: Node, op: Flatten) -> None:
    """Flatten where it joins axis 1 to the last one, else Reshape."""
    rank = len(build.shape(node.inputs[0]))
    if op.axis % rank == 1 and op.end_axis % rank == rank - 1:
        build.node("Flatten", node.inputs, node, output=node.outputs[0], attributes={"axis": 1})
    else:
        reshape_to(build, node.inputs[0], build.dims(node.outputs[0]), node, node.outputs[0])


@lowers(Permute)
def permute(build: Builder, node: Node, op: Permute) -> None:
    """Transpose."""
    order = op.full_order(len(build.shape(node.inputs[0])))
    build.node("Transpose", node.inputs, node, output=node.outputs[0], attributes={"perm": order})


@lowers(Reshape)
def reshape(build: Builder, node: Node, op: Reshape) -> None:
    """Reshape to the inferred shape."""
    del op
    reshape_to(build, node.inputs[0], build.dims(node.outputs[0]), node, node.outputs[0])
