"""Resize, Upsample, and values between pixels at positions that are computed."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading
from nuqconv.frontends.onnx.registry import converts
from nuqconv.ir.ops import GridSample, Resize
from nuqconv.ir.ops.resize import possible_sizes

__all__: list[str] = []


@converts("Resize", "Upsample")
def resize(reading: Reading, node: NodeView) -> None:
    """Resize with sizes and scales of all axes written out."""
    shape = reading.shape(node)
    rank = len(shape)
    scales, sizes = _asked(reading, node)
    axes = [axis % rank for axis in node.integers("axes", range(rank)) or ()]
    full_scales, full_sizes = [1.0] * rank, list(shape)
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    if sizes is not None:
        if policy != "stretch":
            # One factor for all axes, which positions are computed with too; as in onnxruntime all of it in float32.
            factors = [np.float32(size) / np.float32(shape[axis]) for axis, size in zip(axes, sizes, strict=True)]
            factor = min(factors) if policy == "not_larger" else max(factors)
            for axis in axes:
                whole = math.floor(float(factor * np.float32(shape[axis])) + 0.5)
                full_scales[axis], full_sizes[axis] = float(factor), whole
        else:
            for axis, size in zip(axes, sizes, strict=True):
                full_scales[axis], full_sizes[axis] = size / shape[axis], size
    elif scales is not None:
        for axis, scale in zip(axes, scales, strict=True):
            full_scales[axis], full_sizes[axis] = scale, _size(reading, node, axis, scale)
    if full_scales[:1] == [1.0] and full_sizes[0] == shape[0]:
        # The batch, which may be another one.
        full_sizes[0] = -1
    old = node.op_type == "Upsample" or node.version < 11
    region = reading.constant(node, 1) if node.op_type == "Resize" and node.version >= 11 else None
    op = Resize(
        tuple(full_sizes),
        () if sizes is not None and policy == "stretch" else tuple(full_scales),
        node.get("mode", "nearest"),
        "asymmetric" if old else node.get("coordinate_transformation_mode", "half_pixel"),
        "floor" if old else node.get("nearest_mode", "round_prefer_floor"),
        node.get("cubic_coeff_a", -0.75),
        bool(node.get("exclude_outside", 0)),
        node.get("extrapolation_value", 0.0),
        bool(node.get("antialias", 0)),
        _region(region, axes, rank) if node.get("coordinate_transformation_mode") == "tf_crop_and_resize" else (),
    )
    reading.add(node, op, (reading.value(node, 0),))


def _size(reading: Reading, node: NodeView, axis: int, scale: float) -> int:
    """The size of an axis by a factor. Where its rounding decides, it is what the file declares, else onnxruntime's; and it is said."""
    size = reading.shape(node)[axis]
    found = possible_sizes(size, scale)
    if len(found) == 1:
        return found[0]
    declared = reading.declared.get(node.outputs[0], ())
    asked = declared[axis] if axis < len(declared) else None
    taken, why = (asked, "as the file declares") if asked in found else (found[0], "as in onnxruntime")
    reading.notes.append(
        f"{reading.file}: '{node.name}' ({node.op_type}): axis {axis}: {size} by the factor {np.float32(scale)} are {found[0]} in onnxruntime and "
        f"{found[1]} by ONNX's own rule; {taken} are taken, {why}"
    )
    return int(taken or found[0])


def _region(region: np.ndarray | None, axes: list[int], rank: int) -> tuple[float, ...]:
    if region is None or region.size != 2 * len(axes):
        raise CannotConvertError("its region must be known before the run")
    begins, ends = [0.0] * rank, [1.0] * rank
    for place, axis in enumerate(axes):
        begins[axis], ends[axis] = float(region[place]), float(region[len(axes) + place])
    return (*begins, *ends)


def _asked(reading: Reading, node: NodeView) -> tuple[list[float] | None, tuple[int, ...] | None]:
    if node.has("scales"):
        return [float(item) for item in node.get("scales")], None
    if node.op_type == "Upsample" or node.version < 11:
        return [float(item) for item in reading.needed(node, 1, "scales").reshape(-1)], None
    scales = reading.constant(node, 2)
    if node.has_input(3):
        return None, reading.whole(node, 3, "sizes")
    if scales is None or not scales.size:
        raise CannotConvertError("its scales or sizes must be known before the run")
    return [float(item) for item in scales.reshape(-1)], None


_MODES: dict[str, Literal["linear", "nearest", "cubic"]] = {
    "bilinear": "linear",
    "linear": "linear",
    "nearest": "nearest",
    "bicubic": "cubic",
    "cubic": "cubic",
}


@converts("GridSample")
def grid_sample(reading: Reading, node: NodeView) -> None:
    """One operator; two names of its modes have changed."""
    mode, padding = node.get("mode", "bilinear"), node.get("padding_mode", "zeros")
    if mode not in _MODES or padding not in ("zeros", "border", "reflection"):
        raise CannotConvertError(f"mode '{mode}' with padding '{padding}' is not known")
    op = GridSample(_MODES[mode], padding, bool(node.get("align_corners", 0)))
    reading.add(node, op, (reading.value(node, 0), reading.value(node, 1)))
