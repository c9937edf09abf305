"""Layers that pick, place, repeat, pad or mask elements."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import Reading, WrongLayerError, reads
from nuqconv.ir.ops import BatchReindex, Embed, Filter, Tile

__all__: list[str] = []


@reads(Tile, "Tile")
def read_tile(layer: Any) -> Reading:
    """Reads ``tile_param``."""
    param = layer.tile_param
    if param.tiles < 1:
        raise WrongLayerError("tiles must be positive")
    return Reading(Tile(param.tiles, param.axis))


@reads(Filter, "Filter")
def read_filter(layer: Any) -> Reading:
    """A Filter has no parameters; its last bottom selects."""
    del layer
    return Reading(Filter())


@reads(BatchReindex, "BatchReindex")
def read_batch_reindex(layer: Any) -> Reading:
    """A BatchReindex has no parameters; its second bottom holds the indices."""
    del layer
    return Reading(BatchReindex())


@reads(Embed, "Embed")
def read_embed(layer: Any) -> Reading:
    """Reads ``embed_param``."""
    param = layer.embed_param
    if param.num_output == 0 or param.input_dim == 0:
        raise WrongLayerError("num_output and input_dim must be positive")
    op = Embed(param.num_output, param.input_dim, param.bias_term)
    return Reading(op, (2, 1) if param.bias_term else (2,))
