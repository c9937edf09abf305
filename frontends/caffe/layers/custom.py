"""Layer types that the user has registered, read from their text, so that no schema is needed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import text_encoding

from nuqconv.frontends.caffe.fields import Fields
from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading
from nuqconv.frontends.caffe.prototxt import LayerText
from nuqconv.ir.ops import Custom, CustomDefinition

__all__ = ["CustomReader", "custom_reader", "plain", "register", "unregister"]

_STRING = re.compile(r'"((?:\\.|[^"\\])*)"|\'((?:\\.|[^\'\\])*)\'')
_OCTAL = re.compile(r"-?0[0-7]+")
_OF_EVERY_LAYER = frozenset(("transform_param", "loss_param"))
_KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    dict: "a message",
}


def plain(fields: Fields) -> dict[str, Any]:
    """Returns protobuf text as a plain dict.

    Args:
        fields: The fields of one message.

    Returns:
        Integers, floats, ``true`` and ``false`` as Python's, strings and names of enums as str, messages as dicts; a field that stands there
        several times as a list.
    """
    found: dict[str, list[Any]] = {}
    for item in fields.items:
        value = plain(item.value) if isinstance(item.value, Fields) else _scalar(item.value)
        found.setdefault(item.name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _scalar(text: str) -> Any:
    if text[0] in "\"'":
        parts = [double or single for double, single in _STRING.findall(text)]
        return b"".join(text_encoding.CUnescape(part) for part in parts).decode("utf-8", "surrogateescape")
    if text in ("true", "false"):
        return text == "true"
    if _OCTAL.fullmatch(text):
        return int(text, 8)
    for number in (lambda: int(text, 0), lambda: float(text), lambda: float(text.removesuffix("f"))):
        try:
            return number()
        except ValueError:
            continue
    return text


@dataclass(frozen=True)
class CustomReader:
    """How layers of a registered type are read.

    Attributes:
        definition: The operator's behaviour.
        block: Name of the parameter block; None for the only one that is there.
        fields: For each field its default, or its type if it must be there; None takes any field as it stands.
        blobs: Number of weights, or None for any number.
    """

    definition: CustomDefinition
    block: str | None = None
    fields: Mapping[str, Any] | None = field(default=None)
    blobs: int | None = None

    def read(self, layer: LayerText, stored: int) -> Reading:
        """Reads a layer.

        Args:
            layer: The layer.
            stored: Number of blobs that the weights file holds for it.

        Raises:
            CannotReadError: The block is not as registered.
        """
        values = plain(layer.fields.message(self.name_of_block(layer)))
        if self.fields is not None:
            values = _declared(values, self.fields)
        count = stored if self.blobs is None else self.blobs
        text = json.dumps(values, sort_keys=True)
        return Reading(Custom(self.definition, text, len(layer.message.top)), (None,) * count)

    def name_of_block(self, layer: LayerText) -> str:
        """Returns the name of the layer's parameter block, empty if there is none.

        Raises:
            CannotReadError: There are several, and the registration names none.
        """
        if self.block is not None:
            return self.block
        names = dict.fromkeys(
            item.name
            for item in layer.fields.items
            if item.name.endswith("_param") and item.name not in _OF_EVERY_LAYER and isinstance(item.value, Fields)
        )
        if len(names) > 1:
            raise CannotReadError(f"has {', '.join(names)}; say with block= which of them counts")
        return next(iter(names), "")

    def leftover(self, layer: LayerText) -> list[Any]:
        """Returns the fields unknown to the schema that stand outside of the parameter block."""
        try:
            block = self.name_of_block(layer)
        except CannotReadError:
            block = ""
        return [item for item in layer.unknown if f"{item.path}/{item.name}".lstrip("/").partition("[")[0] != block]


def _declared(values: dict[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [name for name in values if name not in declared]
    if unknown:
        raise CannotReadError(f"field '{unknown[0]}' is none of those registered: {', '.join(declared) or 'none'}")
    found = {}
    for name, default in declared.items():
        if name in values:
            found[name] = _converted(name, values[name], default if isinstance(default, type) else type(default))
        elif isinstance(default, type):
            raise CannotReadError(f"field '{name}' is missing")
        else:
            found[name] = default
    return found


def _converted(name: str, value: Any, kind: type) -> Any:
    if kind is list:
        return value if isinstance(value, list) else [value]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise CannotReadError(f"field '{name}' is {value!r}, expected {_KINDS.get(kind, kind.__name__)}")
    return value


Key = tuple[str, str, str]

_READERS: dict[Key, CustomReader] = {}


def register(key: Key, reader: CustomReader, *, replace: bool = False) -> bool:
    """Registers a reader.

    Args:
        key: Layer type; of a ``Python`` layer also module and layer name, else two empty texts.
        reader: What reads it.
        replace: Whether another one may be replaced.

    Returns:
        Whether it was registered.
    """
    if key in _READERS and not replace:
        return False
    _READERS[key] = reader
    return True


def unregister(key: Key) -> bool:
    """Removes a reader and returns whether there was one."""
    return _READERS.pop(key, None) is not None


def custom_reader(message: Any) -> CustomReader | None:
    """Returns what the user has registered for a layer, or None."""
    python = message.python_param
    exact = (message.type, python.module, python.layer) if message.type == "Python" else (message.type, "", "")
    return _READERS.get(exact)
