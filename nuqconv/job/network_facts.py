"""What a network was before it was quantized, as far as a report shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import TypeAdapter, ValidationError

from nuqconv.errors import FormatError
from nuqconv.ir.ops import Weighted
from nuqconv.job.job import Job
from nuqconv.search.space import SearchSpace

__all__ = ["NetworkFacts", "WeightedLayer", "network_facts"]


@dataclass(frozen=True)
class WeightedLayer:
    """One layer with weights, before quantization.

    Attributes:
        name: The layer.
        kind: Its type.
        shape: Of its weights.
        weights: Number of weights.
        bytes: Size with its bias in float32.
        histogram: How many weights have each of the 256 integers in int8, from -128 on; empty for a layer that is not quantized.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    weights: int
    bytes: int
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class NetworkFacts:
    """What a network was.

    Attributes:
        layers: Its layers with weights, in order.
        others: Size of all other parameters in float32.
        folded: For each layer, the layers that were folded into it.
    """

    layers: tuple[WeightedLayer, ...]
    others: int
    folded: Mapping[str, tuple[str, ...]]

    @property
    def bytes(self) -> int:
        """Size of all parameters in float32."""
        return self.others + sum(layer.bytes for layer in self.layers)

    def to_json(self) -> str:
        """Returns the whole as JSON on one line; equal ones give equal text."""
        return _ADAPTER.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> NetworkFacts:
        """Reads what `to_json` returned.

        Raises:
            FormatError: The text is damaged.
        """
        try:
            return _ADAPTER.validate_json(text)
        except ValidationError as error:
            raise FormatError(f"the description of the network is damaged: {error.errors()[0]['msg']}") from error


_ADAPTER = TypeAdapter(NetworkFacts)


def network_facts(job: Job, space: SearchSpace) -> NetworkFacts:
    """Describes a network before quantization.

    Args:
        job: The network.
        space: What its layers may become; the histograms are those of their first option, uniform int8.
    """
    graph = job.graph
    plans = {layer.name: layer.options[0].layer_plan for layer in space.layers}
    layers = []
    for node in graph.nodes:
        if not isinstance(node.op, Weighted):
            continue
        weights = graph.params[node.params[0]]
        counts: tuple[int, ...] = ()
        if node.name in plans:
            integers = job.quantizer.layer_integers(node.name, plans[node.name]).weights
            counts = tuple(np.bincount(integers.reshape(-1).astype(np.int16) + 128, minlength=256).tolist())
        size = 4 * sum(graph.params[name].size for name in node.params)
        layers.append(WeightedLayer(node.name, node.op.kind, weights.shape, weights.size, size, counts))
    total = 4 * sum(array.size for array in graph.params.values())
    return NetworkFacts(tuple(layers), total - sum(layer.bytes for layer in layers), dict(job.fold.folded))
