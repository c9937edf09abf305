"""BatchNorm."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir.ops import BatchNorm

__all__: list[str] = []


@reads("BatchNorm")
def read_batch_norm(layer: Any) -> Reading:
    """Reads ``batch_norm_param``; at inference the stored statistics are used unless the layer says otherwise."""
    param = layer.batch_norm_param
    if param.HasField("use_global_stats") and not param.use_global_stats:
        raise CannotReadError("use_global_stats: false (statistics of the batch at inference)")
    return Reading(BatchNorm(param.eps), (1, 1, 1))
