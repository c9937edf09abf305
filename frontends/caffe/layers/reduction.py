"""Layers that sum up, rank or count along axes."""

from __future__ import annotations

from typing import Any, Literal

from nuqconv.frontends.caffe.layers.registry import Reading, WrongLayerError, reads
from nuqconv.ir.ops import ArgMax, Reduction

__all__: list[str] = []

_REDUCTIONS: dict[int, Literal["SUM", "ASUM", "SUMSQ", "MEAN"]] = {1: "SUM", 2: "ASUM", 3: "SUMSQ", 4: "MEAN"}


@reads(Reduction, "Reduction")
def read_reduction(layer: Any) -> Reading:
    """Reads ``reduction_param``."""
    param = layer.reduction_param
    return Reading(Reduction(_REDUCTIONS[param.operation], param.axis, param.coeff))


@reads(ArgMax, "ArgMax")
def read_arg_max(layer: Any) -> Reading:
    """Reads ``argmax_param``."""
    param = layer.argmax_param
    if param.top_k == 0:
        raise WrongLayerError("top_k must be positive")
    return Reading(ArgMax(param.axis if param.HasField("axis") else None, param.top_k, param.out_max_val))
