"""The registry of layer types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nuqconv.ir import Array
from nuqconv.ir.ops import Op, Shape

__all__ = [
    "CannotReadError",
    "LayerReader",
    "Reading",
    "ShapedReader",
    "WrongLayerError",
    "has_dialects",
    "ignored_fields",
    "known_types",
    "reader_for",
    "reads",
    "reads_as",
    "reads_with_shapes",
]


class CannotReadError(Exception):
    """The layer's parameters ask for something outside of what the reader knows; the layer becomes Opaque with this reason."""


class WrongLayerError(Exception):
    """The layer's parameters have no meaning: Caffe refuses them, or crashes; the model is refused with this reason."""


@dataclass(frozen=True)
class Reading:
    """What a reader makes of a layer.

    Attributes:
        op: The operator.
        param_ranks: Number of dimensions of each blob that the layer must have, in order; None where any number will do.
        convert: What turns a stored blob into the operator's parameter, where they differ; raises CannotReadError.
        by_blobs: Where forks store different blobs: takes their number (0 if there are none) and returns the reading that counts; raises
            CannotReadError.
        note: What was chosen where forks differ, in words for the user.
    """

    op: Op
    param_ranks: tuple[int | None, ...] = ()
    convert: Callable[[Array], Array] | None = None
    by_blobs: Callable[[int], Reading] | None = None
    note: str = ""


LayerReader = Callable[[Any], Reading]
"""Takes a LayerParameter message and returns the reading; raises CannotReadError or WrongLayerError."""

ShapedReader = Callable[[Any, Sequence[Shape | None]], Reading]
"""The same with the shape of each bottom, None where it is not known."""

_READERS: dict[str, ShapedReader] = {}
_DIALECTS: set[str] = set()
_IGNORED: dict[str, frozenset[str]] = {}


def reads(
    *layer_types: str, dialects: bool = False, ignored: Sequence[str] = ()
) -> Callable[[LayerReader], LayerReader]:
    """Registers a reader for the layer types named.

    Args:
        layer_types: The types.
        dialects: Whether forks give the types different fields. One that is not known then makes the layer Opaque; elsewhere it is an error.
        ignored: Names of fields that the schema lacks and that change nothing of what the layer computes.
    """

    def register(reader: LayerReader) -> LayerReader:
        _register(lambda layer, _: reader(layer), layer_types)
        if dialects:
            _DIALECTS.update(layer_types)
        _IGNORED.update(dict.fromkeys(layer_types, frozenset(ignored)))
        return reader

    return register


def reads_as(make: Callable[[], Op], *layer_types: str, dialects: bool = False, note: str = "") -> None:
    """Registers layer types without parameters that change their result.

    Args:
        make: Makes the operator.
        layer_types: The types.
        dialects: As for `reads`.
        note: What was chosen where forks differ, in words for the user.
    """
    reads(*layer_types, dialects=dialects)(lambda _: Reading(make(), note=note))


def reads_with_shapes(*layer_types: str, dialects: bool = False) -> Callable[[ShapedReader], ShapedReader]:
    """Registers a reader whose result depends on the shapes of the bottoms; see `reads`."""

    def register(reader: ShapedReader) -> ShapedReader:
        _register(reader, layer_types)
        if dialects:
            _DIALECTS.update(layer_types)
        return reader

    return register


def reader_for(layer_type: str) -> ShapedReader | None:
    """Returns the reader of a layer type, or None."""
    return _READERS.get(layer_type)


def known_types() -> tuple[str, ...]:
    """Returns the layer types that have a reader."""
    return tuple(_READERS)


def has_dialects(layer_type: str) -> bool:
    """Returns whether forks give a layer type different fields."""
    return layer_type in _DIALECTS


def ignored_fields(layer_type: str) -> frozenset[str]:
    """Returns the fields that the schema lacks and that change nothing of what a layer type computes."""
    return _IGNORED.get(layer_type, frozenset())


def _register(reader: ShapedReader, layer_types: Sequence[str]) -> None:
    for layer_type in layer_types:
        if layer_type in _READERS:
            raise ValueError(f"layer type {layer_type} has a reader already")
        _READERS[layer_type] = reader
