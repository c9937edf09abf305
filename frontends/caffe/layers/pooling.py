"""Pooling."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, WrongLayerError, reads
from nuqconv.ir.ops import SPP, Pooling, PoolMethod

__all__ = ["METHODS"]

METHODS: dict[int, PoolMethod] = {0: "MAX", 1: "AVE", 2: "STOCHASTIC"}


def _pair(param: Any, name: str, both: str) -> tuple[int, int]:
    given = [param.HasField(f"{name}_h"), param.HasField(f"{name}_w")]
    if any(given):
        if not all(given) or param.HasField(both):
            raise CannotReadError(f"{name}_h and {name}_w belong together, without {both}")
        return (getattr(param, f"{name}_h"), getattr(param, f"{name}_w"))
    value = getattr(param, both)
    return (value, value)


@reads(Pooling, "Pooling")
def read_pooling(layer: Any) -> Reading:
    """Reads ``pooling_param``; a second top is the mask of MAX."""
    param = layer.pooling_param
    method, mask = METHODS[param.pool], len(layer.top) > 1
    if mask and method != "MAX":
        raise CannotReadError(f"a second top of {method} (only MAX has one)")
    if param.global_pooling:
        return Reading(Pooling(method, global_pooling=True, mask=mask))
    kernel, stride = _pair(param, "kernel", "kernel_size"), _pair(param, "stride", "stride")
    if 0 in kernel or 0 in stride:
        raise WrongLayerError("kernel_size and stride must be positive")
    pad, round_up = _pair(param, "pad", "pad"), _rounds_up(param)
    return Reading(Pooling(method, kernel, stride, pad, round_up=round_up, mask=mask))


def _rounds_up(param: Any) -> bool:
    """Forks say it in two ways, ``round_mode`` and ``ceil_mode``; without either Caffe rounds up."""
    by_mode = bool(param.round_mode == 0)
    if not param.HasField("ceil_mode"):
        return by_mode
    if param.HasField("round_mode") and by_mode != param.ceil_mode:
        raise WrongLayerError("round_mode and ceil_mode contradict each other; leave one of them out")
    return bool(param.ceil_mode)


_HIGHEST = 31


@reads(SPP, "SPP")
def read_spp(layer: Any) -> Reading:
    """Reads ``spp_param``."""
    param = layer.spp_param
    # Caffe counts the windows of a level in 32 bits.
    if not 1 <= param.pyramid_height <= _HIGHEST:
        raise WrongLayerError(f"pyramid_height {param.pyramid_height} (it must be from 1 to {_HIGHEST})")
    return Reading(SPP(param.pyramid_height, METHODS[param.pool]))
