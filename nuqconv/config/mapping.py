"""Reads the mapping file: the dump of an offline model, which says what layers the device can compress."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from nuqconv.config.files import read_text
from nuqconv.config.json_text import parse_json
from nuqconv.config.problems import shown
from nuqconv.errors import ConfigError

__all__ = ["read_mapping"]

_COMPRESSED = "_fe_weight_compress"
_ORIGINALS = "_datadump_original_op_names"


def read_mapping(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Returns the names of the original layers that were fused into compressible operators.

    Absent fields and unknown keys are ignored; an operator without original names adds none.

    Args:
        path: The JSON file.

    Returns:
        Each name once, in the file's order. Not all are layers of the Caffe model.

    Raises:
        ConfigError: The file cannot be read, is no JSON, or a field is of the wrong type.
    """
    reader = _Reader()
    names = list(reader.names(parse_json(read_text(path, "mapping file"), str(path)).value))
    if reader.problems:
        raise ConfigError(
            f"{path}: not a mapping file; expected the JSON dump of an offline model with graph[].op[].attr[]",
            reader.problems,
        )
    return tuple(dict.fromkeys(names))


class _Reader:
    def __init__(self) -> None:
        self.problems: list[str] = []

    def names(self, tree: object) -> Iterator[str]:
        root = self._object(tree, "top level")
        for graph, graph_path in self._objects(root, "graph", "graph"):
            for op, op_path in self._objects(graph, "op", f"{graph_path}.op"):
                attributes = dict(self._attributes(op, op_path))
                if _COMPRESSED in attributes and self._is_set(*attributes[_COMPRESSED]):
                    yield from self._strings(*attributes.get(_ORIGINALS, ({}, "")))

    def _attributes(self, op: dict[str, Any], op_path: str) -> Iterator[tuple[str, tuple[dict[str, Any], str]]]:
        for attr, path in self._objects(op, "attr", f"{op_path}.attr"):
            key = attr.get("key", "")
            if not isinstance(key, str):
                self._problem(f"{path}.key", key, "a text")
            elif key in {_COMPRESSED, _ORIGINALS}:
                yield attr["key"], (self._object(attr.get("value", {}), f"{path}.value"), f"{path}.value")

    def _is_set(self, value: dict[str, Any], path: str) -> bool:
        found = value.get("b", False)
        if not isinstance(found, bool):
            self._problem(f"{path}.b", found, "true or false")
        return found is True

    def _strings(self, value: dict[str, Any], path: str) -> Iterator[str]:
        items = self._list(self._object(value.get("list", {}), f"{path}.list"), "s", f"{path}.list.s")
        for index, item in enumerate(items):
            if isinstance(item, str):
                yield item
            else:
                self._problem(f"{path}.list.s[{index}]", item, "a layer's name")

    def _objects(self, parent: dict[str, Any], key: str, path: str) -> Iterator[tuple[dict[str, Any], str]]:
        for index, item in enumerate(self._list(parent, key, path)):
            yield self._object(item, f"{path}[{index}]"), f"{path}[{index}]"

    def _list(self, parent: dict[str, Any], key: str, path: str) -> list[Any]:
        found = parent.get(key, [])
        if isinstance(found, list):
            return found
        self._problem(path, found, "a list")
        return []

    def _object(self, found: object, path: str) -> dict[str, Any]:
        if isinstance(found, dict):
            return found
        self._problem(path, found, "an object")
        return {}

    def _problem(self, path: str, found: object, expected: str) -> None:
        self.problems.append(f"{path}: found {shown(found)}; expected {expected}")
