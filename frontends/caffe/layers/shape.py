"""Layers that only lay elements out again."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir.ops import Flatten, Permute, Reorg, Reshape, Reverse, ShuffleChannel

__all__: list[str] = []


@reads(Flatten, "Flatten")
def read_flatten(layer: Any) -> Reading:
    """Reads ``flatten_param``."""
    return Reading(Flatten(layer.flatten_param.axis, layer.flatten_param.end_axis))


@reads(Permute, "Permute")
def read_permute(layer: Any) -> Reading:
    """Reads ``permute_param``."""
    return Reading(Permute(tuple(layer.permute_param.order)))


@reads(Permute, "Transpose", dialects=True)
def read_transpose(layer: Any) -> Reading:
    """Reads ``transpose_param`` of the CTC forks, which names the axes as Permute does."""
    axes = tuple(layer.transpose_param.dim)
    if sorted(axes) != list(range(len(axes))):
        raise CannotReadError(f"dim {list(axes)} does not name each axis once")
    return Reading(Permute(axes))


@reads(Reshape, "Reshape")
def read_reshape(layer: Any) -> Reading:
    """Reads ``reshape_param``."""
    param = layer.reshape_param
    return Reading(Reshape(tuple(param.shape.dim), param.axis, param.num_axes))


@reads(ShuffleChannel, "ShuffleChannel", dialects=True)
def read_shuffle_channel(layer: Any) -> Reading:
    """Reads ``shuffle_channel_param``."""
    if not layer.shuffle_channel_param.group:
        raise CannotReadError("group must be positive")
    return Reading(ShuffleChannel(layer.shuffle_channel_param.group))


@reads(Reverse, "Reverse")
def read_reverse(layer: Any) -> Reading:
    """Reads ``reverse_param``."""
    return Reading(Reverse(layer.reverse_param.axis))


@reads(Reorg, "Reorg", dialects=True)
def read_reorg(layer: Any) -> Reading:
    """Reads ``reorg_param``."""
    if not layer.reorg_param.stride:
        raise CannotReadError("stride must be positive")
    return Reading(Reorg(layer.reorg_param.stride, layer.reorg_param.reverse))
