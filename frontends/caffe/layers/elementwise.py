"""More layers on each element, and layers that only hand blobs on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nuqconv.frontends.caffe.layers.registry import CannotReadError, LayerReader, Reading, reads
from nuqconv.ir.ops import (
    BNLL,
    ELU,
    AbsVal,
    Axpy,
    Clip,
    Exp,
    HSigmoid,
    HSwish,
    L2Norm,
    Log,
    Op,
    Silence,
    Split,
    Swish,
    Threshold,
)

__all__: list[str] = []


def _plain(make: Callable[[], Op], note: str = "") -> LayerReader:
    """A reader for a layer without parameters that change its result."""

    def read(layer: Any) -> Reading:
        del layer
        return Reading(make(), note=note)

    return read


reads("AbsVal")(_plain(AbsVal))
reads("BNLL")(_plain(BNLL))
reads("Silence")(_plain(Silence))
reads("ReLU6")(_plain(lambda: Clip(0.0, 6.0)))
reads("HSwish", "Hswish", "hswish")(_plain(HSwish))
# Three forks and OpenCV agree on this form.
reads("HardSwish")(
    _plain(HSwish, "read as x * min(max(x + 3, 0), 6) / 6; one fork has x * min(max(0.2 * x + 0.5, 0), 1)")
)
# HardSigmoid is left out: its constants differ from fork to fork.
reads("HSigmoid", "Hsigmoid", "hsigmoid")(_plain(HSigmoid))
reads("L2Norm", "L2Normalize", "L2Normalization", dialects=True)(
    _plain(L2Norm, "read as x / sqrt(sum(x * x)) of each sample; forks add different small numbers to the sum")
)


@reads("Split")
def read_split(layer: Any) -> Reading:
    """A Split has as many tops as it says."""
    return Reading(Split(len(layer.top)))


@reads("ELU")
def read_elu(layer: Any) -> Reading:
    """Reads ``elu_param``."""
    return Reading(ELU(layer.elu_param.alpha))


@reads("Exp")
def read_exp(layer: Any) -> Reading:
    """Reads ``exp_param``."""
    param = layer.exp_param
    _log_of_base(param.base)
    return Reading(Exp(param.base, param.scale, param.shift))


@reads("Log")
def read_log(layer: Any) -> Reading:
    """Reads ``log_param``."""
    param = layer.log_param
    if _log_of_base(param.base) == 0:
        raise CannotReadError("base 1, which has no logarithm")
    return Reading(Log(param.base, param.scale, param.shift))


@reads("Threshold")
def read_threshold(layer: Any) -> Reading:
    """Reads ``threshold_param``."""
    return Reading(Threshold(layer.threshold_param.threshold))


@reads("Swish")
def read_swish(layer: Any) -> Reading:
    """Reads ``swish_param``."""
    return Reading(Swish(layer.swish_param.beta))


@reads("Clip")
def read_clip(layer: Any) -> Reading:
    """Reads ``clip_param``, which has no defaults."""
    param = layer.clip_param
    if not (param.HasField("min") and param.HasField("max")):
        raise CannotReadError("clip_param needs min and max")
    return Reading(Clip(param.min, param.max))


@reads("Axpy")
def read_axpy(layer: Any) -> Reading:
    """An Axpy has no parameters."""
    if list(layer.top) == list(layer.bottom[:1]):
        raise CannotReadError("it writes in place over its factors, which have another shape")
    return Reading(Axpy())


def _log_of_base(base: float) -> float:
    """Returns the natural logarithm of a base; -1 stands for e."""
    if base == -1:
        return 1.0
    if not 0 < base < np.inf:
        raise CannotReadError(f"base {base} (only -1, which stands for e, and positive numbers have a meaning)")
    return float(np.log(np.float32(base)))
