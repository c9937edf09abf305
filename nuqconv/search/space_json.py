"""A search space as JSON, for journals: every number comes back to the bit."""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import AfterValidator, TypeAdapter

from nuqconv.errors import FormatError, NuqconvError
from nuqconv.files.json_model import JsonModel, Number, Text, problem, read_object
from nuqconv.quantize.plan import LayerPlan, LayerPlanJson
from nuqconv.search.space import LayerSpace, Option, SearchSpace

__all__ = ["space_from_object", "space_to_object"]


def space_to_object(space: SearchSpace) -> list[dict[str, Any]]:
    """Returns a space as objects that `json` writes; equal spaces give equal text."""
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
    problems: list[str] = []
    found: list[LayerSpace] | None = read_object(_LAYERS, value, ("layers",), problems)
    if found is None:
        raise FormatError("the stored search space is damaged", problems)
    try:
        return SearchSpace(tuple(found))
    except NuqconvError as error:
        raise FormatError(f"the stored search space is damaged: {error}") from error


class _OptionJson(JsonModel):
    plan: LayerPlanJson
    bytes: Number
    loss: Number


class _LayerJson(JsonModel):
    name: Text
    float_bytes: Number
    options: list[_OptionJson]

    def layer_space(self) -> LayerSpace:
        # What was read for a plan is one: the validator of its JSON makes it.
        options = tuple(Option(cast("LayerPlan", item.plan), item.bytes, item.loss) for item in self.options)
        try:
            return LayerSpace(self.name, options, self.float_bytes)
        except NuqconvError as error:
            raise problem(error) from error


_LAYERS: TypeAdapter[Any] = TypeAdapter(list[Annotated[_LayerJson, AfterValidator(_LayerJson.layer_space)]])
