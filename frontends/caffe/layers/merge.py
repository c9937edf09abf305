"""Layers that join, cut or hand on whole blobs."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads, reads_as
from nuqconv.ir.ops import Concat, Crop, MergeCrop, Parameter, Silence, Slice, Split

__all__: list[str] = []


@reads(Concat, "Concat")
def read_concat(layer: Any) -> Reading:
    """Reads ``concat_param``; ``concat_dim`` is the older name of ``axis``."""
    param = layer.concat_param
    if param.HasField("concat_dim") and param.HasField("axis"):
        raise CannotReadError("concat_dim and axis are the same and stand both")
    return Reading(Concat(param.concat_dim if param.HasField("concat_dim") else param.axis))


@reads(Crop, "Crop")
def read_crop(layer: Any) -> Reading:
    """Reads ``crop_param``."""
    return Reading(Crop(layer.crop_param.axis, tuple(layer.crop_param.offset)))


@reads(MergeCrop, "MergeCrop", dialects=True)
def read_merge_crop(layer: Any) -> Reading:
    """Reads ``mergecrop_param``; ``backward`` is for training."""
    param = layer.mergecrop_param
    if any(flag != 1 for flag in param.forward):
        raise CannotReadError(f"forward {list(param.forward)}: an input that is not handed on")
    return Reading(MergeCrop(param.operation == param.ADD))


reads_as(Silence, "Silence")


@reads(Split, "Split")
def read_split(layer: Any) -> Reading:
    """A Split has as many tops as it says."""
    return Reading(Split(len(layer.top)))


@reads(Parameter, "Parameter")
def read_parameter(layer: Any) -> Reading:
    """Reads ``parameter_param``."""
    shape = tuple(layer.parameter_param.shape.dim)
    if any(dim < 1 for dim in shape):
        raise CannotReadError(f"shape {shape}; every size must be positive")
    return Reading(Parameter(shape), (len(shape),))


@reads(Slice, "Slice")
def read_slice(layer: Any) -> Reading:
    """Reads ``slice_param``; ``slice_dim`` is the older name of ``axis``."""
    param = layer.slice_param
    if param.HasField("slice_dim") and param.HasField("axis"):
        raise CannotReadError("slice_dim stands beside axis")
    if not layer.top:
        raise CannotReadError("no top")
    axis = param.slice_dim if param.HasField("slice_dim") else param.axis
    return Reading(Slice(len(layer.top), axis, tuple(param.slice_point)))
