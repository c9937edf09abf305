"""What a search may make of the layers that a configuration enables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

from nuqconv.config import LayerFacts, QuantConfig
from nuqconv.errors import ConfigError
from nuqconv.ir import Graph
from nuqconv.job.candidates import LayerRequest
from nuqconv.job.layer_facts import layer_facts, layer_requests

__all__ = ["Forms"]


class Forms(str, Enum):
    """What a search may make of layers."""

    CODEBOOKS = "codebooks"
    """Codebooks where the configuration has NUQ, int8, or float."""
    INT8 = "int8"
    """Int8 or float, with or without NUQ in the configuration."""

    def requests(
        self, config: QuantConfig, graph: Graph, place: str, levels: tuple[int, ...] | None = None
    ) -> tuple[LayerRequest, ...]:
        """Returns what may become of each layer.

        Args:
            config: The configuration.
            graph: The model as it was written.
            place: Where the configuration stands, for messages.
            levels: Codebook sizes that may be tried, the largest first, instead of those that ``num_steps`` of a layer allows; the configuration
                still says which layers may have a codebook.

        Raises:
            ConfigError: There is nothing to search.
        """
        found = layer_requests(config, graph)
        if self is Forms.INT8:
            found = tuple(replace(request, steps=()) for request in found)
            if not found:
                raise ConfigError(f"{place}: no layer is to be quantized; enable at least one")
        elif not any(request.steps for request in found):
            raise ConfigError(
                f"{place}: no layer has wts_algo nuq_quantize, so there is nothing to search; "
                "set it for the layers that may be compressed, write a configuration with create_quant_config, or quantize "
                "without a search (nuqconv quantize)",
                _chosen(layer_facts(graph), config),
            )
        elif levels is not None:
            found = tuple(replace(request, steps=levels if request.steps else ()) for request in found)
        return found


def _chosen(facts: Sequence[LayerFacts], config: QuantConfig) -> list[str]:
    """Says what a configuration has chosen for each layer that could have a codebook."""
    found = []
    for item in facts:
        if item.nuq_capable:
            layer = config.layers.get(item.name)
            said = "is not in the configuration" if layer is None else "has quant_enable false"
            if layer is not None and layer.quant_enable:
                said = f"has wts_algo {getattr(layer.weight_quant_params, 'wts_algo', 'of no kind')}"
            found.append(f"layer '{item.name}' ({item.type}) {said}")
    return found
