"""Operators of forks that only move elements."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.backends.onnx.lowering.shape import reshape_to
from nuqconv.ir import Node
from nuqconv.ir.ops import Reorg, Reverse, ShuffleChannel

__all__: list[str] = []


def _blocks(build: Builder, node: Node, dims: tuple[int, ...], order: tuple[int, ...]) -> None:
    """Splits the axes behind the batch into ``dims``, reorders them (batch counted as 0) and joins them to the output's shape."""
    batch = build.dims(node.inputs[0])[0]
    parts = reshape_to(build, node.inputs[0], (batch, *dims), node)
    moved = build.node("Transpose", [parts], node, attributes={"perm": order})
    reshape_to(build, moved, build.dims(node.outputs[0]), node, node.outputs[0])


@lowers(ShuffleChannel)
def shuffle_channel(build: Builder, node: Node, op: ShuffleChannel) -> None:
    """Reshape, Transpose, Reshape."""
    _, channels, height, width = build.shape(node.inputs[0])
    _blocks(build, node, (op.group, channels // op.group, height * width), (0, 2, 1, 3))


@lowers(Reorg)
def reorg(build: Builder, node: Node, op: Reorg) -> None:
    """Reshape, Transpose, Reshape."""
    _, channels, height, width = build.shape(node.inputs[0])
    stride, part = op.stride, channels // op.stride**2
    if op.reverse:
        _blocks(build, node, (stride, stride, part, height, width), (0, 3, 4, 1, 5, 2))
    else:
        _blocks(build, node, (part, height, stride, width, stride), (0, 3, 5, 1, 2, 4))


@lowers(Reverse)
def reverse(build: Builder, node: Node, op: Reverse) -> None:
    """Slice from the end with step -1."""
    bounds = [
        build.constant(np.array([value], np.int64), node, purpose)
        for purpose, value in (("start", -1), ("end", np.iinfo(np.int64).min), ("axis", op.axis), ("step", -1))
    ]
    build.node("Slice", [node.inputs[0], *bounds], node, output=node.outputs[0])
