"""Pooling over regions of interest."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.backends.onnx.lowering.shape import reshape_to
from nuqconv.backends.onnx.lowering.steps import Steps
from nuqconv.ir import Node
from nuqconv.ir.ops import PSROIPooling, ROIPooling

__all__: list[str] = []

_LEAST_SIZE = 0.1


@lowers(ROIPooling)
def roi_pooling(build: Builder, node: Node, op: ROIPooling) -> None:
    """MaxRoiPool, whose bins are Caffe's."""
    regions = reshape_to(build, node.inputs[1], (-1, 5), node)
    build.node(
        "MaxRoiPool",
        [node.inputs[0], regions],
        node,
        output=node.outputs[0],
        attributes={"pooled_shape": op.pooled, "spatial_scale": op.scale},
    )


@lowers(PSROIPooling)
def psroi_pooling(build: Builder, node: Node, op: PSROIPooling) -> None:
    """One matrix product for each bin: which image, rows and columns each region takes there, times the bin's own channels."""
    count, _, height, width = build.shape(node.inputs[0])
    group, channels, area = op.group, op.channels, height * width
    steps = Steps(build, node)
    image, left, top, right, bottom = steps.columns(steps.to(node.inputs[1], (-1, 5)), 5)
    columns, across = _touched(steps, (left, right), op, width)
    rows, down = _touched(steps, (top, bottom), op, height)
    # (group, 1, R, H, 1) * (1, group, R, 1, W) -> (group * group, R, 1, H * W)
    taken = steps.call("Mul", steps.to(rows, (group, 1, -1, height, 1)), steps.to(columns, (1, group, -1, 1, width)))
    taken = steps.to(taken, (group * group, -1, 1, area))
    own = steps.floats(steps.call("Equal", image, steps.constant(np.arange(count, dtype=np.float32))))
    taken = steps.call("Mul", taken, steps.to(own, (1, -1, count, 1)))
    taken = steps.to(taken, (group * group, -1, count * area))
    # (N, channels * group * group, H, W) -> (group * group, N * H * W, channels)
    parts = steps.to(node.inputs[0], (count, channels, group * group, area))
    bins = steps.to(steps.call("Transpose", parts, perm=(2, 0, 3, 1)), (group * group, count * area, channels))
    sums = steps.call("MatMul", taken, bins)
    size = steps.call("Mul", steps.to(down, (group, 1, -1, 1)), steps.to(across, (1, group, -1, 1)))
    size = steps.call("Max", steps.to(size, (group * group, -1, 1)), steps.number(1.0))
    means = steps.call("Transpose", steps.call("Div", sums, size), perm=(1, 2, 0))
    reshape_to(build, means, build.dims(node.outputs[0]), node, node.outputs[0])


def _rounded(steps: Steps, value: str) -> str:
    """Rounds half away from zero, exactly; ONNX's Round goes to even."""
    size = steps.call("Abs", value)
    whole = steps.call("Floor", size)
    up = steps.floats(steps.call("GreaterOrEqual", steps.call("Sub", size, whole), steps.number(0.5)))
    return steps.call("Mul", steps.call("Sign", value), steps.call("Add", whole, up))


def _touched(steps: Steps, corners: tuple[str, str], op: PSROIPooling, length: int) -> tuple[str, str]:
    """Finds the elements that each bin touches along one axis.

    Args:
        steps: Where nodes are added.
        corners: First and last corner of the regions, each (R, 1).
        op: The operator.
        length: Size of the axis.

    Returns:
        1 where touched, else 0, as (group, R, length); and how many are touched, as (group, R).
    """
    scale = steps.number(op.scale)
    start = steps.call("Mul", _rounded(steps, corners[0]), scale)
    end = steps.call("Mul", steps.call("Add", _rounded(steps, corners[1]), steps.number(1.0)), scale)
    size = steps.call("Max", steps.call("Sub", end, start), steps.number(_LEAST_SIZE))
    bin_size = steps.call("Div", size, steps.number(op.group))

    def bound(rounding: str, first: int) -> str:
        factors = steps.constant(np.arange(first, first + op.group, dtype=np.float32).reshape(-1, 1, 1))
        return steps.call(rounding, steps.call("Add", steps.call("Mul", factors, bin_size), start))

    places = steps.constant(np.arange(length, dtype=np.float32).reshape(1, 1, length))
    begun = steps.call("GreaterOrEqual", places, bound("Floor", 0))
    mask = steps.floats(steps.call("And", begun, steps.call("Less", places, bound("Ceil", 1))))
    return mask, steps.call("ReduceSum", mask, steps.integers([2]), keepdims=0)
