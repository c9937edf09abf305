"""Operators that pick, place, repeat, pad or mask elements."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.parts.operands import reshape_to
from nuqconv.backends.onnx.lowering.parts.steps import Steps
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Node
from nuqconv.ir.ops import (
    BatchReindex,
    Embed,
    Expand,
    Filter,
    Gather,
    GatherElements,
    GatherND,
    Pad,
    ScatterElements,
    ScatterND,
    StridedSlice,
    Tile,
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


_WRAP_OPSET = 19


@lowers(Pad)
def pad(build: Builder, node: Node, op: Pad) -> None:
    """Slice for what is cut off, then Pad, or Gathers where an opset lacks a mode."""
    steps = Steps(build, node)
    value, shape = node.inputs[0], build.shape(node.inputs[0])
    if min(*op.begins, *op.ends, 0) < 0:
        starts = [max(-begin, 0) for begin in op.begins]
        ends = [size - max(-end, 0) for size, end in zip(shape, op.ends, strict=True)]
        axes = [
            axis for axis, bounds in enumerate(zip(starts, ends, shape, strict=True)) if bounds[:2] != (0, bounds[2])
        ]
        taken = ([bounds[axis] for axis in axes] for bounds in (starts, ends))
        value = steps.call("Slice", value, *map(steps.integers, taken), steps.integers(axes))
        shape = tuple(end - start for start, end in zip(starts, ends, strict=True))
    begins, ends_ = ([max(item, 0) for item in items] for items in (op.begins, op.ends))
    if op.mode == "constant" or build.opset >= _WRAP_OPSET or op.mode == "edge":
        more = [steps.number(op.value)] if op.mode == "constant" else []
        inputs = [value, steps.integers([*begins, *ends_]), *more]
        build.node("Pad", inputs, node, output=node.outputs[0], attributes={"mode": op.mode})
        return
    # Pads wider than the axis are not defined before that opset either.
    how: Any = op.mode
    for axis, (size, *wide) in enumerate(zip(shape, begins, ends_, strict=True)):
        if any(wide):
            places = np.pad(np.arange(size), wide, mode=how).tolist()
            value = steps.call("Gather", value, steps.integers(places), axis=axis)
    build.node("Identity", [value], node, output=node.outputs[0])


@lowers(Tile)
def tile(build: Builder, node: Node, op: Tile) -> None:
    """Tile with 1 for all other axes."""
    repeats = np.ones(len(build.shape(node.inputs[0])), np.int64)
    repeats[op.axis] = op.tiles
    operands = [node.inputs[0], build.constant(repeats, node, "repeats")]
    build.node("Tile", operands, node, output=node.outputs[0])


@lowers(Filter)
def choose(build: Builder, node: Node, op: Filter) -> None:
    """NonZero on the selector, and a Gather for each other input."""
    del op
    *data, selector = node.inputs
    flags = reshape_to(build, selector, (-1,), node)
    chosen = reshape_to(build, build.node("NonZero", [flags], node), (-1,), node)
    for value, output in zip(data, node.outputs, strict=True):
        build.node("Gather", [value, chosen], node, output=output, attributes={"axis": 0})


@lowers(BatchReindex)
def batch_reindex(build: Builder, node: Node, op: BatchReindex) -> None:
    """Gather along axis 0."""
    del op
    operands = [node.inputs[0], _indices(build, node, node.inputs[1])]
    build.node("Gather", operands, node, output=node.outputs[0], attributes={"axis": 0})


@lowers(Embed)
def embed(build: Builder, node: Node, op: Embed) -> None:
    """Gather of the weight's rows, and Add."""
    operands = [build.param(node.params[0]), _indices(build, node, node.inputs[0], op.input_dim)]
    output = None if op.bias_term else node.outputs[0]
    rows = build.node("Gather", operands, node, output=output, attributes={"axis": 0})
    if op.bias_term:
        build.node("Add", [rows, build.param(node.params[1])], node, output=node.outputs[0])


_OUTSIDE = 2**24


def _indices(build: Builder, node: Node, value: str, rows: int = 0) -> str:
    """Returns float indices as int64; negative ones lie outside, where Gather alone would count them from the end.

    Outside is the number above which floats skip some, unless there are so many ``rows``.
    """
    numbers = build.node("Cast", [value], node, attributes={"to": int(TensorProto.INT64)})
    zero, outside = (
        build.constant(np.array(number, np.int64), node, purpose)
        for number, purpose in ((0, "zero"), (_OUTSIDE if rows <= _OUTSIDE else 2**31 - 1, "outside"))
    )
    negative = build.node("Less", [numbers, zero], node)
    return build.node("Where", [negative, outside, numbers], node)
