"""Reads the mapping file: the dump of an offline model, which says what layers the device can compress."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Discriminator, Field, PlainValidator, Tag
from pydantic_core import PydanticCustomError

from nuqconv.config.files import read_text
from nuqconv.config.json_text import parse_json
from nuqconv.errors import ConfigError
from nuqconv.files.json_model import OpenModel, Text, read_object

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
    problems: list[str] = []
    found = read_object(_Dump, parse_json(read_text(path, "mapping file"), str(path)).value, (), problems)
    if found is None:
        raise ConfigError(
            f"{path}: not a mapping file; expected the JSON dump of an offline model with graph[].op[].attr[]", problems
        )
    return tuple(dict.fromkeys(name for graph in found.graph for operator in graph.op for name in operator.originals()))


def _layer_name(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("expected", "a layer's name")
    return value


class _Flag(OpenModel):
    b: bool = False


class _FlagAttribute(OpenModel):
    key: Text
    value: _Flag = _Flag()


class _NameList(OpenModel):
    s: list[Annotated[str, PlainValidator(_layer_name)]] = Field(default_factory=list)


class _Originals(OpenModel):
    names: Annotated[_NameList, Field(alias="list")] = _NameList()


class _OriginalsAttribute(OpenModel):
    key: Text
    value: _Originals = _Originals()


class _OtherAttribute(OpenModel):
    key: Text = ""


def _attribute_form(value: object) -> str:
    key = value.get("key") if isinstance(value, dict) else None
    return {_COMPRESSED: "<flag>", _ORIGINALS: "<originals>"}.get(key if isinstance(key, str) else "", "<other>")


_Attribute = Annotated[
    Annotated[_FlagAttribute, Tag("<flag>")]
    | Annotated[_OriginalsAttribute, Tag("<originals>")]
    | Annotated[_OtherAttribute, Tag("<other>")],
    Discriminator(_attribute_form),
]


class _Candidate(OpenModel):
    attr: list[_Attribute] = Field(default_factory=list)

    def originals(self) -> list[str]:
        """Returns the names of the original layers; of an attribute that comes twice the last counts."""
        found = [attribute for attribute in self.attr if isinstance(attribute, _OriginalsAttribute)]
        return found[-1].value.names.s if found else []


class _Other(OpenModel):
    # Names of originals do not matter here, whatever they are.
    attr: list[
        Annotated[
            Annotated[_FlagAttribute, Tag("<flag>")] | Annotated[_OtherAttribute, Tag("<other>")],
            Discriminator(lambda value: "<flag>" if _attribute_form(value) == "<flag>" else "<other>"),
        ]
    ] = Field(default_factory=list)

    def originals(self) -> list[str]:
        return []


def _operator_form(value: object) -> str:
    attributes = value.get("attr") if isinstance(value, dict) else None
    flags = [item for item in attributes if _attribute_form(item) == "<flag>"] if isinstance(attributes, list) else []
    flag = flags[-1].get("value") if flags else None
    return "<candidate>" if isinstance(flag, dict) and flag.get("b") is True else "<other>"


class _Graph(OpenModel):
    op: list[
        Annotated[
            Annotated[_Candidate, Tag("<candidate>")] | Annotated[_Other, Tag("<other>")], Discriminator(_operator_form)
        ]
    ] = Field(default_factory=list)


class _Dump(OpenModel):
    graph: list[_Graph] = Field(default_factory=list)
