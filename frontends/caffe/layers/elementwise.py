"""Arithmetic on each element of one blob."""

from __future__ import annotations

from typing import Any

import numpy as np

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads, reads_as
from nuqconv.ir.ops import AbsVal, Clip, Exp, Identity, Log, Power, Threshold

__all__: list[str] = []

reads_as(AbsVal, "AbsVal")

reads_as(Clip, "ReLU6", make=lambda: Clip(0.0, 6.0))


@reads(Exp, "Exp")
def read_exp(layer: Any) -> Reading:
    """Reads ``exp_param``."""
    param = layer.exp_param
    _log_of_base(param.base)
    return Reading(Exp(param.base, param.scale, param.shift))


@reads(Log, "Log")
def read_log(layer: Any) -> Reading:
    """Reads ``log_param``."""
    param = layer.log_param
    if _log_of_base(param.base) == 0:
        raise CannotReadError("base 1, which has no logarithm")
    return Reading(Log(param.base, param.scale, param.shift))


@reads(Threshold, "Threshold")
def read_threshold(layer: Any) -> Reading:
    """Reads ``threshold_param``."""
    return Reading(Threshold(layer.threshold_param.threshold))


@reads(Clip, "Clip")
def read_clip(layer: Any) -> Reading:
    """Reads ``clip_param``, which has no defaults."""
    param = layer.clip_param
    if not (param.HasField("min") and param.HasField("max")):
        raise CannotReadError("clip_param needs min and max")
    return Reading(Clip(param.min, param.max))


def _log_of_base(base: float) -> float:
    """Returns the natural logarithm of a base; -1 stands for e."""
    if base == -1:
        return 1.0
    if not 0 < base < np.inf:
        raise CannotReadError(f"base {base} (only -1, which stands for e, and positive numbers have a meaning)")
    return float(np.log(np.float32(base)))


@reads(Identity, "Dropout")
def read_dropout(layer: Any) -> Reading:
    """At inference a Dropout passes its input on."""
    del layer
    return Reading(Identity())


@reads(Power, "Power")
def read_power(layer: Any) -> Reading:
    """Reads ``power_param``."""
    param = layer.power_param
    return Reading(Power(param.power, param.scale, param.shift))
