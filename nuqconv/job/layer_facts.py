"""What the configuration needs to know of a graph, and what the search needs to know of a configuration."""

from __future__ import annotations

from nuqconv.config import HfmgParams, IfmrParams, LayerFacts, NuqParams, QuantConfig
from nuqconv.ir import Graph, Node
from nuqconv.ir.ops import Opaque
from nuqconv.job.candidates import STEPS, ActivationRule, HistogramRule, LayerRequest
from nuqconv.quantize.capability import Capability, capabilities

__all__ = ["layer_facts", "layer_requests"]


def layer_facts(graph: Graph) -> tuple[LayerFacts, ...]:
    """Describes every layer of a graph for the configuration."""
    can = {item.name: item for item in capabilities(graph)}
    return tuple(_facts(graph, node, can.get(node.name)) for node in graph.nodes)


def layer_requests(config: QuantConfig, graph: Graph) -> tuple[LayerRequest, ...]:
    """Returns what a configuration allows for each layer that it enables, in the order of the graph."""
    requests = []
    for node in graph.nodes:
        layer = config.layers.get(node.name)
        if layer is None or not layer.quant_enable:
            continue
        activation = layer.activation_quant_params
        rule: ActivationRule | HistogramRule = ActivationRule()
        if isinstance(activation, IfmrParams):
            rule = ActivationRule(
                activation.max_percentile, activation.min_percentile, activation.search_range, activation.search_step
            )
        elif isinstance(activation, HfmgParams):
            rule = HistogramRule(activation.num_of_bins)
        weights = layer.weight_quant_params
        steps: tuple[int, ...] = ()
        rounds = 1
        if isinstance(weights, NuqParams):
            steps = tuple(count for count in STEPS if count >= weights.num_steps)
            rounds = weights.num_of_iteration
        requests.append(LayerRequest(node.name, steps, getattr(weights, "channel_wise", True), rule, rounds))
    return tuple(requests)


def _facts(graph: Graph, node: Node, can: Capability | None) -> LayerFacts:
    layer_type = node.op.layer_type if isinstance(node.op, Opaque) else node.op.kind
    if can is None:
        return LayerFacts(
            node.name, layer_type, quantizable=False, nuq_capable=False, reason=f"{layer_type} layers are not quantized"
        )
    shape = graph.shapes[node.outputs[0]]
    spatial = (shape[2], shape[3]) if shape is not None and len(shape) == 4 else None
    weight = graph.params[node.params[0]].shape if node.params else None
    return LayerFacts(node.name, layer_type, can.int8, can.nuq, can.reason, weight, spatial)
