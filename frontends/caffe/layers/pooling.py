"""Pooling."""

from __future__ import annotations

from typing import Any, Literal

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir.ops import Pooling

__all__: list[str] = []

_METHODS: dict[int, Literal["MAX", "AVE"]] = {0: "MAX", 1: "AVE"}


def _pair(param: Any, name: str, both: str) -> tuple[int, int]:
    if param.HasField(f"{name}_h") or param.HasField(f"{name}_w"):
        return (getattr(param, f"{name}_h"), getattr(param, f"{name}_w"))
    value = getattr(param, both)
    return (value, value)


@reads("Pooling")
def read_pooling(layer: Any) -> Reading:
    """Reads ``pooling_param``."""
    param = layer.pooling_param
    if param.pool not in _METHODS:
        raise CannotReadError("pool STOCHASTIC")
    if len(layer.top) != 1:
        raise CannotReadError("a second top (the mask of MAX)")
    method = _METHODS[param.pool]
    if param.global_pooling:
        return Reading(Pooling(method, global_pooling=True))
    kernel, stride = _pair(param, "kernel", "kernel_size"), _pair(param, "stride", "stride")
    if 0 in kernel or 0 in stride:
        raise CannotReadError("kernel_size and stride must be positive")
    return Reading(Pooling(method, kernel, stride, _pair(param, "pad", "pad"), round_up=param.round_mode == 0))
