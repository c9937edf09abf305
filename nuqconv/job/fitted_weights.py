"""Integers of all layers chosen by what they do to the layers' outputs on the calibration batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from nuqconv.errors import ModelError, QuantizationError
from nuqconv.ir import Array, Graph
from nuqconv.ir.ops import InnerProduct, Weighted
from nuqconv.job.candidates import Chosen, LayerRequest, Solutions
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.codebook import histogram
from nuqconv.quantize.compensate import LayerSolution, WeightMethod, solve_layer
from nuqconv.quantize.integers import QuantizedWeights
from nuqconv.quantize.moments import Moments, MomentSum, block_sizes, patches
from nuqconv.quantize.weights import bias_floor, quantize_bias
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.table import DEFAULT, RUNTIMES

__all__ = ["gather_moments", "solve_layers"]

_LOG = logging.getLogger(__name__)

_ROWS_PER_COLUMN = 8
_ROWS = 20_000
_MEMORY = 1 << 30
_SLAB = 1 << 26


def solve_layers(
    quantizer: Quantizer,
    requests: Sequence[LayerRequest],
    activations: Mapping[str, ActivationQuant],
    batches: Sequence[Mapping[str, Array]],
    *,
    method: WeightMethod,
    importance: Mapping[str, Array] | None = None,
    on_layer: Callable[[int, int], None] | None = None,
) -> Solutions:
    """Chooses the integers of every layer that may get a codebook.

    Args:
        quantizer: Holds the float graph; the integers are stored in it.
        requests: The layers.
        activations: Quantizer of each layer's input; layers without one are left out.
        batches: Inputs of the network.
        method: How to choose; `LayerRequest.rounds` goes before its rounds.
        importance: For some layers a weight >= 0 for each of their weights.
        on_layer: Called after each layer with the number of layers done and their total.

    Returns:
        The solutions. A layer that has no more levels than steps is not in it: its own integers lose nothing.

    Raises:
        ModelError, UnsupportedError: onnxruntime cannot run what leads to the layers.
    """
    graph = quantizer.graph
    wanted = [item for item in requests if item.steps and graph.node[item.name].params and item.name in activations]
    found: dict[tuple[str, int], Chosen] = {}
    by_name = {item.name: item for item in wanted}
    for done, (name, moments) in enumerate(gather_moments(graph, list(by_name), batches), 1):
        request = by_name[name]
        node, activation = graph.node[name], activations[name]
        if not isinstance(node.op, Weighted):
            raise QuantizationError(f"{node.place} has no weights to quantize")
        own = quantizer.integers(name, activation, channel_wise=request.channel_wise)
        levels = np.count_nonzero(histogram(own.weights))
        steps = [count for count in request.steps if count < levels]
        weights = graph.params[node.params[0]]
        bias = graph.params[node.params[1]] if len(node.params) > 1 else None
        if steps:
            solutions = solve_layer(
                node.op,
                weights,
                bias,
                own.scales,
                moments,
                steps,
                replace(method, rounds=request.rounds),
                floor=None if bias is None else bias_floor(bias, activation.scale),
                importance=None if importance is None else importance.get(name),
            )
            for count, solution in zip(steps, solutions, strict=True):
                stored = _stored(quantizer, name, activation, solution)
                if stored is not None:
                    found[name, count] = Chosen(stored, solution.codebook, solution.error)
        if on_layer is not None:
            on_layer(done, len(wanted))
    return found


def _stored(quantizer: Quantizer, name: str, activation: ActivationQuant, solution: LayerSolution) -> str | None:
    bias = None
    if solution.bias is not None:
        try:
            bias = quantize_bias(solution.bias, activation.scale, solution.scales, name)
        except QuantizationError as error:
            _LOG.info("the integers of layer %r stay the nearest ones: %s", name, error)
            return None
    return quantizer.store(QuantizedWeights(solution.weights, solution.scales, bias))


def gather_moments(
    graph: Graph, layers: Sequence[str], batches: Sequence[Mapping[str, Array]]
) -> Iterator[tuple[str, Moments]]:
    """Measures the inputs of layers in onnxruntime.

    Layers are taken in groups whose moments fit into 1 GiB, and the batches are run once for each group. Of each image as many positions are
    taken as make at least 20,000 patches in all, or 8 for each column.

    Args:
        graph: The float graph.
        layers: Names of Convolution, Deconvolution and InnerProduct layers.
        batches: Inputs by name.

    Yields:
        Layers with their moments.

    Raises:
        ModelError, UnsupportedError: onnxruntime cannot run what leads to the layers, or a batch does not fit.
    """
    images = sum(len(next(iter(batch.values()))) for batch in batches)
    for group in _groups(graph, layers):
        sums = _sums(graph, group, batches, images)
        for name in group:
            yield name, sums.pop(name).moments()


def _groups(graph: Graph, layers: Sequence[str]) -> Iterator[list[str]]:
    group: list[str] = []
    left = _MEMORY
    for name in layers:
        groups, _, columns = _matrix(graph, name).shape
        size = 8 * groups * sum(block**2 for block in block_sizes(columns))
        if group and size > left:
            yield group
            group, left = [], _MEMORY
        group.append(name)
        left -= size
    if group:
        yield group


def _matrix(graph: Graph, name: str) -> Array:
    node = graph.node[name]
    if not isinstance(node.op, Weighted):
        raise ModelError(f"{node.place} has no weights whose inputs could be measured")
    return node.op.to_matrix(graph.params[node.params[0]])


def _sums(
    graph: Graph, group: Sequence[str], batches: Sequence[Mapping[str, Array]], images: int
) -> dict[str, MomentSum]:
    inputs = {item.name for item in graph.inputs}
    inner = list(
        dict.fromkeys(graph.node[name].inputs[0] for name in group if graph.node[name].inputs[0] not in inputs)
    )
    shapes = {name: _matrix(graph, name).shape for name in group}
    sums = {name: MomentSum(shape[0], shape[2]) for name, shape in shapes.items()}
    model = RUNTIMES[DEFAULT].load(Runnable.of_graph(graph), inner)
    first = 0
    for batch in batches:
        found = {name: np.asarray(array, np.float32) for name, array in graph.feeds(batch).items()}
        size = len(next(iter(found.values())))
        if inner:
            found.update(model.run(found))
        for name in group:
            op = graph.node[name].op
            if isinstance(op, Weighted):
                groups, _, columns = shapes[name]
                rows = -(-max(_ROWS_PER_COLUMN * columns, _ROWS) // images)
                x = found[graph.node[name].inputs[0]]
                whole = isinstance(op, InnerProduct) and not op.by_rows
                step = len(x) if whole else max(1, _SLAB // (4 * rows * groups * columns))
                for start in range(0, len(x), step):
                    sums[name].update(patches(op, x[start : start + step], rows, first + start))
        first += size
    return sums
