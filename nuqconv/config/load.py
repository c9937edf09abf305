"""Reads a quantization configuration and holds it against the model that it is for; all faults are reported at once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from nuqconv.config.editions import edition_hint
from nuqconv.config.files import read_text
from nuqconv.config.json_text import JsonDocument, Problem, listed, parse_json
from nuqconv.config.layers import LayerFacts, index_layers, suggestion
from nuqconv.config.model import FIXED_KEYS, ArqParams, LayerConfig, NuqParams, QuantConfig, WeightParams
from nuqconv.config.problems import explain
from nuqconv.errors import ConfigError
from nuqconv.files.json_model import shown

__all__ = ["load_config", "parse_config", "resolve_config"]

# Where so much is wrong, it is the wrong file.
_MOST_GUESSES = 100


def parse_config(text: str, source: str = "<text>") -> QuantConfig:
    """Parses a configuration by its format alone.

    Args:
        text: The JSON text.
        source: Its file, for messages.

    Returns:
        The configuration. A layer without ``weight_quant_params`` has None there, since its type is not known here.

    Raises:
        ConfigError: With all problems of the text.
    """
    draft = _Draft(parse_json(text, source))
    return draft.finish(source)


def load_config(path: str | os.PathLike[str], layers: Sequence[LayerFacts]) -> QuantConfig:
    """Reads a configuration for a model.

    Args:
        path: The JSON file.
        layers: Facts of all layers of the model as it was written, before folding.

    Returns:
        The configuration, in which every layer has all parameters that its type has.

    Raises:
        ConfigError: The file cannot be read, or with all problems of its text and of what it says of this model.
    """
    return resolve_config(read_text(path, "quantization configuration"), layers, str(path))


def resolve_config(text: str, layers: Sequence[LayerFacts], source: str = "<text>") -> QuantConfig:
    """Reads the text of a configuration for a model; see `load_config`."""
    facts = index_layers(layers)
    draft = _Draft(parse_json(text, source))
    draft.check_names(facts)
    draft.resolve(facts)
    return draft.finish(source)


@dataclass
class _Draft:
    """A configuration while its problems are gathered."""

    document: JsonDocument
    header: QuantConfig = field(init=False)
    entries: dict[str, object] = field(init=False, default_factory=dict)
    layers: dict[str, LayerConfig] = field(init=False, default_factory=dict)
    problems: list[Problem] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.problems.extend(self.document.problems)
        self.header = QuantConfig()
        tree = self.document.value
        if not isinstance(tree, dict):
            self.problems.append((1, f"found {shown(tree)}; expected an object with the keys of a configuration"))
            return
        try:
            self.header = QuantConfig.model_validate({key: tree[key] for key in FIXED_KEYS if key in tree})
        except ValidationError as error:
            self._explain((), error, QuantConfig)
        self.entries = {name: entry for name, entry in tree.items() if name not in FIXED_KEYS}
        for name, entry in self.entries.items():
            self._read_layer(name, entry)

    def _read_layer(self, name: str, entry: object) -> None:
        if not isinstance(entry, dict):
            text = f"found {shown(entry)}; expected an object with the settings of a layer of this name"
            self.add((name,), text + (edition_hint(name) or suggestion(name, FIXED_KEYS)))
            return
        if not name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in name):
            self.add((ascii(name),), "the name holds half of a surrogate pair and is no text")
            return
        # None means "by the layer's type" to the models, which JSON says by leaving the key out.
        weights = entry.get("weight_quant_params", {})
        if weights is None:
            self.add((name, "weight_quant_params"), "found null; expected an object, or no such key")
        elif isinstance(weights, dict) and weights.get("channel_wise", False) is None:
            self.add(
                (name, "weight_quant_params", "channel_wise"), "found null; expected true or false, or no such key"
            )
        try:
            self.layers[name] = LayerConfig.model_validate(self._without_constants(name, entry))
        except ValidationError as error:
            self._explain((name,), error, LayerConfig)

    def _without_constants(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        """Takes out the keys of the format that can have one value only, and notes other values."""
        found = dict(entry)
        for part, constants in (
            ("activation_quant_params", {"num_bits": 8, "asymmetric": self.header.activation_offset}),
            ("weight_quant_params", {"num_bits": 8}),
        ):
            settings = found.get(part)
            if not isinstance(settings, dict):
                continue
            for key in constants.keys() & settings.keys():
                if type(settings[key]) is not type(constants[key]) or settings[key] != constants[key]:
                    wanted = json.dumps(constants[key])
                    why = ", as activation_offset says" if key == "asymmetric" else ""
                    self.add((name, part, key), f"found {shown(settings[key])}; expected {wanted}{why}")
            found[part] = {key: value for key, value in settings.items() if key not in constants}
        return found

    def _explain(self, prefix: tuple[str, ...], error: ValidationError, model: type[LayerConfig | QuantConfig]) -> None:
        for path, text in explain(error, model):
            self.add((*prefix, *path), text)

    def add(self, path: tuple[str | int, ...], text: str) -> None:
        """Notes a problem at a key."""
        self.problems.append(self.document.problem(path, text))

    def check_names(self, facts: Mapping[str, LayerFacts]) -> None:
        """Notes the names that the model does not have, and the layers that cannot be what the entry makes of them."""
        tree = self.document.value
        for name, entry in self.entries.items():
            if not isinstance(entry, dict):
                continue
            if name not in facts:
                hint = suggestion(name, facts) if len(self.problems) < _MOST_GUESSES else ""
                self.add((name,), f"the model has no layer of this name{hint}")
            elif not facts[name].quantizable:
                layer = facts[name]
                self.add((name,), f"{layer.type} layer {name!r} cannot be quantized{layer.why_not}; remove its entry")
        # Read from the text, so that a name is checked even where something else in the header is wrong.
        skipped = tree.get("skip_fusion_layers") if isinstance(tree, dict) else None
        for index, name in enumerate(skipped if isinstance(skipped, list) else ()):
            if isinstance(name, str) and name not in facts:
                hint = suggestion(name, facts) if len(self.problems) < _MOST_GUESSES else ""
                self.add(("skip_fusion_layers", index), f"the model has no layer {name!r}{hint}")
        for key in FIXED_KEYS:
            if key in facts and isinstance(tree, dict) and isinstance(tree.get(key), dict):
                text = "is the format's own key, so the layer of this name cannot have an entry; rename it in the model"
                self.add((key,), text)

    def resolve(self, facts: Mapping[str, LayerFacts]) -> None:
        """Fills in what depends on a layer's type, and notes what does not go with it."""
        for name, entry in self.layers.items():
            layer = facts.get(name)
            if layer is not None and layer.quantizable:
                weights = self._weights(layer, entry)
                self.layers[name] = entry.model_copy(update={"weight_quant_params": weights})

    def _weights(self, layer: LayerFacts, entry: LayerConfig) -> WeightParams | None:
        found = entry.weight_quant_params
        path = (layer.name, "weight_quant_params")
        if not layer.has_weights:
            # `channel_wise: false` is written there by others, and means nothing.
            if found is not None and not (isinstance(found, ArqParams) and not found.channel_wise):
                self.add(path, f"{layer.type} layer {layer.name!r} has no weights; remove this key")
            return None
        if isinstance(found, NuqParams):
            if not layer.nuq_capable:
                text = f"{layer.type} layer {layer.name!r} cannot be quantized non-uniformly{layer.why_not}"
                self.add((*path, "wts_algo"), f"{text}; set it to 'arq_quantize'")
            return found
        if found is None or found.channel_wise is None:
            return ArqParams(channel_wise=layer.channel_wise)
        if found.channel_wise and not layer.channel_wise:
            text = f"found true; {layer.type} layer {layer.name!r} has one weight scale; set it to false"
            self.add((*path, "channel_wise"), text)
        return found

    def finish(self, source: str) -> QuantConfig:
        """Returns the configuration, or raises what is wrong with it."""
        if self.problems:
            raise ConfigError(f"{source}: the quantization configuration is wrong", listed(self.problems))
        return self.header.model_copy(update={"layers": QuantConfig(layers=self.layers).layers})
