"""Operators of detectors."""

from __future__ import annotations

from math import prod

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.parts.steps import Steps
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Node
from nuqconv.ir.ops import DetectionOutput, PriorBox, YoloOutput

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
    rows = steps.to(node.inputs[2], (-1, 4 * count))
    priors, variances = (
        steps.to(steps.call("Gather", rows, steps.integers([row]), axis=0), (1, 1, count, 4)) for row in (0, 1)
    )
    if op.objectness is not None:
        priors = _corners(steps, op, priors, variances, steps.to(node.inputs[4], (-1, 1, count, 4)))
    return _corners(steps, op, priors, variances, places)


def _corners(steps: Steps, op: DetectionOutput, priors: str, variances: str, places: str) -> str:
    """Boxes relative to others as corners."""
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
    if op.objectness is not None:
        sure = steps.call("Gather", steps.to(node.inputs[3], (-1, count, 2)), steps.integers([1]), axis=2)
        nothing = steps.call("Less", sure, steps.number(op.objectness))
        scores = steps.call("Where", nothing, steps.number(0.0), scores)
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


@lowers(YoloOutput)
def yolo_output(build: Builder, node: Node, op: YoloOutput) -> None:
    """NonMaxSuppression over the boxes of all inputs, and of all classes where those do not exclude each other."""
    steps = Steps(build, node)
    parts = [_cells(steps, op, name, anchors) for name, anchors in zip(node.inputs, op.anchors, strict=True)]
    boxes, scores = (
        steps.call("Concat", *items, axis=0) if len(items) > 1 else items[0] for items in zip(*parts, strict=True)
    )
    confidence, overlap = np.float32(op.confidence_threshold), np.float32(op.nms_threshold)
    if op.exclusive:
        best, label = steps.calls("TopK", scores, steps.integers([1]), outputs=2, axis=1)
        label, rest, candidates = steps.to(label, (-1,)), steps.to(best, (-1,)), boxes
        confidence = np.nextafter(confidence, np.float32(-1))
    else:
        rest = steps.to(scores, (-1,))
        every = steps.call("Concat", steps.call("Shape", scores), steps.integers([4]), axis=0)
        candidates = steps.to(steps.call("Expand", steps.to(boxes, (-1, 1, 4)), every), (-1, 4))
        label = ""
    # Boxes that reach the threshold go; NonMaxSuppression keeps those that do not exceed it.
    limits = [float(np.nextafter(overlap, np.float32(-1))), float(confidence)]
    kept = steps.call(
        "NonMaxSuppression",
        steps.to(candidates, (1, -1, 4)),
        steps.to(rest, (1, 1, -1)),
        steps.call("Shape", rest),
        *(steps.number(limit, rank=1) for limit in limits),
    )
    chosen = steps.to(steps.call("Gather", kept, steps.integers([2]), axis=1), (-1,))
    label = (
        steps.call("Gather", label, chosen, axis=0)
        if op.exclusive
        else steps.call("Mod", chosen, steps.integers([op.num_classes]))
    )
    names = steps.to(steps.call("Add", steps.floats(label), steps.number(1.0)), (-1, 1))
    found = steps.to(steps.call("Gather", rest, chosen, axis=0), (-1, 1))
    corners = steps.call("Gather", candidates, chosen, axis=0)
    _output(steps, node, steps.call("Concat", steps.filled(names, 0.0), names, found, corners, axis=1))


def _cells(steps: Steps, op: YoloOutput, name: str, anchors: tuple[tuple[float, float], ...]) -> tuple[str, str]:
    """Corners (H * W * boxes, 4) and confidences (H * W * boxes, classes) of one input."""
    _, _, height, width = steps.build.shape(name)
    count, length = len(anchors), 5 + op.num_classes
    rows = steps.call("Transpose", steps.to(name, (count, length, height * width)), perm=(2, 0, 1))
    rows = steps.to(rows, (-1, length))
    place, size, sure, classes = (
        steps.call("Gather", rows, steps.integers(range(*bounds)), axis=1)
        for bounds in ((0, 2), (2, 4), (4, 5), (5, length))
    )
    down, across = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    cells = np.repeat(np.stack([across, down], axis=-1).reshape(-1, 2), count, axis=0).astype(np.float32)
    whole = steps.constant(np.array([[width, height]], np.float32))
    sizes = np.tile(np.array(anchors, np.float32), (height * width, 1))
    centre = steps.call("Div", steps.call("Add", steps.call("Sigmoid", place), steps.constant(cells)), whole)
    extent = steps.call("Div", steps.call("Mul", steps.call("Exp", size), steps.constant(sizes)), whole)
    half = steps.call("Mul", extent, steps.number(0.5))
    corners = steps.call("Concat", steps.call("Sub", centre, half), steps.call("Add", centre, half), axis=1)
    classes = steps.call("Softmax", classes, axis=1) if op.exclusive else steps.call("Sigmoid", classes)
    return corners, steps.call("Mul", classes, steps.call("Sigmoid", sure))
