"""Layers of detectors that decode boxes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir.ops import DetectionOutput, PriorBox, YoloOutput

__all__: list[str] = []

_SAME_RATIO = 1e-6

_CODES: dict[int, Literal["CORNER", "CENTER_SIZE", "CORNER_SIZE"]] = {1: "CORNER", 2: "CENTER_SIZE", 3: "CORNER_SIZE"}

# Real detectors have 6 and 4; all sizes are paired with all ratios.
_MOST_SIZES = 256

_MOST_CLASSES = 100_000


def _ratios(param: Any) -> tuple[float, ...]:
    """The ratios other than 1, each once, followed by its inverse if flipped."""
    if len(param.aspect_ratio) > _MOST_SIZES:
        raise CannotReadError(f"{len(param.aspect_ratio)} aspect_ratio (up to {_MOST_SIZES} are known)")
    found = [1.0]
    for ratio in param.aspect_ratio:
        if ratio <= 0:
            raise CannotReadError(f"aspect_ratio {ratio:g} is not positive")
        if all(abs(ratio - other) >= _SAME_RATIO for other in found):
            found.append(ratio)
            if param.flip:
                found.append(float(np.float32(1 / ratio)))
    return tuple(ratio for ratio in found if abs(ratio - 1) >= _SAME_RATIO)


def _sizes(param: Any) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Returns the sizes as the published layer computes with them, in whole pixels, and a note where it cuts them."""
    least, most = tuple(param.min_size), tuple(param.max_size)
    if len(least) > _MOST_SIZES:
        raise CannotReadError(f"{len(least)} min_size (up to {_MOST_SIZES} are known)")
    if not least or min(least) <= 0:
        raise CannotReadError("min_size is missing or not positive")
    if most and len(most) != len(least):
        raise CannotReadError(f"{len(most)} max_size for {len(least)} min_size")
    if any(high <= low for low, high in zip(least, most, strict=False)):
        raise CannotReadError("a max_size is not larger than its min_size")
    broken = [size for size in (*least, *most) if not size.is_integer()]
    if not broken:
        return least, most, ""
    told = ", ".join(f"{size:g} to {size // 1:g}" for size in broken)
    note = f"its sizes are cut to whole pixels, as in SSD Caffe: {told}; OpenCV and others do not cut them (exact_sizes=True, --exact-sizes)"
    return tuple(size // 1 for size in least), tuple(size // 1 for size in most), note


def _variances(param: Any) -> tuple[float, float, float, float]:
    found = tuple(param.variance) or (float(np.float32(0.1)),)
    if len(found) not in {1, 4} or min(found) <= 0:
        raise CannotReadError("variance must be one or four positive numbers")
    first, second, third, fourth = found * (4 // len(found))
    return (first, second, third, fourth)


def _image(param: Any) -> tuple[int, int]:
    apart = param.HasField("img_h") or param.HasField("img_w")
    if not apart and not param.HasField("img_size"):
        return (0, 0)
    if apart and param.HasField("img_size"):
        raise CannotReadError("img_size goes without img_h and img_w")
    height, width = (param.img_h, param.img_w) if apart else (param.img_size, param.img_size)
    if not height or not width:
        raise CannotReadError("img_size, or both img_h and img_w, must be positive")
    return (height, width)


def _step(param: Any) -> tuple[float, float]:
    apart = param.HasField("step_h") or param.HasField("step_w")
    if not apart and not param.HasField("step"):
        return (0.0, 0.0)
    if apart and param.HasField("step"):
        raise CannotReadError("step goes without step_h and step_w")
    down, across = (param.step_h, param.step_w) if apart else (param.step, param.step)
    if down <= 0 or across <= 0:
        raise CannotReadError("step, or both step_h and step_w, must be positive")
    return (down, across)


def _boxes(param: Any) -> tuple[tuple[float, float], ...]:
    """Widths and heights that are given one by one."""
    if len(param.width) != len(param.height) or not param.width:
        raise CannotReadError(f"{len(param.width)} width for {len(param.height)} height")
    if len(param.width) > _MOST_SIZES:
        raise CannotReadError(f"{len(param.width)} width (up to {_MOST_SIZES} are known)")
    if min(*param.width, *param.height) <= 0:
        raise CannotReadError("a width or height is not positive")
    if param.min_size or param.max_size or param.aspect_ratio:
        raise CannotReadError("width and height beside min_size, max_size or aspect_ratio")
    return tuple(zip(param.width, param.height, strict=True))


@reads(PriorBox, "PriorBox", "PriorBoxClustered", dialects=True)
def read_prior_box(layer: Any) -> Reading:
    """Reads ``prior_box_param``; boxes of their own widths and heights are those of PriorBoxClustered, and of OpenCV's PriorBox."""
    param = layer.prior_box_param
    if len(layer.bottom) != 2:
        raise CannotReadError(f"{len(layer.bottom)} bottoms, expected a feature map and the image")
    if layer.type == "PriorBoxClustered" or param.width or param.height:
        own = _boxes(param)
        return Reading(
            PriorBox((), (), (), param.clip, _variances(param), _image(param), _step(param), param.offset, sizes=own)
        )
    least, most, note = _sizes(param)
    op = PriorBox(least, most, _ratios(param), param.clip, _variances(param), _image(param), _step(param), param.offset)
    exact = replace(op, min_sizes=tuple(param.min_size), max_sizes=tuple(param.max_size)) if note else None
    if min(least) < 1:
        raise CannotReadError(
            f"min_size {min(param.min_size):g} is less than a pixel: Caffe's layer cuts it to 0", exact
        )
    return Reading(op, note=note, exact=exact)


def _limit(name: str, value: int) -> int:
    if value == 0:
        raise CannotReadError(f"{name} 0, which keeps nothing")
    return max(value, -1)


def _suppression(param: Any) -> tuple[float, int | None]:
    """Returns the overlap and the number of boxes looked at, from ``nms_param`` or from beside it, where OpenCV finds them too."""
    nms = param.nms_param
    for name in ("nms_threshold", "top_k"):
        if nms.HasField(name) and param.HasField(name) and getattr(nms, name) != getattr(param, name):
            raise CannotReadError(f"{name} is given twice, inside of nms_param and beside it")
    overlap = param.nms_threshold if param.HasField("nms_threshold") else nms.nms_threshold
    holder = param if param.HasField("top_k") else nms
    return overlap, holder.top_k if holder.HasField("top_k") else None


@reads(
    DetectionOutput,
    "DetectionOutput",
    dialects=True,
    ignored=("save_output_param", "visualize", "visualize_threshold", "save_file"),
)
def read_detection_output(layer: Any) -> Reading:
    """Reads ``detection_output_param``."""
    param = layer.detection_output_param
    nms = param.nms_param
    refined = len(layer.bottom) == 5
    if len(layer.bottom) not in {3, 5}:
        raise CannotReadError(f"{len(layer.bottom)} bottoms, expected locations, confidences and default boxes")
    if refined and (not param.share_location or param.background_label_id != 0):
        raise CannotReadError("five bottoms without share_location, or with another background_label_id than 0")
    if param.num_classes < 1 or (param.num_classes == 1 and param.background_label_id == 0):
        raise CannotReadError("num_classes leaves no class beside the background")
    if param.num_classes > _MOST_CLASSES:
        raise CannotReadError(f"num_classes {param.num_classes} (up to {_MOST_CLASSES} are known)")
    if param.share_location and param.background_label_id == -1:
        raise CannotReadError("background_label_id -1 with share_location: Caffe's layer then decodes no box")
    if param.soft_nms:
        raise CannotReadError("soft_nms: confidences that fall by the overlap, which ONNX's NonMaxSuppression cannot")
    if param.no_permute:
        raise CannotReadError("no_permute: locations and confidences laid out as a fork has them")
    if nms.eta != 1:
        raise CannotReadError(f"eta {nms.eta:g}: a threshold that falls while boxes are suppressed")
    overlap, top_k = _suppression(param)
    if not 0 <= overlap <= 1:
        raise CannotReadError(f"nms_threshold {overlap:g} is not between 0 and 1")
    if param.code_type not in _CODES:
        raise CannotReadError(f"code_type {param.code_type}")
    thresholded = param.HasField("confidence_threshold")
    op = DetectionOutput(
        param.num_classes,
        param.share_location,
        param.background_label_id,
        overlap,
        -1 if top_k is None else _limit("top_k", top_k),
        _CODES[param.code_type],
        param.variance_encoded_in_target,
        _limit("keep_top_k", param.keep_top_k),
        objectness=param.objectness_score if refined else None,
        **({"confidence_threshold": param.confidence_threshold} if thresholded else {}),
    )
    return Reading(op)


_MOST_BOXES = 1000


def _thresholds(param: Any) -> tuple[float, float]:
    for name in ("confidence_threshold", "nms_threshold"):
        if not 0 <= getattr(param, name) <= 1:
            raise CannotReadError(f"{name} {getattr(param, name):g} is not between 0 and 1")
    if not 0 < param.num_classes <= _MOST_CLASSES:
        raise CannotReadError(f"num_classes {param.num_classes} (1 to {_MOST_CLASSES} are known)")
    if not 0 < param.num_box <= _MOST_BOXES:
        raise CannotReadError(f"num_box {param.num_box} (1 to {_MOST_BOXES} are known)")
    return param.confidence_threshold, param.nms_threshold


@reads(YoloOutput, "Yolov3DetectionOutput", dialects=True)
def read_yolov3_output(layer: Any) -> Reading:
    """Reads ``yolov3_detection_output_param``: each bottom has a group of ``mask``, which picks its anchors out of ``biases``, in pixels."""
    param = layer.yolov3_detection_output_param
    confidence, overlap = _thresholds(param)
    groups, count = len(layer.bottom), param.num_box
    if param.mask_group_num != groups or len(param.anchors_scale) < groups:
        raise CannotReadError(
            f"{groups} bottoms, mask_group_num {param.mask_group_num}, {len(param.anchors_scale)} anchors_scale"
        )
    step = len(param.mask) // groups
    needed = (groups - 1) * step + count
    if len(param.mask) < needed or any(2 * number + 1 >= len(param.biases) for number in param.mask):
        raise CannotReadError(f"mask and biases do not give {groups} groups of {count} anchors")
    if min(param.anchors_scale) < 1:
        raise CannotReadError("anchors_scale must be positive")
    anchors = tuple(
        tuple(
            (param.biases[2 * number] / scale, param.biases[2 * number + 1] / scale)
            for number in param.mask[group * step : group * step + count]
        )
        for group, scale in zip(range(groups), param.anchors_scale, strict=False)
    )
    return Reading(YoloOutput(param.num_classes, anchors, False, confidence, overlap))


@reads(YoloOutput, "YoloDetectionOutput", dialects=True)
def read_yolo_output(layer: Any) -> Reading:
    """Reads ``yolo_detection_output_param``, whose ``biases`` are in cells."""
    param = layer.yolo_detection_output_param
    confidence, overlap = _thresholds(param)
    if param.coords != 4 or len(param.biases) < 2 * param.num_box:
        raise CannotReadError(f"coords {param.coords} and {len(param.biases)} biases for {param.num_box} boxes")
    if len(layer.bottom) not in {1, 2}:
        raise CannotReadError(f"{len(layer.bottom)} bottoms, expected one or two maps")
    boxes = tuple((param.biases[2 * number], param.biases[2 * number + 1]) for number in range(param.num_box))
    return Reading(YoloOutput(param.num_classes, (boxes,) * len(layer.bottom), True, confidence, overlap))
