"""Operators that change the size of images or look between pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.parts.operands import reshape_to
from nuqconv.backends.onnx.lowering.parts.steps import Steps
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Array, Node
from nuqconv.ir.ops import GridSample, Interp, Pooling, Resize, Shape, Upsample
from nuqconv.ir.ops.resize import possible_sizes, scaled_size

__all__: list[str] = []


def _sizes(build: Builder, node: Node, value: str, tail: tuple[int, ...]) -> str:
    """Adds an int64 tensor of the first two sizes of the node's input and ``tail``; the batch may be open."""
    batch, channels = build.shape(node.inputs[0])[:2]
    if node.inputs[0] not in build.batched:
        return build.constant(np.array([batch, channels, *tail], np.int64), node, "sizes")
    start, end = (build.constant(np.array([bound], np.int64), node, name) for name, bound in (("start", 0), ("end", 1)))
    first = build.node("Slice", [build.node("Shape", [value], node), start, end], node)
    rest = build.constant(np.array([channels, *tail], np.int64), node, "sizes")
    return build.node("Concat", [first, rest], node, attributes={"axis": 0})


def _resize(build: Builder, node: Node, value: str, attributes: dict[str, Attribute]) -> None:
    sizes = _sizes(build, node, value, build.shape(node.outputs[0])[2:])
    build.node("Resize", [value, "", "", sizes], node, output=node.outputs[0], attributes=attributes)


@lowers(Interp)
def interp(build: Builder, node: Node, op: Interp) -> None:
    """Slice for the crop, then Resize with aligned corners."""
    value = node.inputs[0]
    if any(op.crop):
        begin, end = op.crop
        height, width = build.shape(value)[2:]
        parts = {"starts": [begin, begin], "ends": [height - end, width - end], "axes": [2, 3]}
        operands = [build.constant(np.array(part, np.int64), node, name) for name, part in parts.items()]
        value = build.node("Slice", [value, *operands], node)
    _resize(build, node, value, {"mode": "linear", "coordinate_transformation_mode": "align_corners"})


@lowers(Upsample)
def upsample(build: Builder, node: Node, op: Upsample) -> None:
    """Resize that repeats elements, or ScatterElements to where the mask says."""
    del op
    if len(node.inputs) == 1:
        attributes: dict[str, Attribute] = {"mode": "nearest", "nearest_mode": "floor"}
        attributes["coordinate_transformation_mode"] = "asymmetric"
        _resize(build, node, node.inputs[0], attributes)
        return
    _refuse_overlap(build, node)
    area = prod(build.shape(node.inputs[0])[2:])
    values, mask = (reshape_to(build, name, (*build.dims(name)[:2], area), node) for name in node.inputs)
    indices = build.node("Cast", [mask], node, attributes={"to": int(TensorProto.INT64)})
    zero = build.number(0.0, node, "zero")
    zeros = build.node("Expand", [zero, _sizes(build, node, values, (prod(build.shape(node.outputs[0])[2:]),))], node)
    full = build.node("ScatterElements", [zeros, indices, values], node, attributes={"axis": 2})
    reshape_to(build, full, build.dims(node.outputs[0]), node, node.outputs[0])


def _refuse_overlap(build: Builder, node: Node) -> None:
    """The mask of overlapping windows names places twice, and ONNX leaves open which of several elements stays."""
    maker = build.graph.producer.get(node.inputs[1])
    if maker is None or not isinstance(maker.op, Pooling) or maker.op.global_pooling:
        return
    if any(kernel > stride for kernel, stride in zip(maker.op.kernel, maker.op.stride, strict=True)):
        raise UnsupportedError(
            f"{node.place}: the windows of '{maker.name}' overlap, so its mask names places twice; ONNX leaves open which value stays there"
        )


_ANTIALIAS_OPSET = 18

_SYMMETRIC_OPSET = 19


@lowers(Resize)
def resize(build: Builder, node: Node, op: Resize) -> None:
    """Resize, by scales where the graph has them: sizes that were rounded would give other positions."""
    steps = Steps(build, node)
    attributes: dict[str, Attribute] = {"mode": op.mode, "coordinate_transformation_mode": op.coordinates}
    if op.mode == "nearest":
        attributes["nearest_mode"] = op.nearest
    elif op.mode == "cubic":
        attributes |= {"cubic_coeff_a": op.cubic_coeff_a, "exclude_outside": int(op.exclude_outside)}
    if op.antialias:
        attributes["antialias"] = 1
    needed = max(
        _ANTIALIAS_OPSET if op.antialias else 0, _SYMMETRIC_OPSET if op.coordinates == "half_pixel_symmetric" else 0
    )
    if op.coordinates == "tf_half_pixel_for_nn":
        raise UnsupportedError(
            f"{node.place}: coordinates {op.coordinates} exist in opset 11 only; export the model again"
        )
    if build.opset < needed:
        raise UnsupportedError(f"{node.place}: a Resize like this needs opset {needed} or newer")
    roi = ""
    if op.coordinates == "tf_crop_and_resize":
        attributes["extrapolation_value"] = op.extrapolation
        roi = steps.constant(np.array(op.roi, np.float32))
    shape, whole = build.shape(node.inputs[0]), build.shape(node.outputs[0])
    scales = _agreed(op.scales, whole, shape) if op.scales else None
    if scales is not None and whole[1:] != tuple(map(scaled_size, shape[1:], scales[1:].tolist())):
        axes, sizes = _rounded(node, op, shape, whole)
        if build.opset < _POLICY_OPSET:
            raise UnsupportedError(
                f"{node.place}: a Resize that keeps the aspect ratio needs opset {_POLICY_OPSET} or newer"
            )
        attributes |= {"keep_aspect_ratio_policy": "not_larger", "axes": axes}
        inputs = [node.inputs[0], roi, "", steps.integers(sizes)]
    elif scales is not None:
        inputs = [node.inputs[0], roi, steps.constant(scales)]
    else:
        inputs = [node.inputs[0], roi, "", _whole_sizes(steps, node.inputs[0], whole)]
    build.node("Resize", inputs, node, output=node.outputs[0], attributes=attributes)


def _whole_sizes(steps: Steps, value: str, sizes: Shape) -> str:
    """Returns all sizes as a tensor; the first is that of a value whose batch is open."""
    if value not in steps.build.open_sizes:
        return steps.integers(sizes)
    first = steps.call("Slice", steps.call("Shape", value), steps.integers([0]), steps.integers([1]))
    return steps.call("Concat", first, steps.integers(sizes[1:]), axis=0)


def _agreed(scales: Sequence[float], sizes: Sequence[int], shape: Shape) -> Array:
    """Returns factors by which an axis has its size in any precision: by the nearest float32 to 50/30 those 30 are 50 in float32, 49 in others.

    A neighbour of a factor moves no position by more than a rounding does.
    """
    found = np.array(scales, np.float32)
    for axis, (size, length) in enumerate(zip(sizes, shape, strict=True)):
        if axis and size in possible_sizes(length, float(found[axis])):
            towards = np.float32(np.inf if size == scaled_size(length, float(found[axis])) else 0)
            while possible_sizes(length, float(found[axis])) != (size,):
                found[axis] = np.nextafter(found[axis], towards)
    return found


def _rounded(node: Node, op: Resize, shape: Shape, whole: Shape) -> tuple[list[int], list[int]]:
    """Returns axes and sizes of which the smallest factor is that of the graph, so that ONNX rounds the other sizes to those of the graph.

    Raises:
        UnsupportedError: The factors differ, or are those of no axis.
    """
    axes = [axis for axis, scale in enumerate(op.scales) if scale != 1]
    factor = np.float32(op.scales[axes[0]]) if axes else np.float32(1)
    sizes = [int(np.ceil(float(factor) * shape[axis] - 1e-4)) for axis in axes]
    found = [np.float32(size) / np.float32(shape[axis]) for size, axis in zip(sizes, axes, strict=True)]
    rounded = [int(np.floor(float(factor * np.float32(shape[axis])) + 0.5)) for axis in axes]
    same = all(np.float32(op.scales[axis]) == factor for axis in axes) and rounded == [whole[axis] for axis in axes]
    if not same or min(found, default=factor) != factor:
        raise UnsupportedError(f"{node.place}: ONNX cannot say sizes {whole} of {shape} with the factors {op.scales}")
    return axes, sizes


_POLICY_OPSET = 18

_GRID_OPSET = 16

_ANY_RANK_OPSET = 20

_OLD_MODES: Mapping[str, str] = MappingProxyType({"linear": "bilinear", "cubic": "bicubic"})


@lowers(GridSample)
def grid_sample(build: Builder, node: Node, op: GridSample) -> None:
    """GridSample, whose modes have other names since opset 20."""
    needed = _GRID_OPSET if len(build.shape(node.inputs[0])) == 4 else _ANY_RANK_OPSET
    if build.opset < needed:
        raise UnsupportedError(f"{node.place}: a GridSample like this needs opset {needed} or newer")
    attributes: dict[str, Attribute] = {
        "mode": op.mode if build.opset >= _ANY_RANK_OPSET else _OLD_MODES.get(op.mode, op.mode),
        "padding_mode": op.padding,
        "align_corners": int(op.align_corners),
    }
    build.node("GridSample", node.inputs, node, output=node.outputs[0], attributes=attributes)
