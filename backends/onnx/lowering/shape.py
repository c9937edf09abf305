"""Operators that only lay elements out again."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.parts.operands import reshape_to
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import DepthToSpace, Flatten, Permute, Reorg, Reshape, Reverse, ShuffleChannel, SpaceToDepth

__all__: list[str] = []


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


@lowers(DepthToSpace)
def depth_to_space(build: Builder, node: Node, op: DepthToSpace) -> None:
    """DepthToSpace."""
    attributes: dict[str, Attribute] = {"blocksize": op.block, "mode": op.mode}
    build.node("DepthToSpace", node.inputs, node, output=node.outputs[0], attributes=attributes)


@lowers(SpaceToDepth)
def space_to_depth(build: Builder, node: Node, op: SpaceToDepth) -> None:
    """SpaceToDepth."""
    build.node("SpaceToDepth", node.inputs, node, output=node.outputs[0], attributes={"blocksize": op.block})


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
