"""Operators of detectors."""

from __future__ import annotations

from math import prod

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.parts.operands import reshape_to
from nuqconv.backends.onnx.lowering.parts.steps import Steps
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Node
from nuqconv.ir.ops import DetectionOutput, PriorBox, PSROIPooling, ROIPooling

__all__: list[str] = []

# The largest detectors have some hundred thousand.
_LARGEST = 2**24


@lowers(PriorBox)
def prior_box(build: Builder, node: Node, op: PriorBox) -> None:
    """A constant."""
    (shape,) = op.infer([build.shape(name) for name in node.inputs], [])
    if shape is not None and prod(shape) > _LARGEST:
        raise UnsupportedError(
            f"{node.place}: its {prod(shape)} numbers are a constant in ONNX, which is made of up to {_LARGEST}; "
            "check the size of the input and of min_size"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        boxes = op.boxes(build.shape(node.inputs[0]), build.shape(node.inputs[1]))
    if not np.isfinite(boxes).all():
        raise UnsupportedError(f"{node.place}: its boxes are not finite; check step, offset and the sizes")
    build.node("Identity", [build.constant(boxes, node, "boxes")], node, output=node.outputs[0])


@lowers(DetectionOutput)
def detection_output(build: Builder, node: Node, op: DetectionOutput) -> None:
    """NonMaxSuppression, with TopK where Caffe limits numbers."""
    steps = Steps(build, node)
    count = op.boxes(build.shape(node.inputs[2]))
    boxes = _decoded(steps, node, op, count)
    scores = _scores(steps, node, op, count)
    kept = _suppressed(steps, op, boxes, scores, count)
    rows = _rows(steps, op, boxes, scores, _best(steps, op, scores, kept, count))
    _output(steps, node, rows)


def _decoded(steps: Steps, node: Node, op: DetectionOutput, count: int) -> str:
    """The boxes (N, groups, boxes, 4); one group if all classes share them."""
    groups = 1 if op.share_location else op.num_classes
    places = steps.to(node.inputs[0], (-1, count, groups, 4))
    places = steps.call("Transpose", places, perm=(0, 2, 1, 3))
    if not op.share_location:
        places = steps.call("Gather", places, steps.integers(op.labels), axis=1)
    priors, variances = (
        steps.to(
            steps.call("Gather", steps.to(node.inputs[2], (2, -1)), steps.integers([row]), axis=0), (1, 1, count, 4)
        )
        for row in (0, 1)
    )
    if not op.variance_encoded:
        places = steps.call("Mul", variances, places)
    if op.code == "CORNER":
        return steps.call("Add", priors, places)
    low, high = steps.halves(priors)
    size = steps.call("Sub", high, low)
    if op.code == "CORNER_SIZE":
        sizes = steps.call("Concat", size, size, axis=3)
        return steps.call("Add", priors, steps.call("Mul", places, sizes))
    two = steps.number(2.0)
    middle = steps.call("Div", steps.call("Add", low, high), two)
    moved, grown = steps.halves(places)
    centre = steps.call("Add", steps.call("Mul", moved, size), middle)
    half = steps.call("Div", steps.call("Mul", steps.call("Exp", grown), size), two)
    return steps.call("Concat", steps.call("Sub", centre, half), steps.call("Add", centre, half), axis=3)


def _scores(steps: Steps, node: Node, op: DetectionOutput, count: int) -> str:
    """The confidences (N, labels, boxes), minus infinity where top_k leaves a box out."""
    scores = steps.to(node.inputs[1], (-1, count, op.num_classes))
    scores = steps.call("Transpose", scores, perm=(0, 2, 1))
    if len(op.labels) < op.num_classes:
        scores = steps.call("Gather", scores, steps.integers(op.labels), axis=1)
    if not 0 < op.top_k < count:
        return scores
    best, places = steps.calls("TopK", scores, steps.integers([op.top_k]), outputs=2, axis=2)
    return steps.call("ScatterElements", steps.filled(scores, -np.inf), places, best, axis=2)


def _suppressed(steps: Steps, op: DetectionOutput, boxes: str, scores: str, count: int) -> str:
    """Rows (image, number of the label, box) of what is left, in Caffe's order."""
    # A box that ends before it begins overlaps nothing in Caffe; NonMaxSuppression would turn it around.
    low, high = steps.halves(boxes)
    valid = steps.call("Concat", low, steps.call("Max", low, high), axis=3)
    valid = steps.to(valid, (-1, count, 4))
    labels = len(op.labels)
    if not op.share_location:
        scores = steps.to(scores, (-1, 1, count))
    limits = [
        steps.integers([count]),
        steps.number(op.nms_threshold, rank=1),
        steps.number(op.confidence_threshold, rank=1),
    ]
    found = steps.call("NonMaxSuppression", valid, scores, *limits)
    if op.share_location:
        return found
    group, box = steps.columns(found, 3)[::2]
    image = steps.call("Div", group, steps.integers([labels]))
    label = steps.call("Sub", group, steps.call("Mul", image, steps.integers([labels])))
    return steps.call("Concat", image, label, box, axis=1)


def _best(steps: Steps, op: DetectionOutput, scores: str, kept: str, count: int) -> str:
    """The rows that are among the keep_top_k of their image, in the same order."""
    total = len(op.labels) * count
    if not 0 < op.keep_top_k < total:
        return kept
    values = steps.call("GatherND", scores, kept)
    image, label, box = steps.columns(kept, 3)
    place = steps.call("Add", steps.call("Mul", label, steps.integers([count])), box)
    where = steps.call("Concat", image, place, axis=1)
    flat = steps.to(scores, (-1, total))
    left = steps.call("ScatterND", steps.filled(flat, -np.inf), where, values)
    best, places = steps.calls("TopK", left, steps.integers([op.keep_top_k]), outputs=2, axis=1)
    chosen = steps.call("ScatterElements", steps.filled(flat, 0.0), places, steps.filled(best, 1.0), axis=1)
    mask = steps.call("Cast", steps.call("GatherND", chosen, where), to=int(TensorProto.BOOL))
    return steps.call("Compress", kept, mask, axis=0)


def _rows(steps: Steps, op: DetectionOutput, boxes: str, scores: str, kept: str) -> str:
    """The output's rows (detections, 7)."""
    image, number, box = steps.columns(kept, 3)
    labels = steps.constant(np.array(op.labels, np.float32))
    group = steps.call("Mul", number, steps.integers([0])) if op.share_location else number
    corners = steps.call("GatherND", boxes, steps.call("Concat", image, group, box, axis=1))
    score = steps.to(steps.call("GatherND", scores, kept), (-1, 1))
    return steps.call(
        "Concat", steps.floats(image), steps.call("Gather", labels, number, axis=0), score, corners, axis=1
    )


def _output(steps: Steps, node: Node, rows: str) -> None:
    """Adds a row for each image if there is no other, without a branch: as many rows are appended as are missing."""
    build = steps.build
    sizes = steps.call("Shape", node.inputs[0])
    images = steps.call("Gather", sizes, steps.integers([0]), axis=0)
    found = steps.call("Gather", steps.call("Shape", rows), steps.integers([0]), axis=0)
    none = steps.call("Cast", steps.call("Equal", found, steps.integers([0])), to=int(TensorProto.INT64))
    missing = steps.call("Mul", images, none)
    one = steps.integers([1])
    ones = steps.call("Expand", one, missing)
    numbers = steps.call("Sub", steps.call("CumSum", ones, steps.constant(np.array(0, np.int64))), one)
    numbers = steps.to(steps.floats(numbers), (-1, 1))
    rest = steps.call("Expand", steps.number(-1.0), steps.call("Concat", missing, steps.integers([6]), axis=0))
    filling = steps.call("Concat", numbers, rest, axis=1)
    whole = steps.call("Concat", rows, filling, axis=0)
    shape = build.constant(np.array([1, 1, -1, 7], np.int64), node, "shape")
    build.set_shape(node.outputs[0], (1, 1, "detections", 7))
    build.node("Reshape", [whole, shape], node, output=node.outputs[0])


_LEAST_SIZE = 0.1

_WITHOUT_ROI_POOL = 22


@lowers(ROIPooling)
def roi_pooling(build: Builder, node: Node, op: ROIPooling) -> None:
    """MaxRoiPool, whose bins are Caffe's; from opset 22 on, which onnxruntime has none of, by maxima over windows of all powers of two."""
    steps = Steps(build, node)
    regions = steps.to(node.inputs[1], (-1, 5))
    if build.opset < _WITHOUT_ROI_POOL:
        attributes: dict[str, Attribute] = {"pooled_shape": op.pooled, "spatial_scale": op.scale}
        build.node("MaxRoiPool", [node.inputs[0], regions], node, output=node.outputs[0], attributes=attributes)
        return
    count, channels, height, width = build.shape(node.inputs[0])
    image, left, top, right, bottom = steps.columns(regions, 5)
    rows = _Ranges(steps, (top, bottom), op.pooled[0], op.scale, height)
    columns = _Ranges(steps, (left, right), op.pooled[1], op.scale, width)
    tables = [
        steps.to(_window_maximum(steps, node.inputs[0], (2**down, 2**across)), (1, count, channels, height * width))
        for down in range(rows.levels)
        for across in range(columns.levels)
    ]
    table = steps.call("Concat", *tables, axis=0) if len(tables) > 1 else tables[0]
    table = steps.to(steps.call("Transpose", table, perm=(0, 1, 3, 2)), (-1, channels))
    down_level, across_level = (
        steps.to(rows.level, (-1, op.pooled[0], 1)),
        steps.to(columns.level, (-1, 1, op.pooled[1])),
    )
    level = steps.call("Add", steps.call("Mul", down_level, steps.integers([columns.levels])), across_level)
    image = steps.to(steps.whole(image), (-1, 1, 1))
    start = steps.call("Add", steps.call("Mul", level, steps.integers([count])), image)
    maxima = [
        steps.call("Gather", table, _flat(steps, start, (row, column), op.pooled, (height, width)), axis=0)
        for row in rows.starts
        for column in columns.starts
    ]
    empty = steps.call(
        "Or", steps.to(rows.empty, (-1, op.pooled[0], 1, 1)), steps.to(columns.empty, (-1, 1, op.pooled[1], 1))
    )
    found = steps.call("Where", empty, steps.number(0.0), steps.call("Max", *maxima))
    build.node("Transpose", [found], node, output=node.outputs[0], attributes={"perm": (0, 3, 1, 2)})


def _window_maximum(steps: Steps, value: str, window: tuple[int, int]) -> str:
    """For each element the maximum of the window that begins there."""
    if window == (1, 1):
        return value
    return steps.call("MaxPool", value, kernel_shape=window, pads=(0, 0, window[0] - 1, window[1] - 1))


def _flat(steps: Steps, start: str, place: tuple[str, str], pooled: tuple[int, int], size: tuple[int, int]) -> str:
    """Index of a row and column behind ``start`` in units of a whole image, as (R, pooled height, pooled width)."""
    row, column = steps.to(place[0], (-1, pooled[0], 1)), steps.to(place[1], (-1, 1, pooled[1]))
    rows = steps.call("Add", steps.call("Mul", start, steps.integers([size[0]])), row)
    return steps.call("Add", steps.call("Mul", rows, steps.integers([size[1]])), column)


class _Ranges:
    """Bins of `ROIPooling` along one axis, each covered by two windows whose length is a power of two.

    Attributes:
        levels: Number of powers of two that the axis has room for.
        level: int64 (R, bins), the power.
        starts: Two int64 (R, bins), where the windows begin.
        empty: bool (R, bins).
    """

    def __init__(self, steps: Steps, corners: tuple[str, str], bins: int, scale: float, length: int) -> None:
        first, last = (_rounded(steps, steps.call("Mul", corner, steps.number(scale))) for corner in corners)
        one = steps.number(1.0)
        size = steps.call("Max", steps.call("Add", steps.call("Sub", last, first), one), one)
        step = steps.call("Div", size, steps.number(bins))

        def bound(rounding: str, begin: int) -> str:
            factors = steps.constant(np.arange(begin, begin + bins, dtype=np.float32)[np.newaxis])
            place = steps.call("Add", steps.call(rounding, steps.call("Mul", factors, step)), first)
            inside = steps.call("Min", steps.call("Max", place, steps.number(0.0)), steps.number(length))
            return steps.whole(inside)

        low, high = bound("Floor", 0), bound("Ceil", 1)
        count = steps.call("Sub", high, low)
        self.levels = length.bit_length()
        self.empty = steps.call("LessOrEqual", count, steps.integers([0]))
        powers = [max(0, number.bit_length() - 1) for number in range(length + 1)]
        count = steps.call("Max", count, steps.integers([0]))
        self.level = steps.call("Gather", steps.integers(powers), count, axis=0)
        window = steps.call("Gather", steps.integers([2**power for power in powers]), count, axis=0)
        second = steps.call("Max", steps.call("Sub", high, window), steps.integers([0]))
        self.starts = (steps.call("Min", low, steps.integers([length - 1])), second)


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
