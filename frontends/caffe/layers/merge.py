"""Layers with several bottoms."""

from __future__ import annotations

from typing import Any, Literal

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir.ops import Concat, Crop, Eltwise

__all__: list[str] = []

_OPERATIONS: dict[int, Literal["PROD", "SUM", "MAX"]] = {0: "PROD", 1: "SUM", 2: "MAX"}


@reads("Eltwise")
def read_eltwise(layer: Any) -> Reading:
    """Reads ``eltwise_param``."""
    param = layer.eltwise_param
    operation = _OPERATIONS[param.operation]
    if operation != "PROD" and list(layer.top) == list(layer.bottom[:1]):
        raise CannotReadError(
            f"{operation} in place: Caffe clears the first bottom before it reads it; give the top another name"
        )
    return Reading(Eltwise(operation, tuple(param.coeff)))


@reads("Concat")
def read_concat(layer: Any) -> Reading:
    """Reads ``concat_param``; ``concat_dim`` is the older name of ``axis``."""
    param = layer.concat_param
    if param.HasField("concat_dim") and param.HasField("axis"):
        raise CannotReadError("concat_dim and axis are the same and stand both")
    return Reading(Concat(param.concat_dim if param.HasField("concat_dim") else param.axis))


@reads("Crop")
def read_crop(layer: Any) -> Reading:
    """Reads ``crop_param``."""
    return Reading(Crop(layer.crop_param.axis, tuple(layer.crop_param.offset)))
