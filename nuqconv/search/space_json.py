"""A search space as JSON, for journals: every number comes back to the bit."""

from __future__ import annotations

import json
from typing import Any

from nuqconv.errors import FormatError, NuqconvError
from nuqconv.quantize.plan import LayerPlan
from nuqconv.search.space import LayerSpace, Option, SearchSpace

__all__ = ["space_from_object", "space_to_object"]


def space_to_object(space: SearchSpace) -> list[dict[str, Any]]:
    """Return a space as objects that `json` writes; equal spaces give equal text."""
    return [
        {
            "name": layer.name,
            "float_bytes": layer.float_bytes,
            "options": [
                {"plan": option.layer_plan.to_dict(), "bytes": option.bytes, "loss": option.loss}
                for option in layer.options
            ],
        }
        for layer in space.layers
    ]


def space_from_object(value: object) -> SearchSpace:
    """Read what `space_to_object` returned, from a file that may be damaged.

    Raises:
        FormatError: The value is no search space.
    """
    try:
        return SearchSpace(tuple(_layer(item, f"layers[{index}]") for index, item in enumerate(_list(value, "layers"))))
    except FormatError:
        raise
    except NuqconvError as error:
        raise FormatError(f"the stored search space is damaged: {error}") from error


def _layer(value: object, path: str) -> LayerSpace:
    item = _fields(value, path, {"name", "float_bytes", "options"})
    name = item["name"]
    if not isinstance(name, str):
        raise FormatError(f"{path}.name: expected a text, found {name!r:.60}; the stored search space is damaged")
    options = tuple(
        _option(option, f"{path}.options[{index}]")
        for index, option in enumerate(_list(item["options"], f"{path}.options"))
    )
    return LayerSpace(name, options, _number(item["float_bytes"], f"{path}.float_bytes"))


def _option(value: object, path: str) -> Option:
    item = _fields(value, path, {"plan", "bytes", "loss"})
    plan = LayerPlan.from_dict(item["plan"], f"{path}.plan")
    return Option(plan, _number(item["bytes"], f"{path}.bytes"), _number(item["loss"], f"{path}.loss"))


def _fields(value: object, path: str, names: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != names:
        found = sorted(value) if isinstance(value, dict) else json.dumps(value, default=repr)[:60]
        raise FormatError(f"{path}: expected {sorted(names)}, found {found}; the stored search space is damaged")
    return value


def _list(value: object, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise FormatError(f"{path}: expected a list, found {value!r:.60}; the stored search space is damaged")
    return value


def _number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FormatError(f"{path}: expected a number, found {value!r:.60}; the stored search space is damaged")
    return value
