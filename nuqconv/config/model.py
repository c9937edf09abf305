"""The quantization configuration as values: what is to happen to each layer, and how activation ranges are searched."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from nuqconv.files.json_model import JsonModel
from nuqconv.files.staging import write_atomically

__all__ = [
    "DEFAULT_BATCH_NUM",
    "FIXED_KEYS",
    "JOINT_QUANT",
    "ActivationParams",
    "ArqParams",
    "HfmgParams",
    "IfmrParams",
    "LayerConfig",
    "NuqParams",
    "QuantConfig",
    "WeightParams",
    "write_config",
]


DEFAULT_BATCH_NUM = 8
"""Batches to calibrate on, wherever nobody says it."""
JOINT_QUANT = "joint_quant: found true; nuqconv gives each layer its own scale; set it to false"

# By default there are 61; each one is tried on every histogram.
_MOST_FACTORS = 10_000


def _exact_integer(value: object) -> object:
    # A Literal compares by equality, and 16.0 == 16 and True == 1.
    if type(value) is not int:
        raise PydanticCustomError("int_type", "Input should be an integer")
    return value


Percentile = Annotated[float, Field(gt=0.5, le=1.0, description="a number above 0.5 and up to 1")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if not 0 < bounds[0] < bounds[1]:
        raise PydanticCustomError("range", "the bounds are not ascending and above 0")
    return bounds


class IfmrParams(JsonModel):
    """Activation range search over scaled percentiles of the data.

    Attributes:
        act_algo: Name of the algorithm.
        max_percentile: Fraction of the data that the range's upper end covers before it is scaled.
        min_percentile: The same for the lower end.
        search_range: Smallest and largest factor that the range is scaled with.
        search_step: Distance of two factors that are tried.
    """

    act_algo: Annotated[Literal["ifmr"], Field(description="'ifmr' or 'hfmg'")] = "ifmr"
    max_percentile: Percentile = 0.999999
    min_percentile: Percentile = 0.999999
    # JSON has no tuples, so the list is taken for one; its items stay strict.
    search_range: Annotated[
        tuple[Finite, Finite],
        Field(strict=False, description="a list [a, b] of numbers with 0 < a < b"),
        AfterValidator(_ascending),
    ] = (0.7, 1.3)
    search_step: Annotated[Finite, Field(gt=0, description="a number above 0 and up to b - a of search_range")] = 0.01

    @model_validator(mode="after")
    def _check_step(self) -> IfmrParams:
        width = self.search_range[1] - self.search_range[0]
        if width / self.search_step > _MOST_FACTORS:
            raise PydanticCustomError(
                "search_step",
                "found {step}, which makes more than {most} factors in search_range {range}; make the step larger",
                {"step": self.search_step, "range": list(self.search_range), "most": _MOST_FACTORS},
            )
        # The bounds are decimal fractions, whose difference is not exact.
        if self.search_step > width * (1 + 1e-9):
            raise PydanticCustomError(
                "search_step",
                "found {step}, wider than search_range {range}; make the step smaller or the range wider",
                {"step": self.search_step, "range": list(self.search_range)},
            )
        return self


class HfmgParams(JsonModel):
    """Activation range search on a histogram; see `nuqconv.quantize.hfmg`.

    Attributes:
        act_algo: Name of the algorithm.
        num_of_bins: Bins of the histogram.
    """

    act_algo: Annotated[Literal["hfmg"], Field(description="'ifmr' or 'hfmg'")] = "hfmg"
    num_of_bins: Annotated[
        Literal[1024, 2048, 4096, 8192],
        BeforeValidator(_exact_integer),
        Field(description="1024, 2048, 4096 or 8192"),
    ] = 4096


class ArqParams(JsonModel):
    """Uniform int8 weights.

    Attributes:
        wts_algo: Name of the algorithm.
        channel_wise: Whether each output channel has a scale of its own; None leaves it to the layer's type.
    """

    wts_algo: Annotated[Literal["arq_quantize"], Field(description="'arq_quantize' or 'nuq_quantize'")] = "arq_quantize"
    channel_wise: Annotated[bool | None, Field(description="true or false")] = None


class NuqParams(JsonModel):
    """Non-uniform weights.

    Attributes:
        wts_algo: Name of the algorithm.
        num_steps: Fewest levels of the int8 grid that the search may go down to.
        num_of_iteration: How often levels and step sizes are fitted again once the weights are on them (decision D9).
    """

    wts_algo: Annotated[Literal["nuq_quantize"], Field(description="'arq_quantize' or 'nuq_quantize'")] = "nuq_quantize"
    num_steps: Annotated[Literal[16, 32], BeforeValidator(_exact_integer), Field(description="16 or 32")] = 32
    num_of_iteration: Annotated[int, Field(ge=0, le=5, description="an integer from 0 to 5")] = 1


def _algorithm(key: str, default: str) -> Discriminator:
    """Tells the parameter sets apart by ``key``; without the key it is ``default``."""

    def tag(value: object) -> str | None:
        if isinstance(value, Mapping):
            found = value.get(key, default)
            # What is no string is left to the default's own field, which refuses it by its key path.
            return found if isinstance(found, str) else default
        found = getattr(value, key, None)
        return found if isinstance(found, str) else None

    return Discriminator(tag)


ActivationParams = Annotated[
    Annotated[IfmrParams, Tag("ifmr")] | Annotated[HfmgParams, Tag("hfmg")], _algorithm("act_algo", "ifmr")
]
WeightParams = Annotated[
    Annotated[ArqParams, Tag("arq_quantize")] | Annotated[NuqParams, Tag("nuq_quantize")],
    _algorithm("wts_algo", "arq_quantize"),
]


class LayerConfig(JsonModel):
    """What is to happen to one layer.

    Attributes:
        quant_enable: Whether the layer is quantized; otherwise it stays float and the parameters have no effect.
        activation_quant_params: How the range of its input is found.
        weight_quant_params: How its weights are quantized; None for a layer without weights.
    """

    quant_enable: Annotated[bool, Field(description="true or false")] = True
    activation_quant_params: Annotated[ActivationParams, Field(description="an object")] = IfmrParams()
    weight_quant_params: Annotated[WeightParams | None, Field(description="an object")] = None

    @property
    def nuq(self) -> NuqParams | None:
        """The NUQ parameters of a layer that is enabled and a NUQ candidate, else None."""
        found = self.weight_quant_params
        return found if self.quant_enable and isinstance(found, NuqParams) else None


class _LayerMap(Mapping[str, LayerConfig]):
    """A mapping that cannot be changed; unlike a mappingproxy it can be hashed, copied and pickled."""

    __slots__ = ("_layers",)

    def __init__(self, layers: Mapping[str, LayerConfig]) -> None:
        self._layers = dict(layers)

    def __getitem__(self, name: str) -> LayerConfig:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __hash__(self) -> int:
        return hash(frozenset(self._layers.items()))

    def __repr__(self) -> str:
        return repr(self._layers)


class QuantConfig(JsonModel):
    """A whole configuration. Layers that it does not name stay float.

    Attributes:
        version: Version of the format.
        batch_num: Batches of data for calibration.
        activation_offset: Whether quantized activations have an offset.
        do_fusion: Whether BatchNorm and Scale are folded into the layer beside them.
        skip_fusion_layers: Layers that are left out of the folding.
        joint_quant: Whether layers that are added share a scale. A valid part of the format that nuqconv does not execute.
        layers: What is to happen to each layer, by its name.
    """

    version: Annotated[Literal[1], BeforeValidator(_exact_integer), Field(description="1")] = 1
    batch_num: Annotated[int, Field(gt=0, le=2**31 - 1, description="an integer above 0")] = DEFAULT_BATCH_NUM
    activation_offset: Annotated[bool, Field(description="true or false")] = True
    do_fusion: Annotated[bool, Field(description="true or false")] = True
    skip_fusion_layers: Annotated[tuple[str, ...], Field(strict=False, description="a list of layer names")] = ()
    joint_quant: Annotated[bool, Field(description="true or false")] = False
    layers: Annotated[Mapping[str, LayerConfig], AfterValidator(_LayerMap)] = Field(
        default_factory=dict, validate_default=True
    )

    @model_validator(mode="after")
    def _check_names(self) -> QuantConfig:
        if taken := [name for name in self.layers if name in FIXED_KEYS]:
            raise PydanticCustomError(
                "fixed_key",
                "layers {names} have names of the format's own keys and cannot be configured; rename them in the model",
                {"names": ", ".join(taken)},
            )
        return self

    @field_serializer("layers")
    def _plain_layers(self, layers: Mapping[str, LayerConfig]) -> dict[str, LayerConfig]:
        return dict(layers)

    def enabled(self) -> tuple[str, ...]:
        """Returns the names of the layers to quantize."""
        return tuple(name for name, layer in self.layers.items() if layer.quant_enable)

    def nuq_layers(self) -> dict[str, NuqParams]:
        """Returns the candidates for non-uniform weights and their parameters."""
        return {name: layer.nuq for name, layer in self.layers.items() if layer.nuq is not None}

    def unsupported(self) -> list[str]:
        """Returns a problem for each valid demand that nuqconv cannot execute."""
        return [JOINT_QUANT] if self.joint_quant else []

    def to_json(self) -> str:
        """Returns the configuration as JSON: the fixed keys, then one key for each layer, in the order of ``layers``."""
        tree: dict[str, Any] = self.model_dump(mode="json", exclude={"layers"})
        for name, layer in self.layers.items():
            tree[name] = layer.model_dump(mode="json", exclude_none=True)
        return json.dumps(tree, indent=2, allow_nan=False) + "\n"


def write_config(config: QuantConfig, path: str | os.PathLike[str]) -> None:
    """Writes a configuration as JSON, whole or not at all.

    Args:
        config: The configuration.
        path: The file.

    Raises:
        OutputError: It cannot be written; what stood there before is as it was.
    """
    write_atomically(path, config.to_json())


# A layer of such a name cannot have an entry of its own, since the entries are keyed beside these.
FIXED_KEYS = tuple(name for name in QuantConfig.model_fields if name != "layers")
