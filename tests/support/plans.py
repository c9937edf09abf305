"""Plans for tests: every layer that can be is quantized, with codebooks of a given size."""

from __future__ import annotations

import numpy as np

from nuqconv.ir import Graph
from nuqconv.job.calibration import measure_in_onnxruntime
from nuqconv.quantize.activation import ifmr
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.capability import capabilities
from nuqconv.quantize.codebook import histogram, optimal_codebooks
from nuqconv.quantize.plan import LayerPlan, Plan, Precision


def strongest_plan(
    quantizer: Quantizer, batch: dict[str, np.ndarray], steps: int = 16, *, with_offset: bool = True
) -> Plan:
    """NUQ where possible, int8 elsewhere."""
    graph: Graph = quantizer.graph
    can = [item for item in capabilities(graph) if item.int8]
    values = list(dict.fromkeys(graph.node[item.name].inputs[0] for item in can))
    ranges = {
        value: ifmr(found, with_offset=with_offset)
        for value, found in measure_in_onnxruntime(graph, values, [batch]).items()
    }
    layers = {}
    for item in can:
        activation = ranges[graph.node[item.name].inputs[0]]
        layers[item.name] = LayerPlan(Precision.INT8, activation=activation)
        if item.nuq:
            book = optimal_codebooks(histogram(quantizer.integers(item.name, activation).weights)).codebook(steps)
            layers[item.name] = LayerPlan(Precision.NUQ, codebook=book, num_steps=steps, activation=activation)
    return Plan.of(layers)
