"""BatchNorm."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import Reading, reads
from nuqconv.ir.ops import BatchNorm, BatchStatistics

__all__: list[str] = []


@reads("BatchNorm")
def read_batch_norm(layer: Any) -> Reading:
    """Reads ``batch_norm_param``; at inference the stored statistics are used unless the layer says otherwise."""
    param = layer.batch_norm_param
    if param.HasField("use_global_stats") and not param.use_global_stats:
        note = "is normalized by the statistics of each batch (use_global_stats: false), so that its result depends on the whole batch"
        return Reading(BatchStatistics(param.eps), (1, 1, 1), note=note)
    return Reading(BatchNorm(param.eps), (1, 1, 1))
