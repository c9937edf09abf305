"""BatchNorm and Scale."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir.ops import BatchNorm, Scale

__all__: list[str] = []


@reads("BatchNorm")
def read_batch_norm(layer: Any) -> Reading:
    """Reads ``batch_norm_param``; at inference the stored statistics are used unless the layer says otherwise."""
    param = layer.batch_norm_param
    if param.HasField("use_global_stats") and not param.use_global_stats:
        raise CannotReadError("use_global_stats: false (statistics of the batch at inference)")
    return Reading(BatchNorm(param.eps), (1, 1, 1))


@reads("Scale")
def read_scale(layer: Any) -> Reading:
    """Reads ``scale_param`` of a layer with one bottom and its own factors."""
    param = layer.scale_param
    if len(layer.bottom) != 1:
        raise CannotReadError("two bottoms (the factor is computed)")
    if param.num_axes < 0:
        raise CannotReadError(f"num_axes {param.num_axes}")
    return Reading(Scale(param.axis, param.bias_term), (param.num_axes,) * (1 + int(param.bias_term)))
