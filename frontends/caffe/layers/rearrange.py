"""Layers of forks that only move elements."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir.ops import Reorg, Reverse, ShuffleChannel

__all__: list[str] = []


@reads("ShuffleChannel", dialects=True)
def read_shuffle_channel(layer: Any) -> Reading:
    """Reads ``shuffle_channel_param``."""
    if not layer.shuffle_channel_param.group:
        raise CannotReadError("group must be positive")
    return Reading(ShuffleChannel(layer.shuffle_channel_param.group))


@reads("Reverse")
def read_reverse(layer: Any) -> Reading:
    """Reads ``reverse_param``."""
    return Reading(Reverse(layer.reverse_param.axis))


@reads("Reorg", dialects=True)
def read_reorg(layer: Any) -> Reading:
    """Reads ``reorg_param``."""
    if not layer.reorg_param.stride:
        raise CannotReadError("stride must be positive")
    return Reading(Reorg(layer.reorg_param.stride, layer.reorg_param.reverse))
