"""The plan: what happens to each layer. A candidate of the search is a plan, and everything written is a function of graph and plan.

A plan is a small immutable value: hashable, comparable, and its JSON text is deterministic and gives the same plan back.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from nuqconv.errors import ConfigError, NuqconvError, QuantizationError
from nuqconv.files.json_model import JsonModel, Text, problem, read_object
from nuqconv.files.safe_json import parse
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.rounding import INT8_MAX, INT8_MIN

__all__ = ["LayerPlan", "LayerPlanJson", "Plan", "Precision"]

_VERSION = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Precision(str, Enum):
    """How a layer's weights are kept."""

    FLOAT = "float"
    INT8 = "int8"
    NUQ = "nuq"


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """What happens to one layer.

    Attributes:
        precision: How the weights are kept.
        codebook: The levels of a NUQ layer: strictly ascending integers in [-128, 127], at least one and at most `num_steps`; None for
            the other precisions.
        num_steps: Largest number of levels of a NUQ layer, 1 to 256; None for the others.
        activation: Quantizer of the layer's input; None leaves the input in float (only the weights are quantized).
        channel_wise: Whether each output channel has a weight scale of its own.
        weights: Name of the integers that the layer takes (`QuantizedWeights.digest`) where calibration has chosen them; None for those
            that follow from the float weights: rounded, and moved to the nearest level of the codebook.

    Raises:
        QuantizationError: The fields do not fit together, are of the wrong type or out of range.
    """

    precision: Precision
    codebook: tuple[int, ...] | None = None
    num_steps: int | None = None
    activation: ActivationQuant | None = None
    channel_wise: bool = True
    weights: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.precision, Precision):
            raise QuantizationError(f"precision must be a Precision, found {self.precision!r}")
        if type(self.channel_wise) is not bool:
            raise QuantizationError(f"channel_wise must be true or false, found {self.channel_wise!r}")
        if self.activation is not None and not isinstance(self.activation, ActivationQuant):
            raise QuantizationError(f"activation must be an ActivationQuant or None, found {self.activation!r}")
        if self.precision is Precision.FLOAT and self.activation is not None:
            raise QuantizationError("a float layer has no activation quantizer; set activation to None")
        if self.weights is not None and (type(self.weights) is not str or not _DIGEST.fullmatch(self.weights)):
            raise QuantizationError(f"weights must be a SHA-256 in hexadecimal or None, found {self.weights!r:.80}")
        if self.precision is Precision.FLOAT and self.weights is not None:
            raise QuantizationError("a float layer has no integers; set weights to None")
        if self.precision is Precision.NUQ:
            self._check_codebook()
        elif self.codebook is not None or self.num_steps is not None:
            raise QuantizationError(
                f"codebook and num_steps belong to a nuq layer, not to {self.precision.value}; leave them out"
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns what stands for this layer in JSON; ``weights`` is left out where it is None."""
        activation = self.activation
        return {
            "precision": self.precision.value,
            "channel_wise": self.channel_wise,
            "num_steps": self.num_steps,
            "codebook": None if self.codebook is None else list(self.codebook),
            "activation": None if activation is None else {"scale": activation.scale, "offset": activation.offset},
            **({} if self.weights is None else {"weights": self.weights}),
        }

    @classmethod
    def from_dict(cls, value: object, path: str) -> LayerPlan:
        """Read what `to_dict` returned.

        Args:
            value: The value from JSON.
            path: Where it stands, for messages.

        Raises:
            ConfigError: The value is no layer's plan; all faults are listed.
        """
        problems: list[str] = []
        found: LayerPlan | None = read_object(_LAYER, value, (path,), problems)
        if found is None:
            raise ConfigError("the plan of a layer is not valid", problems)
        return found

    def _check_codebook(self) -> None:
        if type(self.num_steps) is not int or not 1 <= self.num_steps <= 256:
            raise QuantizationError(
                f"num_steps of a nuq layer must be an integer in [1, 256], found {self.num_steps!r}"
            )
        book = self.codebook
        if type(book) is not tuple or not book or any(type(level) is not int for level in book):
            raise QuantizationError(f"the codebook of a nuq layer must be a tuple of integers, found {book!r}")
        if len(book) > self.num_steps:
            raise QuantizationError(f"the codebook has {len(book)} levels, more than num_steps {self.num_steps}")
        if book[0] < INT8_MIN or book[-1] > INT8_MAX or any(a >= b for a, b in pairwise(book)):
            raise QuantizationError(
                f"the codebook must be strictly ascending in [{INT8_MIN}, {INT8_MAX}], found {list(book)}; sort it and drop repeats"
            )


@dataclass(frozen=True, slots=True)
class Plan(Mapping[str, LayerPlan]):
    """What happens to each layer of a model, in the model's order.

    A mapping from layer names to their plans that cannot be changed. Two plans are equal if they hold the same layers in the same order.

    Attributes:
        layers: Pairs of layer name and plan, each name once.

    Raises:
        QuantizationError: A name comes twice, or a pair is of the wrong type.
    """

    layers: tuple[tuple[str, LayerPlan], ...] = ()
    _index: dict[str, LayerPlan] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if type(self.layers) is not tuple:
            raise QuantizationError(
                f"the layers of a plan must be a tuple of pairs, found {type(self.layers).__name__}"
            )
        index: dict[str, LayerPlan] = {}
        for name, layer_plan in self.layers:
            if not isinstance(name, str) or not isinstance(layer_plan, LayerPlan):
                raise QuantizationError(f"a plan holds pairs of name and LayerPlan, found {name!r}: {layer_plan!r}")
            if name in index:
                raise QuantizationError(f"layer {name!r} comes twice in the plan; give each layer once")
            index[name] = layer_plan
        object.__setattr__(self, "_index", index)

    def __repr__(self) -> str:
        counts = Counter(layer_plan.precision.value for _, layer_plan in self.layers)
        forms = ", ".join(f"{counts[precision.value]} {precision.value}" for precision in reversed(Precision))
        return f"<Plan of {len(self.layers)} layers: {forms}>"

    @classmethod
    def of(cls, layers: Mapping[str, LayerPlan] | Iterable[tuple[str, LayerPlan]]) -> Plan:
        """Build a plan from a mapping or from pairs, in their order."""
        pairs = layers.items() if isinstance(layers, Mapping) else layers
        return cls(tuple((name, layer_plan) for name, layer_plan in pairs))

    def __getitem__(self, name: str) -> LayerPlan:
        return self._index[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self.layers)

    def replace(self, name: str, layer_plan: LayerPlan) -> Plan:
        """Returns this plan with one layer's plan exchanged.

        Raises:
            QuantizationError: The plan has no such layer.
        """
        return self.with_layers({name: layer_plan})

    def with_layers(self, layers: Mapping[str, LayerPlan]) -> Plan:
        """Returns this plan with the plans of some layers exchanged; the order stays.

        Raises:
            QuantizationError: The plan lacks some of the layers; all are named.
        """
        unknown = [name for name in layers if name not in self._index]
        if unknown:
            raise QuantizationError(
                "the plan has no such layers; use Plan.of to make a plan with more", map(repr, unknown)
            )
        return Plan(tuple((name, layers.get(name, layer_plan)) for name, layer_plan in self.layers))

    def to_json(self) -> str:
        """Returns the plan as JSON, ASCII on one line; equal plans give equal text, and floats keep every bit."""
        layers = {name: item.to_dict() for name, item in self.layers}
        return json.dumps({"version": _VERSION, "layers": layers}, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: The text is no JSON or no plan; each problem names its key path.
        """
        try:
            document = parse(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"the plan is not valid JSON: {error}") from error
        problems: list[str] = []
        found = read_object(_PlanJson, document, (), problems)
        if found is None:
            raise ConfigError("the plan is not valid; write it with Plan.to_json", problems)
        return cls.of(cast("dict[str, LayerPlan]", found.layers))

    def digest(self) -> str:
        """Returns the SHA-256 of `to_json` in hexadecimal, a name for this plan in journals and caches."""
        return hashlib.sha256(self.to_json().encode("ascii")).hexdigest()


class _ActivationJson(JsonModel):
    scale: float
    offset: int

    @model_validator(mode="after")
    def _check(self) -> _ActivationJson:
        self.quantizer()
        return self

    def quantizer(self) -> ActivationQuant:
        try:
            return ActivationQuant(self.scale, self.offset)
        except NuqconvError as error:
            raise problem(error) from error


class _LayerJson(JsonModel):
    precision: Literal["float", "int8", "nuq"]
    channel_wise: bool
    num_steps: int | None
    codebook: list[int] | None
    activation: _ActivationJson | None
    weights: str | None = None

    def layer_plan(self) -> LayerPlan:
        try:
            return LayerPlan(
                precision=Precision(self.precision),
                codebook=None if self.codebook is None else tuple(self.codebook),
                num_steps=self.num_steps,
                activation=None if self.activation is None else self.activation.quantizer(),
                channel_wise=self.channel_wise,
                weights=self.weights,
            )
        except NuqconvError as error:
            raise problem(error) from error


LayerPlanJson = Annotated[_LayerJson, AfterValidator(_LayerJson.layer_plan)]
"""A layer's plan in a JSON file, for models that hold one; what is read is a `LayerPlan`."""


def _is_version(value: object) -> object:
    # 1.0 and true equal 1.
    if type(value) is not int or value != _VERSION:
        raise PydanticCustomError("expected", "{version}", {"version": str(_VERSION)})
    return value


class _PlanJson(JsonModel):
    version: Annotated[int, BeforeValidator(_is_version)]
    layers: dict[Text, LayerPlanJson]


_LAYER: TypeAdapter[Any] = TypeAdapter(LayerPlanJson)
