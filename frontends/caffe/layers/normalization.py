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
    of_batch = param.HasField("use_global_stats") and not param.use_global_stats
    op = BatchStatistics(param.eps) if of_batch else BatchNorm(param.eps)
    return Reading(op, (1, 1, 1))
