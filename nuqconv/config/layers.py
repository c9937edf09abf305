"""What a configuration has to know of a model: a few facts for each layer, filled in by whoever holds the graph."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nuqconv.errors import ConfigError
from nuqconv.ir.families import operators

__all__ = ["LAYER_TYPES", "LayerFacts", "index_layers", "suggestion"]

# Longer names are no slip of the finger, and comparing takes time with the square of the length.
_LONGEST_GUESS = 200

LAYER_TYPES = tuple(name for name, kind in operators().items() if kind.quantizable)
"""The types that can be quantized at all; only these may be named where a configuration speaks of layer types."""


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """Facts of one layer of the model as it was written, before any folding.

    Attributes:
        name: The layer's name.
        type: Its Caffe type, for instance ``Convolution``.
        quantizable: Whether uniform int8 is possible (for Pooling: whether its input can be quantized).
        nuq_capable: Whether its weights may also be quantized non-uniformly; implies ``quantizable``.
        reason: Why it is not quantizable or, if it is, why it is not NUQ-capable; empty when there is nothing to explain.
        weight_shape: Shape of the weights as Caffe stores them: (out, in / group, height, width) or (out, in); None without weights.
        output_spatial: Height and width of the output; None where it has none or they are not known.

    Raises:
        ConfigError: The facts contradict each other.
    """

    name: str
    type: str
    quantizable: bool
    nuq_capable: bool
    reason: str = ""
    weight_shape: tuple[int, ...] | None = None
    output_spatial: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.nuq_capable and not self.quantizable:
            raise ConfigError(f"layer {self.name!r}: a NUQ-capable layer must be quantizable")
        if self.quantizable and self.type not in LAYER_TYPES:
            raise ConfigError(
                f"layer {self.name!r}: type {self.type} cannot be quantizable; expected one of {', '.join(LAYER_TYPES)}"
            )
        if self.nuq_capable and self.type == "Pooling":
            raise ConfigError(f"layer {self.name!r}: Pooling has no weights and cannot be NUQ-capable")

    @property
    def has_weights(self) -> bool:
        """Whether the type has weights to quantize."""
        return self.type != "Pooling"

    @property
    def channel_wise(self) -> bool:
        """Whether each output channel can have a weight scale of its own."""
        return self.type in {"Convolution", "Deconvolution"}

    @property
    def why_not(self) -> str:
        """The reason as the tail of a sentence."""
        return f" ({self.reason})" if self.reason else ""


def index_layers(layers: Sequence[LayerFacts]) -> dict[str, LayerFacts]:
    """Returns the facts by layer name, in the order of the model.

    Raises:
        ConfigError: A name occurs twice, so that no configuration can tell the layers apart.
    """
    twice = [name for name, times in Counter(layer.name for layer in layers).items() if times > 1]
    if twice:
        raise ConfigError(
            "a configuration names layers, so their names must differ; rename these in the model",
            (f"{name!r} is the name of several layers" for name in twice),
        )
    return {layer.name: layer for layer in layers}


def suggestion(name: str, known: Iterable[str] | Mapping[str, object]) -> str:
    """Returns ``"; did you mean 'conv1'?"`` if something known looks like ``name``, else an empty string."""
    if len(name) > _LONGEST_GUESS:
        return ""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(match) for match in close)}?" if close else ""
