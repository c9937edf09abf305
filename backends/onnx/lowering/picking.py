"""Operators that pick, place, repeat or mask elements."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.backends.onnx.lowering.steps import Steps
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Node
from nuqconv.ir.ops import (
    Expand,
    Gather,
    GatherElements,
    GatherND,
    ScatterElements,
    ScatterND,
    StridedSlice,
    Trilu,
)

__all__: list[str] = []

_BEFORE_THE_FIRST = np.iinfo(np.int64).min
_REDUCTION_OPSETS = {"none": 0, "add": 16, "mul": 16, "max": 18, "min": 18}


@lowers(StridedSlice)
def strided_slice(build: Builder, node: Node, op: StridedSlice) -> None:
    """Slice of the axes that are cut; an end before the first element has a number of its own in ONNX."""
    steps, shape = Steps(build, node), build.shape(node.inputs[0])
    bounds = list(zip(op.starts, op.ends, op.steps, strict=True))
    axes = [axis for axis, item in enumerate(bounds) if item != (0, shape[axis], 1)]
    if not axes:
        build.node("Identity", node.inputs, node, output=node.outputs[0])
        return
    starts, ends, strides = zip(*(bounds[axis] for axis in axes), strict=True)
    ends = tuple(_BEFORE_THE_FIRST if end < 0 else end for end in ends)
    inputs = [node.inputs[0], *map(steps.integers, (starts, ends, axes, strides))]
    build.node("Slice", inputs, node, output=node.outputs[0])


@lowers(Gather)
def gather(build: Builder, node: Node, op: Gather) -> None:
    """Gather."""
    indices = Steps(build, node).whole(node.inputs[1])
    build.node("Gather", [node.inputs[0], indices], node, output=node.outputs[0], attributes={"axis": op.axis})


@lowers(GatherElements)
def gather_elements(build: Builder, node: Node, op: GatherElements) -> None:
    """GatherElements."""
    indices = Steps(build, node).whole(node.inputs[1])
    attributes: dict[str, Attribute] = {"axis": op.axis}
    build.node("GatherElements", [node.inputs[0], indices], node, output=node.outputs[0], attributes=attributes)


@lowers(GatherND)
def gather_nd(build: Builder, node: Node, op: GatherND) -> None:
    """GatherND."""
    indices = Steps(build, node).whole(node.inputs[1])
    attributes: dict[str, Attribute] = {"batch_dims": op.batch_dims}
    build.node("GatherND", [node.inputs[0], indices], node, output=node.outputs[0], attributes=attributes)


def _scatter(build: Builder, node: Node, op_type: str, reduction: str, attributes: dict[str, Attribute]) -> None:
    needed = _REDUCTION_OPSETS[reduction]
    if build.opset < needed:
        raise UnsupportedError(f"{node.place}: {op_type} with reduction {reduction} needs opset {needed} or newer")
    if reduction != "none":
        attributes["reduction"] = reduction
    data, indices, updates = node.inputs
    inputs = [data, Steps(build, node).whole(indices), updates]
    build.node(op_type, inputs, node, output=node.outputs[0], attributes=attributes)


@lowers(ScatterElements)
def scatter_elements(build: Builder, node: Node, op: ScatterElements) -> None:
    """ScatterElements."""
    _scatter(build, node, "ScatterElements", op.reduction, {"axis": op.axis})


@lowers(ScatterND)
def scatter_nd(build: Builder, node: Node, op: ScatterND) -> None:
    """ScatterND."""
    _scatter(build, node, "ScatterND", op.reduction, {})


@lowers(Expand)
def expand(build: Builder, node: Node, op: Expand) -> None:
    """Expand."""
    inputs = [node.inputs[0], Steps(build, node).integers(op.shape)]
    build.node("Expand", inputs, node, output=node.outputs[0])


@lowers(Trilu)
def trilu(build: Builder, node: Node, op: Trilu) -> None:
    """A Where with a stored mask: Trilu came with opset 14."""
    rows, columns = build.shape(node.inputs[0])[-2:]
    ones = np.ones((rows, columns), bool)
    steps = Steps(build, node)
    mask = steps.constant(np.triu(ones, op.k) if op.upper else np.tril(ones, op.k))
    build.node("Where", [mask, node.inputs[0], steps.number(0.0)], node, output=node.outputs[0])
