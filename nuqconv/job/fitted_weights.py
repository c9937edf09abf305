"""Integers of all layers chosen by what they do to the layers' outputs on the calibration batches."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from nuqconv.errors import ModelError, QuantizationError
from nuqconv.ir import Array, Graph
from nuqconv.ir.ops import InnerProduct, Weighted
from nuqconv.job.candidates import Chosen, LayerRequest, Solutions
from nuqconv.job.kept import KeptLayers
from nuqconv.job.parts import in_parts
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.codebook import histogram
from nuqconv.quantize.compensate import UNIFORM, LayerSolution, WeightMethod, solve_layer
from nuqconv.quantize.integers import QuantizedWeights
from nuqconv.quantize.moments import Moments, MomentSum, block_sizes, few_patches, patches
from nuqconv.quantize.plan import LayerPlan, Precision
from nuqconv.quantize.weights import bias_floor, quantize_bias
from nuqconv.runtimes.default import float_feeds, load_graph

__all__ = ["gather_moments", "patches_of", "solve_layers", "stored_solution"]

_LOG = logging.getLogger(__name__)

_ROWS_PER_COLUMN = 8
_ROWS = 20_000
_MEMORY = 1 << 28
_SLAB = 1 << 26


def solve_layers(
    quantizer: Quantizer,
    requests: Sequence[LayerRequest],
    activations: Mapping[str, ActivationQuant],
    batches: Sequence[Mapping[str, Array]],
    *,
    method: WeightMethod,
    importance: Mapping[str, Array] | None = None,
    kept: KeptLayers | None = None,
    on_layer: Callable[[int, int], None] | None = None,
) -> Solutions:
    """Chooses the integers of every layer with weights.

    Args:
        quantizer: Holds the float graph; the integers are stored in it.
        requests: The layers.
        activations: Quantizer of each layer's input; the input of a layer that is missing stays float.
        batches: Inputs of the network.
        method: How to choose; `LayerRequest.rounds` goes before its rounds.
        importance: For some layers a weight >= 0 for each of their weights.
        kept: Has layers that were solved before, and gets those that are solved now, each when it is done.
        on_layer: Called after each layer with the number of layers done and their total.

    Returns:
        The solutions. What a layer has no more levels than is not in it: its own integers lose nothing.

    Raises:
        ModelError, UnsupportedError: onnxruntime cannot run what leads to the layers.
    """
    graph = quantizer.graph
    wanted = [item for item in requests if (method.int8 or item.steps) and graph.node[item.name].params]
    found: dict[tuple[str, int], Chosen] = {}
    by_name = {item.name: item for item in wanted}
    weighing = importance or {}
    names: dict[str, str] = {}
    if kept is not None:
        for item in wanted:
            names[item.name] = kept.keys.layer(item, activations.get(item.name), method, weighing.get(item.name))
            known = kept.solutions(names[item.name], item.name)
            if known is not None:
                del by_name[item.name]
                found.update({(item.name, count): chosen for count, chosen in known.items()})
    done = len(wanted) - len(by_name)
    if done and on_layer is not None:
        _LOG.info("%d of %d layers are solved already", done, len(wanted))
        on_layer(done, len(wanted))
    for name, moments in gather_moments(graph, [item.name for item in wanted], batches, needed=by_name):
        request, activation = by_name[name], activations.get(name)
        own = replace(method, rounds=request.rounds)
        solved = _solve(quantizer, request, activation, moments, own, weighing.get(name))
        found |= {(name, count): chosen for count, chosen in solved.items()}
        if kept is not None:
            op = cast("Weighted", graph.node[name].op)
            plans = {
                count: (_plan(op, request, activation, count, chosen), chosen.loss) for count, chosen in solved.items()
            }
            kept.keep_solutions(names[name], plans)
        # Of all layers they would be a quarter of the model.
        quantizer.drop(name)
        done += 1
        if on_layer is not None:
            on_layer(done, len(wanted))
    return found


def _solve(
    quantizer: Quantizer,
    request: LayerRequest,
    activation: ActivationQuant | None,
    moments: Moments,
    method: WeightMethod,
    importance: Array | None,
) -> dict[int, Chosen]:
    """Returns what is chosen for a layer at each number of steps that changes it."""
    graph, name = quantizer.graph, request.name
    node = graph.node[name]
    if not isinstance(node.op, Weighted):
        raise QuantizationError(f"{node.place} has no weights to quantize")
    own = quantizer.integers(name, activation, channel_wise=request.channel_wise)
    levels = np.count_nonzero(histogram(own.weights))
    steps = [count for count in request.steps if count < levels]
    if method.int8 and UNIFORM in request.forms:
        steps.insert(0, UNIFORM)
    if not steps:
        return {}
    bias = graph.params[node.params[1]] if len(node.params) > 1 else None
    floor = None if bias is None or activation is None else bias_floor(bias, activation.scale)
    weights = graph.params[node.params[0]]
    solutions = solve_layer(
        node.op, weights, bias, own.scales, moments, steps, method, floor=floor, importance=importance
    )
    found = {}
    for count, solution in zip(steps, solutions, strict=True):
        stored = stored_solution(quantizer, name, activation, solution)
        if stored is not None:
            found[count] = Chosen(stored, solution.codebook, solution.error)
    return found


def _plan(
    op: Weighted, request: LayerRequest, activation: ActivationQuant | None, steps: int, chosen: Chosen
) -> LayerPlan:
    per_channel = request.channel_wise and op.scales_by_channel
    if steps == UNIFORM:
        return LayerPlan(Precision.INT8, None, None, activation, per_channel, chosen.weights)
    return LayerPlan(Precision.NUQ, chosen.codebook, steps, activation, per_channel, chosen.weights)


def stored_solution(
    quantizer: Quantizer, name: str, activation: ActivationQuant | None, solution: LayerSolution
) -> str | None:
    """Stores the integers of a layer, and returns their name; None where its bias does not fit int32.

    Without an activation the input stays float, and so does the bias.
    """
    if activation is None:
        floats = None if solution.bias is None else solution.bias.astype(np.float32)
        return quantizer.store(QuantizedWeights(solution.weights, solution.scales, None, floats))
    bias = None
    if solution.bias is not None:
        try:
            bias = quantize_bias(solution.bias, activation.scale, solution.scales, name)
        except QuantizationError as error:
            _LOG.info("the integers of layer %r stay the nearest ones: %s", name, error)
            return None
    return quantizer.store(QuantizedWeights(solution.weights, solution.scales, bias))


def gather_moments(
    graph: Graph,
    layers: Sequence[str],
    batches: Sequence[Mapping[str, Array]],
    *,
    needed: Collection[str] | None = None,
) -> Iterator[tuple[str, Moments]]:
    """Measures the inputs of layers in onnxruntime.

    Layers are taken in groups whose moments fit into 256 MiB, and the batches are run once for each group. Of each image as many positions are
    taken as make at least 20,000 patches in all, or 8 for each column.

    Args:
        graph: The float graph.
        layers: Names of Convolution, Deconvolution and InnerProduct layers.
        batches: Inputs by name.
        needed: Those among them whose moments are wanted, by default all. The others are read too: a network is run in another way where other
            values are read, and rounds in another way.

    Yields:
        Layers with their moments.

    Raises:
        ModelError, UnsupportedError: onnxruntime cannot run what leads to the layers, or a batch does not fit.
    """
    images = sum(len(next(iter(batch.values()))) for batch in batches)
    for group in _groups(graph, layers, images):
        wanted = group if needed is None else [name for name in group if name in needed]
        sums = _sums(graph, group, wanted, batches, images) if wanted else {}
        for name in wanted:
            yield name, sums.pop(name).finish()


def _groups(graph: Graph, layers: Sequence[str], images: int) -> Iterator[list[str]]:
    group: list[str] = []
    left = _MEMORY
    for name in layers:
        groups, outputs, columns = _matrix(graph, name).shape
        shape = graph.shapes[graph.node[name].outputs[0]]
        count = images * (math.prod(shape[1:]) // (groups * outputs)) if shape else few_patches(columns) + 1
        numbers = count * columns if count <= few_patches(columns) else sum(block**2 for block in block_sizes(columns))
        size = 8 * groups * numbers
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
    graph: Graph, group: Sequence[str], wanted: Sequence[str], batches: Sequence[Mapping[str, Array]], images: int
) -> dict[str, MomentSum]:
    inputs = {item.name for item in graph.inputs}
    inner = list(
        dict.fromkeys(graph.node[name].inputs[0] for name in group if graph.node[name].inputs[0] not in inputs)
    )
    shapes = {name: _matrix(graph, name).shape for name in wanted}
    sums = {name: MomentSum(shape[0], shape[2]) for name, shape in shapes.items()}
    model = load_graph(graph, inner)
    parts = in_parts(graph, inner)
    first = 0
    for batch in batches:
        arrays = float_feeds(graph, batch)
        for start, found in parts(arrays):
            if inner:
                found.update(model.run(found))
            for name in wanted:
                _add(graph, name, found[graph.node[name].inputs[0]], images, first + start, sums[name])
        first += len(next(iter(arrays.values())))
    return sums


def _add(graph: Graph, name: str, x: Array, images: int, first: int, total: MomentSum) -> None:
    """Adds the patches of a layer's input, that of the images from a number on out of so many, to its moments."""
    op = graph.node[name].op
    if isinstance(op, Weighted):
        for rows in patches_of(op, x, images, first, (total.groups, 0, total.columns)):
            total.update(rows)


def patches_of(op: Weighted, x: Array, images: int, first: int, shape: Sequence[int]) -> Iterator[Array]:
    """Yields patches of a layer's input, some images at a time.

    Of each image as many positions are taken as make at least 20,000 patches of all images, or 8 for each column.

    Args:
        op: The layer's operator.
        x: Its input.
        images: How many images there are in all.
        first: The number of the first one in ``x``.
        shape: Groups, outputs of a group and columns of its weights.
    """
    groups, _, columns = shape
    rows = -(-max(_ROWS_PER_COLUMN * columns, _ROWS) // images)
    whole = isinstance(op, InnerProduct) and not op.by_rows
    step = len(x) if whole else max(1, _SLAB // (4 * rows * groups * columns))
    for start in range(0, len(x), step):
        yield patches(op, x[start : start + step], rows, first + start)
