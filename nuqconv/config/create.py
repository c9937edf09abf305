"""Makes the quantization configuration for a model."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nuqconv.config.device import DeviceRule
from nuqconv.config.layers import LAYER_TYPES, LayerFacts, index_layers, suggestion
from nuqconv.config.mapping import read_mapping
from nuqconv.config.model import (
    DEFAULT_BATCH_NUM,
    FIXED_KEYS,
    JOINT_QUANT,
    ArqParams,
    IfmrParams,
    LayerConfig,
    NuqParams,
    QuantConfig,
    WeightParams,
)
from nuqconv.config.problems import explain
from nuqconv.config.simplified import Definition, NuqRequest, Settings, read_definition
from nuqconv.errors import ConfigError
from nuqconv.files.json_model import key_path

__all__ = ["make_config"]

# Where so much is wrong, it is the wrong file.
_MOST_GUESSES = 100

_LOG = logging.getLogger(__name__)

# As deep as the search may go, since nobody has set a bound.
_UNBOUND = Definition(nuq=NuqRequest(NuqParams(num_steps=16)))


def make_config(
    layers: Sequence[LayerFacts],
    *,
    skip_layers: Sequence[str] | None = None,
    batch_num: int = DEFAULT_BATCH_NUM,
    activation_offset: bool = True,
    definition: str | os.PathLike[str] | None = None,
    device_rule: DeviceRule | float | None = None,
) -> QuantConfig:
    """Returns the configuration for a model.

    Without a definition every NUQ-capable layer is a candidate with ``num_steps`` 16, and every other quantizable layer uniform.

    With one, weights are uniform except where it says ``nuq_quantize``. For weights and for activations each, what it says of a layer goes
    before what it says of the layer's type, then its nuq_config (for the candidates that this chooses), then its common_config. Of a
    type or of all layers, ``nuq_quantize`` and ``channel_wise`` concern those layers that can have them. An override for a layer
    brings it back from ``skip_layer_types``, but not from ``skip_layers``.

    Args:
        layers: Facts of all layers of the model as it was written, before folding.
        skip_layers: Layers that stay float, besides those that the definition skips.
        batch_num: Batches of data for calibration, unless the definition says it.
        activation_offset: Whether quantized activations have an offset, unless the definition says it.
        definition: The simplified configuration, a file of protobuf text.
        device_rule: Takes as candidates only what the device would compress: the rule, or the ``ddr_rate`` for one. A device_rule of the
            definition goes before it.

    Returns:
        A configuration that names every quantizable layer, in the model's order; skipped layers have ``quant_enable`` false.

    Raises:
        ConfigError: The definition or its mapping file cannot be read, or with all problems of the arguments and the definition.
    """
    facts = index_layers(layers)
    problems: list[str] = []
    said = _UNBOUND if definition is None else read_definition(definition, problems)
    maker = _Maker(facts, said, problems)
    maker.choose(device_rule)
    maker.skip(skip_layers)
    header = {"batch_num": batch_num, "activation_offset": activation_offset, **said.header}
    config = maker.config(header)
    if config is None:
        source = "the arguments are" if definition is None else f"{Path(definition)}: the simplified configuration is"
        raise ConfigError(f"{source} wrong for this model", problems)
    return config


class _Maker:
    """Applies a definition to a model while problems are gathered."""

    def __init__(self, facts: Mapping[str, LayerFacts], said: Definition, problems: list[str]) -> None:
        self._facts = facts
        self._said = said
        self._problems = problems
        self._candidates: frozenset[str] = frozenset()
        self._skipped: frozenset[str] = frozenset()

    def choose(self, device_rule: DeviceRule | float | None) -> None:
        """Chooses the candidates of nuq_config."""
        request = self._said.nuq
        if device_rule is not None:
            request = self._with_rule(request, device_rule)
        if request is None:
            return
        capable = [layer.name for layer in self._facts.values() if layer.nuq_capable]
        chosen: Iterable[str] = capable
        chooser = ""
        try:
            if request.mapping_file is not None:
                chosen, chooser = read_mapping(request.mapping_file), f"mapping_file {request.mapping_file}"
            elif request.rule is not None:
                chosen, chooser = request.rule.select(self._facts.values()), f"device_rule {request.rule.ddr_rate}"
        except ConfigError as error:
            self._problems.append(f"nuq_config: {error}")
            return
        self._candidates = frozenset(chosen) & frozenset(capable)
        if chooser and not self._candidates:
            self._problems.append(
                f"nuq_config: {chooser} chooses none of the {len(capable)} NUQ-capable layers of this model; "
                "check that it belongs to this model, or leave nuq_config out for uniform weights"
            )

    def _with_rule(self, request: NuqRequest | None, device_rule: DeviceRule | float) -> NuqRequest | None:
        if request is None:
            self._problems.append(
                "device_rule: chooses the candidates of nuq_config, which the definition does not have; "
                "add nuq_config {} or leave device_rule out"
            )
        elif request.mapping_file is not None:
            self._problems.append(
                "device_rule: the definition's mapping_file chooses the candidates already; leave one of them out"
            )
        elif request.rule is None:
            try:
                rule = device_rule if isinstance(device_rule, DeviceRule) else DeviceRule(device_rule)
            except ConfigError as error:
                self._problems.append(str(error))
            else:
                return replace(request, rule=rule)
        return request

    def skip(self, argument: Sequence[str] | None) -> None:
        """Notes what stays float, and checks every name that the definition holds."""
        said = self._said
        if isinstance(argument, str):
            self._problems.append(f"skip_layers: found the text {argument!r}; expected a list of layer names")
            argument = ()
        for name in argument or ():
            self._known(f"skip_layers: {name!r}", name)
        for key, names in (("skip_layers", said.skip_layers), ("skip_fusion_layers", self._fusion())):
            for name in names:
                self._known(said.place(f"{key}: {name!r}", key, name), name)
        for name in said.skip_layer_types:
            self._known_type(said.place(f"skip_layer_types: {name!r}", "skip_layer_types", name), name)
        for name, settings in said.types.items():
            self._check_type(name, settings)
        for name, settings in said.layers.items():
            self._check_layer(name, settings)
        by_type = (
            layer.name
            for layer in self._facts.values()
            if layer.type in said.skip_layer_types and layer.name not in said.layers
        )
        self._skipped = frozenset((*(argument or ()), *said.skip_layers, *by_type))

    def _fusion(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self._said.header.get("skip_fusion_layers", ())
        return names

    def _known(self, place: str, name: str) -> bool:
        if name not in self._facts:
            hint = suggestion(str(name), self._facts) if len(self._problems) < _MOST_GUESSES else ""
            self._problems.append(f"{place}: the model has no layer of this name{hint}")
        return name in self._facts

    def _known_type(self, place: str, name: str) -> bool:
        if name not in LAYER_TYPES:
            hint = suggestion(name, LAYER_TYPES) or f"; expected one of {', '.join(LAYER_TYPES)}"
            self._problems.append(f"{place}: not a layer type that can be quantized{hint}")
        return name in LAYER_TYPES

    def _check_type(self, name: str, settings: Settings) -> None:
        place = self._said.place(settings.where, "layer_type", name)
        if not self._known_type(place, name):
            return
        if name in self._said.skip_layer_types:
            self._problems.append(f"{place}: type {name} is in skip_layer_types too; keep one of them")
        # What no layer of the type can have; a single layer's own faults do not matter where the type is spoken of.
        able = name in {"Convolution", "InnerProduct"}
        self._check_weights(place, LayerFacts(name, name, quantizable=True, nuq_capable=able), settings.weights)

    def _check_layer(self, name: str, settings: Settings) -> None:
        place = self._said.place(settings.where, "layer_name", name)
        if not self._known(f"{place}: {name!r}", name):
            return
        layer = self._facts[name]
        if name in self._said.skip_layers:
            self._problems.append(f"{place}: layer {name!r} is in skip_layers too; keep one of them")
        if not layer.quantizable:
            text = f"{layer.type} layer {name!r} cannot be quantized{layer.why_not}; remove its override"
            self._problems.append(f"{place}: {text}")
            return
        self._check_weights(place, layer, settings.weights)

    def _check_weights(self, place: str, layer: LayerFacts, weights: WeightParams | None) -> None:
        what = f"type {layer.type}" if layer.name == layer.type else f"{layer.type} layer {layer.name!r}"
        if weights is None:
            return
        if not layer.has_weights:
            # The published sample has arq_quantize { channel_wise: false } there, which means nothing.
            if not isinstance(weights, ArqParams):
                self._problems.append(f"{place}: {what} has no weights; give it ifmr_quantize only")
            elif weights.channel_wise:
                self._problems.append(f"{place}.arq_quantize.channel_wise: {what} has no weights; set it to false")
        elif isinstance(weights, NuqParams) and not layer.nuq_capable:
            text = f"{what} cannot be quantized non-uniformly{layer.why_not}; use arq_quantize"
            self._problems.append(f"{place}.nuq_quantize: {text}")
        elif isinstance(weights, ArqParams) and weights.channel_wise and not layer.channel_wise:
            self._problems.append(f"{place}.arq_quantize.channel_wise: {what} has one weight scale; set it to false")

    def config(self, header: Mapping[str, Any]) -> QuantConfig | None:
        """Returns the configuration, or None if there are problems."""
        entries: dict[str, LayerConfig] = {}
        for name, layer in self._facts.items():
            if not layer.quantizable:
                continue
            if name not in FIXED_KEYS:
                entries[name] = self._entry(layer)
            elif name not in self._skipped:
                self._problems.append(
                    f"{name}: a {layer.type} layer has the name of one of the format's own keys and cannot have an "
                    "entry; put it in skip_layers or rename it in the model"
                )
        if header.get("joint_quant"):
            self._problems.append(JOINT_QUANT)
        try:
            config = QuantConfig.model_validate({**header, "layers": entries})
        except ValidationError as error:
            self._problems.extend(f"{key_path(path)}: {text}" for path, text in explain(error, QuantConfig))
            return None
        return None if self._problems else config

    def _entry(self, layer: LayerFacts) -> LayerConfig:
        said = self._said
        sources = (*self._special(layer), said.common)
        activation = next(
            (item.activation for item in sources if item is not None and item.activation is not None), None
        )
        return LayerConfig(
            quant_enable=layer.name not in self._skipped,
            activation_quant_params=activation or IfmrParams(),
            weight_quant_params=self._weights(layer) if layer.has_weights else None,
        )

    def _special(self, layer: LayerFacts) -> tuple[Settings | None, ...]:
        said = self._said
        return said.layers.get(layer.name), said.types.get(layer.type), said.old_types.get(layer.type)

    def _weights(self, layer: LayerFacts) -> WeightParams:
        said = self._said
        found = next(
            (item.weights for item in self._special(layer) if item is not None and item.weights is not None), None
        )
        if found is None and layer.name in self._candidates and said.nuq is not None:
            found = said.nuq.params
        found = found or said.common.weights or ArqParams()
        if isinstance(found, NuqParams):
            if layer.nuq_capable:
                return found
            _LOG.info(
                "layer %s cannot be quantized non-uniformly%s and gets uniform weights", layer.name, layer.why_not
            )
            found = ArqParams()
        return ArqParams(channel_wise=layer.channel_wise and found.channel_wise is not False)
