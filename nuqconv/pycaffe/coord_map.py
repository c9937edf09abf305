"""How the coordinates of a net_spec's blobs lie on each other, and the Crop that makes one fit another."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nuqconv.pycaffe.net_spec import Function, Top, layers

__all__ = [
    "AxisMismatchException",
    "UndefinedMapException",
    "compose",
    "conv_params",
    "coord_map",
    "coord_map_from_to",
    "crop",
    "crop_params",
    "inverse",
]

PASS_THROUGH_LAYERS = (
    "AbsVal",
    "BatchNorm",
    "Bias",
    "BNLL",
    "Dropout",
    "Eltwise",
    "ELU",
    "Log",
    "LRN",
    "Exp",
    "MVN",
    "Power",
    "ReLU",
    "PReLU",
    "Scale",
    "Sigmoid",
    "Split",
    "TanH",
    "Threshold",
)
"""Layers whose output lies on their input."""

Sizes = npt.NDArray[Any]
Map = tuple["int | None", Any, Any]
"""First spatial axis, scale and shift: input = scale * output + shift; (None, 1, 0) changes nothing."""


class UndefinedMapException(Exception):  # noqa: N818 - pycaffe's name
    """A layer has no such map."""


class AxisMismatchException(Exception):  # noqa: N818 - pycaffe's name
    """Two maps are of different axes."""


def conv_params(fn: Function) -> tuple[int, Sizes, Sizes, Sizes]:
    """Returns axis, stride, extent of the window and padding of a layer with a window."""
    params = fn.params.get("convolution_param", fn.params)
    if {"pad_h", "pad_w", "kernel_h", "kernel_w", "stride_h", "stride_w"} & set(fn.params):
        raise AssertionError("cropping does not support legacy _h/_w params")
    size, dilation, stride, pad = (
        np.array(params.get(name, default), ndmin=1)
        for name, default in (("kernel_size", None), ("dilation", 1), ("stride", 1), ("pad", 0))
    )
    return params.get("axis", 1), stride, (size - 1) * dilation + 1, pad


def crop_params(fn: Function) -> tuple[int, Sizes]:
    """Returns axis and offset of a Crop."""
    params = fn.params.get("crop_param", fn.params)
    return params.get("axis", 2), np.array(params.get("offset", 0), ndmin=1)


def coord_map(fn: Function) -> Map:
    """Returns a layer's map from its input to its output.

    Raises:
        UndefinedMapException: It has none.
    """
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, size, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (size - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, size, pad = conv_params(fn)
        return axis, stride, (size - 1) / 2 - pad
    if fn.type_name in PASS_THROUGH_LAYERS:
        return None, 1, 0
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset
    raise UndefinedMapException


def compose(base_map: Map, next_map: Map) -> Map:
    """Returns one map behind another.

    Raises:
        AxisMismatchException: They are of different axes.
    """
    (axis, scale, shift), (other, factor, more) = base_map, next_map
    if axis is not None and other is not None and axis != other:
        raise AxisMismatchException
    return other if axis is None else axis, scale * factor, scale * more + shift


def inverse(coord_map: Map) -> Map:
    """Returns the map in the other direction."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """Returns the map between two blobs, through one that both come from.

    Raises:
        RuntimeError: There is no such blob.
    """
    sources: dict[Top, Map] = {top_from: (None, 1, 0)}
    waiting = [top_from]
    while waiting:
        top = waiting.pop()
        for bottom, found in _behind(top, sources[top]):
            sources[bottom] = found
            waiting.append(bottom)
    targets: dict[Top, Map] = {top_to: (None, 1, 0)}
    waiting = [top_to]
    while waiting:
        top = waiting.pop()
        if top in sources:
            return compose(targets[top], inverse(sources[top]))
        for bottom, found in _behind(top, targets[top]):
            targets[bottom] = found
            waiting.append(bottom)
    raise RuntimeError("Could not compute map between tops; are they connected by spatial layers?")


def _behind(top: Top, found: Map) -> list[tuple[Top, Map]]:
    """Returns what a blob is made of, with the maps from there; a Crop's second bottom only says a size."""
    bottoms = top.fn.inputs[:1] if top.fn.type_name == "Crop" else top.fn.inputs
    try:
        return [(bottom, compose(found, coord_map(top.fn))) for bottom in bottoms]
    except UndefinedMapException:
        return []


def crop(top_from: Top, top_to: Top) -> Any:
    """Returns a Crop layer that cuts one blob to what lies on another.

    Raises:
        AssertionError: The scales differ, or the offset is negative or no whole number, as in pycaffe.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    for holds, words in (
        ((scale == 1).all(), f"scale mismatch on crop (a = {scale})"),
        ((shift <= 0).all(), f"cannot crop negative offset (b = {shift})"),
        ((np.round(shift) == shift).all(), f"cannot crop noninteger offset (b = {shift})"),
    ):
        if not holds:
            raise AssertionError(words)
    offset = [int(size) for size in -np.round(shift)]
    return layers.Crop(top_from, top_to, crop_param={"axis": (axis or 0) + 1, "offset": offset})
