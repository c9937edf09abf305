"""Puts what pydantic finds into the words of the configuration's user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from nuqconv.config.editions import edition_hint
from nuqconv.config.json_text import KeyPath
from nuqconv.config.layers import suggestion
from nuqconv.config.model import ArqParams, HfmgParams, IfmrParams, LayerConfig, NuqParams, QuantConfig
from nuqconv.files.json_model import shown

__all__ = ["explain"]

_ALGORITHMS: Mapping[str, tuple[str, Mapping[str, type[BaseModel]]]] = {
    "activation_quant_params": ("act_algo", {"ifmr": IfmrParams, "hfmg": HfmgParams}),
    "weight_quant_params": ("wts_algo", {"arq_quantize": ArqParams, "nuq_quantize": NuqParams}),
}
_EXPECTED: Mapping[str, str] = {
    name: field.description
    for model in (QuantConfig, LayerConfig, IfmrParams, HfmgParams, ArqParams, NuqParams)
    for name, field in model.model_fields.items()
    if field.description is not None
}


def explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[KeyPath, str]]:
    """Returns the key path and the text of each problem.

    Args:
        error: What validation of ``model`` raised.
        model: LayerConfig, QuantConfig or one of the parameter sets.
    """
    return [_explain(found, model) for found in error.errors(include_url=False)]


def _explain(found: Mapping[str, Any], model: type[BaseModel]) -> tuple[KeyPath, str]:
    path: KeyPath = found["loc"]
    kind: str = found["type"]
    if model is LayerConfig and path and path[0] in _ALGORITHMS:
        key, choices = _ALGORITHMS[str(path[0])]
        if len(path) > 1:
            # pydantic puts the name of the algorithm between the keys.
            model, path = choices[str(path[1])], (path[0], *path[2:])
        elif kind == "union_tag_invalid":
            value = found["input"][key]
            hint = edition_hint(value)
            return (*path, key), f"found {shown(value)}; expected {' or '.join(repr(name) for name in choices)}{hint}"
    if kind == "extra_forbidden":
        return path, _unknown_key(str(path[-1]), model)
    if kind == "search_step":
        return (*path, "search_step"), str(found["msg"])
    if kind == "fixed_key":
        return path, str(found["msg"])
    return path, f"found {shown(found['input'])}; expected {_expected(path, kind)}"


def _expected(path: KeyPath, kind: str) -> str:
    if kind in {"model_type", "model_attributes_type", "union_tag_not_found"}:
        return "an object"
    if kind == "less_than_equal" and path == ("batch_num",):
        return "an integer up to 2147483647"
    named = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
    if kind == "string_unicode" and named not in _EXPECTED:
        # pydantic tells the object that has the key, and the key as if it were its value.
        return "keys that are text, without halves of surrogate pairs"
    return _EXPECTED[named]


def _unknown_key(key: str, model: type[BaseModel]) -> str:
    for algorithm_key, choices in _ALGORITHMS.values():
        if model in choices.values():
            for name, other in choices.items():
                if key in other.model_fields:
                    own = next(name for name, choice in choices.items() if choice is model)
                    return (
                        f"belongs to {algorithm_key} {name!r}, but this is {own!r}; remove it or change {algorithm_key}"
                    )
    known = list(model.model_fields)
    return f"unknown key{edition_hint(key) or suggestion(key, known)}; known keys are {', '.join(known)}"
