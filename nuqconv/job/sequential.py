"""The integers of a whole plan, chosen layer after layer in the network that is quantized so far."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from nuqconv.errors import QuantizationError
from nuqconv.ir import Array, Graph, Input, Node
from nuqconv.ir.ops import Weighted
from nuqconv.job.fitted_weights import patches_of, stored_solution
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.compensate import UNIFORM, WeightMethod, solve_layer
from nuqconv.quantize.drift import DriftSum
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.quantize.rounding import dequantize, quantize
from nuqconv.quantize.weights import bias_floor, weight_scales
from nuqconv.runtimes.default import float_feeds, load_graph

__all__ = ["sequential_plan"]

_LOG = logging.getLogger(__name__)

_ROOM = 1 << 30
"""Bytes that the values of both networks may hold between two layers."""


def sequential_plan(
    quantizer: Quantizer,
    plan: Plan,
    batches: Sequence[Mapping[str, Array]],
    *,
    method: WeightMethod,
    rounds: Mapping[str, int] | None = None,
    on_layer: Callable[[int, int], None] | None = None,
) -> Plan:
    """Chooses the integers of a plan again, each layer's for the inputs that the quantized layers before it make.

    Each layer aims at what the float network makes there (`nuqconv.quantize.drift`). Forms, numbers of steps and the quantizers of inputs stay.
    Both networks are run side by side from layer to layer, on as many samples as fit into 1 GiB.

    Args:
        quantizer: Holds the float graph; the integers are stored in it.
        plan: What each layer becomes.
        batches: Inputs of the network.
        method: How integers are chosen.
        rounds: For layers by name what goes before the method's rounds.
        on_layer: Called after each layer with the number of layers done and their total.

    Returns:
        The plan with other integers. Layers whose weights others share keep theirs.

    Raises:
        ModelError, UnsupportedError: onnxruntime cannot run what leads to the layers.
    """
    graph = quantizer.graph
    layers = [node for node in graph.nodes if node.name in plan and plan[node.name].precision is not Precision.FLOAT]
    if not layers:
        return plan
    found = dict(plan.items())
    sides = _Sides(graph.up_to([node.inputs[0] for node in layers]), quantizer, _fitting(graph, batches))
    for done, node in enumerate(layers, 1):
        sides.advance(node.inputs[0], found)
        layer = found[node.name]
        shared = any(len(graph.users(name)) > 1 for name in node.params)
        if isinstance(node.op, Weighted) and not shared:
            steps = UNIFORM if layer.precision is Precision.INT8 else layer.num_steps or 1
            own = method if rounds is None else replace(method, rounds=rounds.get(node.name, method.rounds))
            found[node.name] = _solved(_Layer(quantizer, node, node.op, layer, steps), sides, own)
        if on_layer is not None:
            on_layer(done, len(layers))
    return Plan.of(found)


@dataclass(frozen=True)
class _Layer:
    """A layer that gets integers."""

    quantizer: Quantizer
    node: Node
    op: Weighted
    plan: LayerPlan
    steps: int


def _solved(layer: _Layer, sides: _Sides, method: WeightMethod) -> LayerPlan:
    graph, node, op = layer.quantizer.graph, layer.node, layer.op
    weights = graph.params[node.params[0]]
    matrix = op.to_matrix(weights)
    total = DriftSum(matrix.shape[0], matrix.shape[2])
    act = layer.plan.activation
    for first, wanted, given in sides.pairs(node.inputs[0]):
        seen = given
        if act is not None:
            seen = dequantize(quantize(given, act.scale, act.offset), act.scale, act.offset)
        for one, two in zip(
            patches_of(op, wanted, sides.samples, first, matrix.shape),
            patches_of(op, seen, sides.samples, first, matrix.shape),
            strict=True,
        ):
            total.update(one, two)
    bias = graph.params[node.params[1]] if len(node.params) > 1 else None
    moments, target, offset = total.corrected(matrix, bias)
    aim = op.from_matrix(target.astype(np.float32), weights.shape)
    floor = None if offset is None or act is None else bias_floor(offset, act.scale)
    try:
        scales = weight_scales(aim, op.scale_axis(channel_wise=layer.plan.channel_wise), floor=floor, layer=node.name)
        (found,) = solve_layer(op, aim, offset, scales, moments, (layer.steps,), method, floor=floor)
    except QuantizationError as error:
        _LOG.info("layer %r keeps its integers: %s", node.name, error)
        return layer.plan
    stored = stored_solution(layer.quantizer, node.name, act, found)
    if stored is None:
        return layer.plan
    book = None if layer.plan.precision is Precision.INT8 else found.codebook
    return replace(layer.plan, weights=stored, codebook=book)


class _Sides:
    """The float network and the quantized one, run from layer to layer on the same samples.

    Args:
        graph: The part of the float network that leads to the layers.
        quantizer: Has the integers of the layers that are quantized.
        batches: Inputs of the network.
    """

    def __init__(self, graph: Graph, quantizer: Quantizer, batches: Sequence[Mapping[str, Array]]) -> None:
        self._graph = graph
        self._quantizer = quantizer
        self._next = 0
        self._last = {name: number for number, node in enumerate(graph.nodes) for name in node.inputs}
        self._last |= dict.fromkeys(graph.outputs, len(graph.nodes))
        self._values = [tuple(float_feeds(graph, batch) for _ in "fq") for batch in batches]
        self.samples = sum(len(next(iter(exact.values()))) for exact, _ in self._values)

    def advance(self, value: str, plan: Mapping[str, LayerPlan]) -> None:
        """Runs both networks until a value is there, the second with the layers of a plan."""
        producer = self._graph.producer.get(value)
        stop = self._next if producer is None else self._graph.nodes.index(producer) + 1
        if stop <= self._next:
            return
        nodes = self._graph.nodes[self._next : stop]
        self._next = stop
        exact = self._part(nodes)
        # A part holds few layers, and its quantizer those of their integers that the plan takes.
        own = {node.name: plan[node.name] for node in nodes if node.name in plan}
        part = Quantizer(exact)
        for layer in own.values():
            if layer.weights is not None:
                part.store(self._quantizer.stored(layer.weights))
        for number, graph in enumerate((exact, part.apply(Plan.of(own)))):
            model = load_graph(graph, exact.outputs)
            for pair in self._values:
                values = pair[number]
                values.update(model.run({item.name: values[item.name] for item in exact.inputs}))
                for name in [name for name in values if self._last.get(name, -1) < stop]:
                    del values[name]

    def pairs(self, value: str) -> Iterator[tuple[int, Array, Array]]:
        """Yields a value of both networks, batch by batch, with the number of the first sample."""
        first = 0
        for exact, given in self._values:
            yield first, exact[value], given[value]
            first += len(exact[value])

    def _part(self, nodes: Sequence[Node]) -> Graph:
        made = {name for node in nodes for name in node.outputs}
        read = dict.fromkeys(name for node in nodes for name in node.inputs if name not in made)
        inputs = tuple(Input(name, shape) for name in read if (shape := self._graph.shapes[name]) is not None)
        outputs = tuple(name for node in nodes for name in node.outputs if self._last.get(name, -1) >= self._next)
        return replace(self._graph.with_nodes(nodes), inputs=inputs, outputs=outputs)


def _fitting(graph: Graph, batches: Sequence[Mapping[str, Array]]) -> list[Mapping[str, Array]]:
    """Returns the first batches whose values fit into memory, at least one."""
    last = {name: number for number, node in enumerate(graph.nodes) for name in node.inputs}
    here, most = 0, 1
    ends: dict[int, int] = {}
    for number, node in enumerate(graph.nodes):
        for name in node.outputs:
            shape = graph.shapes[name]
            size = 0 if shape is None else 4 * prod(shape[1:])
            here += size
            ends[last.get(name, number)] = ends.get(last.get(name, number), 0) + size
        most = max(most, here)
        here -= ends.pop(number, 0)
    found: list[Mapping[str, Array]] = []
    room = _ROOM // (2 * most)
    for batch in batches:
        room -= len(next(iter(batch.values())))
        if room < 0 and found:
            break
        found.append(batch)
    return found
