"""What a JSON file has to hold, as pydantic models, and what is wrong with one, in the words of its user."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, PlainValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

__all__ = ["JsonModel", "Number", "OpenModel", "Text", "key_path", "problem", "read_object", "shown"]

_T = TypeVar("_T")

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "float_type": "a number",
    "int_type": "an integer",
    "list_type": "a list",
    "model_type": "an object",
    "none_required": "null",
    "string_type": "a text",
    "string_unicode": "a text without halves of surrogate pairs",
}


class JsonModel(BaseModel):
    """An object with exactly these keys; nothing is taken for what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class OpenModel(BaseModel):
    """An object of somebody else's format, whose other keys do not matter here."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


def _text(value: object) -> str:
    # Not pydantic's own: names of files may hold half a surrogate pair, which stands for a byte that is no text.
    if not isinstance(value, str):
        raise PydanticCustomError("expected", "a text")
    return value


def _number(value: object) -> float:
    # As it is: an integer stays one, so that it is written as it was.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PydanticCustomError("expected", "a number")
    try:
        float(value)
    except OverflowError:
        raise PydanticCustomError("expected", "a number that a double can hold") from None
    return value


Text = Annotated[str, PlainValidator(_text)]
Number = Annotated[float, PlainValidator(_number)]


def problem(text: object) -> PydanticCustomError:
    """Returns what a validator raises to say a problem in its own words."""
    return PydanticCustomError("problem", "{text}", {"text": str(text)})


def shown(value: object) -> str:
    """Returns a found value as JSON writes it, cut short when it is long."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."


def key_path(path: Iterable[str | int]) -> str:
    """Returns ``conv1.activation_quant_params.search_range[0]`` for the path of that value."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_object(
    model: type[_T] | TypeAdapter[_T], value: object, root: tuple[str | int, ...], problems: list[str]
) -> _T | None:
    """Reads a value from JSON.

    Args:
        model: What it has to be.
        value: The value.
        root: Where it stands.
        problems: What is wrong is appended here, one line each with the key's path.

    Returns:
        The value as the model's; None where it is wrong.
    """
    adapter: TypeAdapter[_T] = model if isinstance(model, TypeAdapter) else TypeAdapter(model)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        problems += _lines(error, root)
        return None


def _lines(error: ValidationError, root: tuple[str | int, ...]) -> list[str]:
    lines = []
    for found in error.errors(include_url=False):
        path = key_path((*root, *(part for part in found["loc"] if not _is_mark(part)))) or "top level"
        lines.append(f"{path}: {_said(found)}")
    return lines


def _is_mark(part: str | int) -> bool:
    """Returns whether a part of a path is pydantic's mark for a key that is wrong itself, or a model's tag for one of several forms."""
    return part == "[key]" or (isinstance(part, str) and part.startswith("<") and part.endswith(">"))


def _said(found: Any) -> str:
    kind = found["type"]
    if kind in ("problem", "missing", "extra_forbidden"):
        return {"missing": "missing", "extra_forbidden": "unknown key"}.get(kind) or str(found["msg"])
    if kind == "expected":
        expected = found["msg"]
    elif kind in ("literal_error", "enum"):
        expected = found["ctx"]["expected"]
    else:
        expected = _EXPECTED.get(kind, found["msg"])
    return f"found {shown(found['input'])}; expected {expected}"
