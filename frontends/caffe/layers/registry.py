"""The registry of layer types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from nuqconv.frontends.caffe.fields import UnknownField
from nuqconv.ir import Array
from nuqconv.ir.ops import Op, Shape
from nuqconv.ir.traits import Trait

__all__ = [
    "LAYER_TYPES",
    "CannotReadError",
    "LayerReader",
    "LayerType",
    "Reading",
    "ShapedReader",
    "WrongLayerError",
    "has_dialects",
    "has_no_effect",
    "reader_for",
    "reads",
    "reads_as",
    "reads_with_shapes",
]


class CannotReadError(Exception):
    """The layer's parameters ask for something outside of what the reader knows; the layer becomes Opaque with this reason.

    Args:
        reason: What they ask for.
        exact: The operator whose sizes are not cut to whole numbers, where that would help.
    """

    def __init__(self, reason: str, exact: Op | None = None) -> None:
        super().__init__(reason)
        self.exact = exact


class WrongLayerError(Exception):
    """The layer's parameters have no meaning: Caffe refuses them, or crashes; the model is refused with this reason."""


@dataclass(frozen=True)
class Reading:
    """What a reader makes of a layer.

    Attributes:
        op: The operator.
        param_ranks: Number of dimensions of each blob that the layer must have, in order; None where any number will do.
        convert: What turns a stored blob into the operator's parameter, where they differ; raises CannotReadError.
        by_blobs: Where the blobs tell more: takes the stored BlobProtos (none if there are none) and returns the reading that counts; raises
            CannotReadError or WrongLayerError.
        note: What was chosen where forks differ, in words for the user.
        exact: The operator whose sizes are not cut to whole numbers, where ``op`` cuts them.
    """

    op: Op
    param_ranks: tuple[int | None, ...] = ()
    convert: Callable[[Array], Array] | None = None
    by_blobs: Callable[[Sequence[Any]], Reading] | None = None
    note: str = ""
    exact: Op | None = None


LayerReader = Callable[[Any], Reading]
"""Takes a LayerParameter message and returns the reading; raises CannotReadError or WrongLayerError."""

ShapedReader = Callable[[Any, Sequence[Shape | None]], Reading]
"""The same with the shape of each bottom, None where it is not known."""

_Ops = type[Op] | tuple[type[Op], ...]


@dataclass(frozen=True)
class LayerType:
    """What is known of a layer type that has a reader.

    Attributes:
        reader: The reader.
        ops: What layers of the type are read as.
        dialects: Whether forks give the type different fields. One that is not known then makes the layer Opaque; elsewhere it is an error.
        ignored: Names of fields that the schema lacks and that change nothing of what the layer computes.
        traits: What is true of layers of the type that the reader does not understand, besides what is true of the operators.
    """

    reader: ShapedReader
    ops: tuple[type[Op], ...]
    dialects: bool = False
    ignored: frozenset[str] = frozenset()
    traits: tuple[Trait, ...] = ()


# Fields that the schema lacks in whatever layer: how training begins.
_WITHOUT_EFFECT = frozenset({("batch_norm_param", "filler")})

_TYPES: dict[str, LayerType] = {}
LAYER_TYPES: Mapping[str, LayerType] = MappingProxyType(_TYPES)
"""The layer types that have a reader."""


def reads(
    ops: _Ops,
    *layer_types: str,
    dialects: bool = False,
    ignored: Sequence[str] = (),
    traits: tuple[Trait, ...] = (),
) -> Callable[[LayerReader], LayerReader]:
    """Registers a reader for the layer types named; see `LayerType` for the arguments."""

    def register(reader: LayerReader) -> LayerReader:
        entry = LayerType(lambda layer, _: reader(layer), _all(ops), dialects, frozenset(ignored), traits)
        _register(layer_types, entry)
        return reader

    return register


def reads_as(
    op: type[Op],
    *layer_types: str,
    make: Callable[[], Op] | None = None,
    dialects: bool = False,
    note: str = "",
) -> None:
    """Registers layer types without parameters that change their result.

    Args:
        op: The operator.
        layer_types: The types.
        make: Makes the operator; by default it is called without arguments.
        dialects: As for `reads`.
        note: What was chosen where forks differ, in words for the user.
    """
    reads(op, *layer_types, dialects=dialects)(lambda _: Reading((make or op)(), note=note))


def reads_with_shapes(ops: _Ops, *layer_types: str, dialects: bool = False) -> Callable[[ShapedReader], ShapedReader]:
    """Registers a reader whose result depends on the shapes of the bottoms; see `reads`."""

    def register(reader: ShapedReader) -> ShapedReader:
        _register(layer_types, LayerType(reader, _all(ops), dialects))
        return reader

    return register


def reader_for(layer_type: str) -> ShapedReader | None:
    """Returns the reader of a layer type, or None."""
    found = _TYPES.get(layer_type)
    return None if found is None else found.reader


def has_dialects(layer_type: str) -> bool:
    """Returns whether forks give a layer type different fields."""
    return layer_type in _TYPES and _TYPES[layer_type].dialects


def has_no_effect(layer_type: str, field: UnknownField) -> bool:
    """Returns whether what the schema lacks is known to change nothing of what a layer type computes.

    Which library computes (``engine``, whatever forks call it) changes nothing either.
    """
    own = _TYPES[layer_type].ignored if layer_type in _TYPES else frozenset()
    return field.name == "engine" or field.name in own or (*field.messages[-1:], field.name) in _WITHOUT_EFFECT


def _all(ops: _Ops) -> tuple[type[Op], ...]:
    return ops if isinstance(ops, tuple) else (ops,)


def _register(layer_types: Sequence[str], entry: LayerType) -> None:
    for layer_type in layer_types:
        if layer_type in _TYPES:
            raise ValueError(f"layer type {layer_type} has a reader already")
        _TYPES[layer_type] = entry
