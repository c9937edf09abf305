"""The registry of layer types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nuqconv.ir import Array
from nuqconv.ir.ops import Op

__all__ = ["CannotReadError", "LayerReader", "Reading", "reader_for", "reads"]


class CannotReadError(Exception):
    """The layer's parameters ask for something outside of what the reader knows; the layer becomes Opaque with this reason."""


@dataclass(frozen=True)
class Reading:
    """What a reader makes of a layer.

    Attributes:
        op: The operator.
        param_ranks: Number of dimensions of each blob that the layer must have, in order.
        convert: What turns a stored blob into the operator's parameter, where they differ; raises CannotReadError.
    """

    op: Op
    param_ranks: tuple[int, ...] = ()
    convert: Callable[[Array], Array] | None = None


LayerReader = Callable[[Any], Reading]
"""Takes a LayerParameter message and returns the reading; raises CannotReadError."""

_READERS: dict[str, LayerReader] = {}


def reads(*layer_types: str) -> Callable[[LayerReader], LayerReader]:
    """Registers a reader for the layer types named."""

    def register(reader: LayerReader) -> LayerReader:
        for layer_type in layer_types:
            if layer_type in _READERS:
                raise ValueError(f"layer type {layer_type} has a reader already")
            _READERS[layer_type] = reader
        return reader

    return register


def reader_for(layer_type: str) -> LayerReader | None:
    """Returns the reader of a layer type, or None."""
    return _READERS.get(layer_type)
