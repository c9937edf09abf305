"""Operators of detectors of two stages."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.parts.operands import reshape_to
from nuqconv.backends.onnx.lowering.parts.steps import Steps
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import Proposal, PSROIPooling, ROIAlign, ROIPooling

__all__: list[str] = []


@lowers(Proposal)
def proposal(build: Builder, node: Node, op: Proposal) -> None:
    """TopK and NonMaxSuppression; boxes end one pixel later there, since both ends of Caffe's belong to them."""
    steps = Steps(build, node)
    _, _, height, width = build.shape(node.inputs[0])
    count = len(op.anchors)
    total = height * width * count
    scores = _by_place(steps, node.inputs[0], (2, count, height, width), 1)
    moves = _by_place(steps, node.inputs[1], (count, 4, height, width), 4)
    image = steps.to(node.inputs[2], (-1,))
    boxes = _moved(steps, op, moves, (height, width))
    low, high = (steps.call("Gather", boxes, steps.integers(part), axis=1) for part in ((0, 1), (2, 3)))
    last = steps.call("Sub", steps.call("Gather", image, steps.integers([1, 0])), steps.number(1.0))
    low, high = (steps.call("Max", steps.call("Min", part, last), steps.number(0.0)) for part in (low, high))
    size = steps.call("Add", steps.call("Sub", high, low), steps.number(1.0))
    apart = op.small_last and build.shape(node.inputs[2])[-1] > 3
    least = steps.call(
        "Mul", steps.call("Gather", image, steps.integers([3 if apart else 2, 2])), steps.number(op.least)
    )
    wide, high_enough = steps.columns(steps.call("GreaterOrEqual", size, least), 2)
    fits = steps.to(steps.call("And", wide, high_enough), (-1,))
    rest = 0.0 if op.small_last else -np.inf
    scores = steps.call("Where", fits, scores, steps.number(rest))
    best, places = steps.calls("TopK", scores, steps.integers([min(op.before, total)]), outputs=2, axis=0)
    boxes = steps.call("Gather", steps.call("Concat", low, high, axis=1), places, axis=0)
    ends = steps.call("Add", boxes, steps.constant(np.array([[0, 0, 1, 1]], np.float32)))
    kept = steps.call(
        "NonMaxSuppression",
        steps.to(ends, (1, -1, 4)),
        steps.to(best, (1, 1, -1)),
        steps.integers([op.after]),
        steps.number(op.nms_threshold),
        steps.number(float(np.finfo(np.float32).min)),
    )
    chosen = steps.to(steps.call("Gather", kept, steps.integers([2]), axis=1), (-1,))
    regions = steps.call("Gather", boxes, chosen, axis=0)
    pads = steps.integers([0, 1, 0, 0])
    build.node("Pad", [regions, pads], node, output=node.outputs[0])
    if op.outputs > 1:
        build.node("Gather", [steps.to(best, (-1, 1)), chosen], node, output=node.outputs[1], attributes={"axis": 0})


def _by_place(steps: Steps, value: str, parts: tuple[int, int, int, int], width: int) -> str:
    """Lays (1, a * b, H, W) out by place and anchor: the second half of two as one number each, or four numbers each."""
    first, second, height, length = parts
    value = steps.to(value, (first, second, height * length))
    if width == 1:
        value = steps.call("Gather", value, steps.integers([1]), axis=0)
        return steps.to(steps.call("Transpose", value, perm=(2, 1, 0)), (-1,))
    return steps.to(steps.call("Transpose", value, perm=(2, 0, 1)), (-1, width))


def _moved(steps: Steps, op: Proposal, moves: str, places: tuple[int, int]) -> str:
    """The anchors of all places, moved by the deltas, as corners."""
    down, across = np.meshgrid(*(np.arange(size) * op.stride for size in places), indexing="ij")
    shifts = np.stack([across, down, across, down], axis=-1).reshape(-1, 1, 4)
    anchors = (shifts + np.array(op.anchors)).reshape(-1, 4).astype(np.float32)
    size = anchors[:, 2:] - anchors[:, :2] + np.float32(1)
    middle = anchors[:, :2] + np.float32(0.5) * size
    shift, growth = (steps.call("Gather", moves, steps.integers(part), axis=1) for part in ((0, 1), (2, 3)))
    sizes = steps.constant(size)
    centre = steps.call("Add", steps.call("Mul", shift, sizes), steps.constant(middle))
    half = steps.call("Mul", steps.call("Mul", steps.call("Exp", growth), sizes), steps.number(0.5))
    return steps.call("Concat", steps.call("Sub", centre, half), steps.call("Add", centre, half), axis=1)


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


_CHOICE_OF_PIXELS = 16


@lowers(ROIAlign)
def roi_align(build: Builder, node: Node, op: ROIAlign) -> None:
    """RoiAlign without half pixels, which older opsets do not have at all; from opset 22 on, which onnxruntime has none of, a matrix product."""
    steps = Steps(build, node)
    regions = steps.to(node.inputs[1], (-1, 5))
    if build.opset >= _WITHOUT_ROI_POOL:
        _averaged(build, node, op, regions)
        return
    image = steps.to(steps.whole(steps.call("Gather", regions, steps.integers([0]), axis=1)), (-1,))
    boxes = steps.call("Gather", regions, steps.integers([1, 2, 3, 4]), axis=1)
    attributes: dict[str, Attribute] = {
        "mode": "avg",
        "output_height": op.pooled[0],
        "output_width": op.pooled[1],
        "sampling_ratio": op.samples,
        "spatial_scale": op.scale,
    }
    if build.opset >= _CHOICE_OF_PIXELS:
        attributes["coordinate_transformation_mode"] = "output_half_pixel"
    build.node("RoiAlign", [node.inputs[0], boxes, image], node, output=node.outputs[0], attributes=attributes)


def _averaged(build: Builder, node: Node, op: ROIAlign, regions: str) -> None:
    """How much each element counts for each bin is a product of what its row and its column count."""
    steps = Steps(build, node)
    count, channels, height, width = build.shape(node.inputs[0])
    image, left, top, right, bottom = steps.columns(regions, 5)
    rows = _shares(steps, (top, bottom), op, op.pooled[0], height)
    columns = _shares(steps, (left, right), op, op.pooled[1], width)
    shares = steps.call(
        "Mul", steps.to(rows, (-1, op.pooled[0], 1, height, 1)), steps.to(columns, (-1, 1, op.pooled[1], 1, width))
    )
    bins, area = op.pooled[0] * op.pooled[1], height * width
    own = steps.floats(steps.call("Equal", image, steps.constant(np.arange(count, dtype=np.float32))))
    shares = steps.call("Mul", steps.to(shares, (-1, bins, 1, area)), steps.to(own, (-1, 1, count, 1)))
    elements = steps.call("Transpose", steps.to(node.inputs[0], (count, channels, area)), perm=(0, 2, 1))
    found = steps.call("MatMul", steps.to(shares, (-1, count * area)), steps.to(elements, (count * area, channels)))
    found = steps.to(found, (-1, *op.pooled, channels))
    build.node("Transpose", [found], node, output=node.outputs[0], attributes={"perm": (0, 3, 1, 2)})


def _shares(steps: Steps, corners: tuple[str, str], op: ROIAlign, bins: int, length: int) -> str:
    """Returns what each element of an axis counts for each bin of the regions, (R, bins, length)."""
    start, end = (steps.to(steps.call("Mul", corner, steps.number(op.scale)), (-1, 1, 1)) for corner in corners)
    size = steps.call("Max", steps.call("Sub", end, start), steps.number(1.0))
    step = steps.call("Div", size, steps.number(bins))
    parts = steps.number(op.samples) if op.samples else steps.call("Ceil", step)
    part = steps.call("Div", step, parts)
    numbers = steps.constant(np.arange(bins, dtype=np.float32).reshape(1, -1, 1))
    begin = steps.call("Add", start, steps.call("Mul", numbers, step))
    # Of as many places as a bin has pixels, those inside of the input stand more than half a pixel apart; they begin behind those in front of it.
    most = op.samples or 2 * length + 5
    place = steps.constant(np.arange(most, dtype=np.float32).reshape(1, 1, -1))
    if not op.samples:
        before = steps.call("Div", steps.call("Sub", steps.number(-1.0), begin), part)
        place = steps.call(
            "Add",
            place,
            steps.call("Max", steps.call("Floor", steps.call("Sub", before, steps.number(1.5))), steps.number(0.0)),
        )
    at = steps.call("Add", begin, steps.call("Mul", steps.call("Add", place, steps.number(0.5)), part))
    inside = steps.call(
        "And", steps.call("GreaterOrEqual", at, steps.number(-1.0)), steps.call("LessOrEqual", at, steps.number(length))
    )
    counts = steps.call("And", inside, steps.call("Less", place, parts))
    at = steps.call("Min", steps.call("Max", at, steps.number(0.0)), steps.number(length - 1))
    elements = steps.constant(np.arange(length, dtype=np.float32))
    distance = steps.call("Abs", steps.call("Sub", steps.to(at, (-1, bins, most, 1)), elements))
    near = steps.call("Max", steps.call("Sub", steps.number(1.0), distance), steps.number(0.0))
    shares = steps.call("Mul", near, steps.to(steps.floats(counts), (-1, bins, most, 1)))
    return steps.call("Div", steps.call("ReduceSum", shares, steps.integers([2]), keepdims=0), parts)


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
