"""Layers that only move elements."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import Reading, reads
from nuqconv.ir.ops import Flatten, Permute, Reshape

__all__: list[str] = []


@reads("Flatten")
def read_flatten(layer: Any) -> Reading:
    """Reads ``flatten_param``."""
    return Reading(Flatten(layer.flatten_param.axis, layer.flatten_param.end_axis))


@reads("Permute")
def read_permute(layer: Any) -> Reading:
    """Reads ``permute_param``."""
    return Reading(Permute(tuple(layer.permute_param.order)))


@reads("Reshape")
def read_reshape(layer: Any) -> Reading:
    """Reads ``reshape_param``."""
    param = layer.reshape_param
    return Reading(Reshape(tuple(param.shape.dim), param.axis, param.num_axes))
