"""Where quantization hurts: the error of every quantized layer, accumulated through the network and of the layer alone.

Accumulated is the error in the quantized network, which is that of all layers before it too. Single is the error of the layer alone, fed with what
the float network feeds it; of that, the parts of its weights and of its input are told apart. Batches are run one after the other, so memory does
not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from nuqconv.backends.onnx import batch_problems
from nuqconv.comparison.noise import Noise, NoiseSum
from nuqconv.comparison.quantized import Pair, QuantizedLayer
from nuqconv.errors import ModelError
from nuqconv.ir import Array, Graph, Input, Node
from nuqconv.ir.ops import Clip, Op, Opaque, Power, Quantize, Unary
from nuqconv.runtimes.default import load_graph

__all__ = ["LayerError", "LayerErrors", "measure_layer_errors"]

_ROOM = 96 << 20
"""Bytes of values that one run may give."""


@dataclass(frozen=True)
class LayerError:
    """What quantization does to the output of one layer.

    Attributes:
        layer: Its name.
        kind: Its type.
        levels: How many different integers its weights have; None where it has none, or only weights are quantized.
        accumulated: In the quantized network.
        single: Of the layer alone, with the float network's input.
        weights: Of that, what the weights do alone; None for a layer without weights.
        activations: What its quantized input does alone; None where it stays float.
        rank: Place by the single error, from 1, the largest first.
    """

    layer: str
    kind: str
    levels: int | None
    accumulated: Noise
    single: Noise
    weights: Noise | None
    activations: Noise | None
    rank: int

    def to_object(self) -> dict[str, Any]:
        """Returns the layer for JSON."""
        parts = {"weights_snr_db": self.weights, "activations_snr_db": self.activations}
        return {
            "layer": self.layer,
            "kind": self.kind,
            "levels": self.levels,
            "rank": self.rank,
            "accumulated": self.accumulated.to_object(),
            "single": self.single.to_object(),
            **{name: None if noise is None else noise.to_object()["snr_db"] for name, noise in parts.items()},
        }


@dataclass(frozen=True)
class LayerErrors:
    """Where quantization hurts.

    Attributes:
        layers: The quantized layers in the order of the network.
        outputs: The error of the network's outputs, by name.
        samples: How many samples were run.
        unmeasured: Quantized layers whose error could not be measured, with the reason.
    """

    layers: tuple[LayerError, ...]
    outputs: Mapping[str, Noise]
    samples: int
    unmeasured: Mapping[str, str]

    def to_object(self) -> dict[str, Any]:
        """Returns the whole for JSON."""
        return {
            "samples": self.samples,
            "layers": [item.to_object() for item in self.layers],
            "outputs": {name: noise.to_object() for name, noise in self.outputs.items()},
            "unmeasured": dict(self.unmeasured),
        }

    @property
    def ranked(self) -> tuple[LayerError, ...]:
        """The layers, the largest single error first."""
        return tuple(sorted(self.layers, key=lambda item: item.rank))


def measure_layer_errors(
    pair: Pair,
    batches: Iterable[Mapping[str, Array]],
    *,
    limit: int | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> LayerErrors:
    """Measures the error of every quantized layer in onnxruntime.

    Args:
        pair: The float network and the quantized one.
        batches: Inputs by the names that the networks have for them, the samples first. A batch is cut where its values would take too much room.
        limit: Most samples; None for all.
        on_batch: Told the number of samples done after each run.

    Raises:
        ModelError: There is no sample, or it does not fit; or no layer can be run.
        UnsupportedError: onnxruntime cannot run the networks.
    """
    run = _Run(pair)
    for part in _parts(batches, run.samples_at_once, limit):
        run.add(part)
        if on_batch is not None:
            on_batch(run.samples)
    return run.result()


class _Run:
    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.samples = 0
        self.unmeasured = _blocked(pair)
        self.layers = {name: layer for name, layer in pair.layers.items() if name not in self.unmeasured}
        if not self.layers:
            raise ModelError(
                "no quantized layer can be run in onnxruntime", [f"{k}: {v}" for k, v in self.unmeasured.items()]
            )
        original, fed = pair.original, {item.name for item in pair.original.inputs}
        self.wanted = {name: original.node[name].outputs[0] for name in self.layers}
        self.outputs = _outputs(pair)
        needed = [original.node[name].inputs[0] for name in self.layers]
        values = dict.fromkeys([*self.wanted.values(), *needed, *self.outputs])
        self.float_model = load_graph(original, [name for name in values if name not in fed])
        found = dict.fromkeys([*(layer.output for layer in self.layers.values()), *self.outputs.values()])
        self.quantized_model = load_graph(pair.quantized, list(found))
        self.groups = [_Alone(pair, group) for group in self._groups()]
        kinds = ("accumulated", "single", "weights", "activations")
        self.sums = {name: {kind: NoiseSum() for kind in kinds} for name in self.layers}
        self.output_sums = {name: NoiseSum() for name in self.outputs}

    def add(self, batch: Mapping[str, Array]) -> None:
        """Runs some samples through the float network, the quantized one, and the layers alone."""
        feeds = self.pair.original.feeds(batch)
        wanted = {**feeds, **self.float_model.run(batch)}
        found = self.quantized_model.run(_by_position(batch, self.pair))
        for name, layer in self.layers.items():
            self.sums[name]["accumulated"].add(found[layer.output], wanted[self.wanted[name]])
        for name, other in self.outputs.items():
            self.output_sums[name].add(found[other], wanted[name])
        del found
        for group in self.groups:
            for name, kind, value in group.run(wanted):
                self.sums[name][kind].add(value, wanted[self.wanted[name]])
        self.samples += len(next(iter(batch.values())))

    def result(self) -> LayerErrors:
        if not self.samples:
            raise ModelError("there is no sample to measure the errors of layers on; give data")
        single = {name: self.sums[name]["single"].noise() for name in self.layers}
        order = sorted(single, key=lambda name: -single[name].relative)
        rank = {name: place for place, name in enumerate(order, 1)}
        layers = []
        for name, layer in self.layers.items():
            sums = self.sums[name]
            weights = None if layer.weights is None else sums["weights"].noise()
            activations = single[name] if layer.weights is None else None
            if layer.quantize is not None and layer.weights is not None:
                activations = sums["activations"].noise()
            kind = self.pair.original.node[name].op.kind
            accumulated = sums["accumulated"].noise()
            layers.append(
                LayerError(name, kind, layer.levels, accumulated, single[name], weights, activations, rank[name])
            )
        outputs = {name: item.noise() for name, item in self.output_sums.items()}
        return LayerErrors(tuple(layers), outputs, self.samples, self.unmeasured)

    @property
    def samples_at_once(self) -> int:
        """How many samples a run may have: what there is room for, and no more than the networks' layers fix."""
        sizes = [self._size(self.wanted[name]) for name in self.layers]
        most = _ROOM // max(1, 2 * sum(sizes) + max(map(self._group_size, self.groups)))
        networks = [graph for graph in (self.pair.original, self.pair.quantized) if batch_problems(graph)]
        fixed = [item.shape[0] for graph in networks for item in graph.inputs if item.shape]
        return max(1, min([most, *fixed]))

    def _groups(self) -> Iterator[dict[str, QuantizedLayer]]:
        """A group is one network: its layers fit into memory together, and axis 0 of what they read is the same."""
        group: dict[str, QuantizedLayer] = {}
        left, last = _ROOM, 0
        for name in sorted(self.layers, key=self._count):
            size = 3 * self._size(self.wanted[name])
            if group and (size > left or self._count(name) != last):
                yield group
                group, left = {}, _ROOM
            group[name] = self.layers[name]
            left, last = left - size, self._count(name)
        yield group

    def _count(self, name: str) -> int:
        """The size of axis 0 of what a layer reads: in some networks a sample becomes several."""
        shape = self.pair.original.shapes[self.pair.original.node[name].inputs[0]]
        return shape[0] if shape else 0

    def _group_size(self, group: _Alone) -> int:
        return 3 * sum(self._size(self.wanted[name]) for name in group.layers)

    def _size(self, value: str) -> int:
        """Bytes of a value for one sample."""
        shape = self.pair.original.shapes[value]
        return 4 * prod(shape[1:]) if shape else 4


class _Alone:
    """Some quantized layers, each alone with its input: whole, with only its weights quantized, and with only its input quantized."""

    def __init__(self, pair: Pair, layers: Mapping[str, QuantizedLayer]) -> None:
        self.layers = layers
        self._pair = pair
        self._outputs: dict[str, tuple[str, str]] = {}
        self._nodes: list[Node] = []
        self._params: dict[str, Array] = {}
        inputs: dict[str, Input] = {}
        for name, layer in layers.items():
            value = pair.original.node[name].inputs[0]
            inputs[value] = Input(value, pair.original.shapes[value] or ())
            self._add(name, "single", layer.source, layer.nodes, pair.quantized)
            if layer.weights is not None:
                self._add_with_weights(name, layer.weights, layer.bias)
            # A layer without weights has no other error than that of its input.
            if layer.quantize is not None and layer.weights is not None:
                self._add_with_input(name, layer.quantize)
        graph = Graph("layers alone", tuple(inputs.values()), tuple(self._nodes), self._params, tuple(self._outputs))
        self._inputs = tuple(inputs)
        self._model = load_graph(graph)

    def run(self, values: Mapping[str, Array]) -> Iterator[tuple[str, str, Array]]:
        """Yields layers with the kind of their error and their outputs."""
        found = self._model.run({name: values[name] for name in self._inputs})
        for value, (name, kind) in self._outputs.items():
            yield name, kind, found.pop(value)

    def _add(
        self, name: str, kind: str, source: str, nodes: Sequence[Node], graph: Graph, before: Sequence[Op] = ()
    ) -> None:
        """Adds operators without parameters, one behind the other, then nodes of a graph that read the last, all under names of their own.

        Args:
            name: The layer.
            kind: Which of its errors the last node shows.
            source: The value that the nodes read in their graph.
            nodes: The nodes.
            graph: Their graph.
            before: The operators.
        """
        value = self._pair.original.node[name].inputs[0]
        for number, op in enumerate(before):
            made = f"{name}/{kind}/before/{number}"
            self._nodes.append(Node(made, op, (value,), (made,)))
            value = made
        names = {source: value}
        for number, node in enumerate(nodes):
            made = f"{name}/{kind}/{number}"
            params = {f"{made}/{place}": graph.params[theirs] for place, theirs in enumerate(node.params)}
            self._params.update(params)
            inputs = tuple(names[theirs] for theirs in node.inputs)
            self._nodes.append(Node(made, node.op, inputs, (made,), tuple(params)))
            names[node.outputs[0]] = made
        self._outputs[names[nodes[-1].outputs[0]]] = (name, kind)

    def _add_with_weights(self, name: str, weights: Array, bias: Array | None) -> None:
        node = self._pair.original.node[name]
        op, params = node.op, {"weights": weights}
        if bias is not None:
            # It may make up for what the weights lost, and the float layer need not have one.
            op, params["bias"] = replace(op, bias_term=True), bias  # type: ignore[call-arg]
        alone = replace(node, op=op, params=tuple(params))
        self._add(name, "weights", node.inputs[0], [alone], replace(self._pair.original, params=params))

    def _add_with_input(self, name: str, quantize: Quantize) -> None:
        low, high = -128.0 - quantize.offset, 127.0 - quantize.offset
        step = float(np.float32(1) / np.float32(quantize.multiplier))
        coarse = (Power(scale=quantize.multiplier), Unary("round"), Clip(low, high), Power(scale=step))
        node = self._pair.original.node[name]
        self._add(name, "activations", node.inputs[0], [node], self._pair.original, coarse)


def _parts(batches: Iterable[Mapping[str, Array]], size: int, limit: int | None) -> Iterator[dict[str, Array]]:
    """Cuts batches into parts of at most ``size`` samples, and ends after ``limit`` samples."""
    left = limit
    for batch in batches:
        arrays = {name: np.asarray(array, np.float32) for name, array in batch.items()}
        count = min((len(array) for array in arrays.values()), default=0)
        count = count if left is None else min(count, left)
        for start in range(0, count, size):
            yield {name: array[start : min(start + size, count)] for name, array in arrays.items()}
        if left is not None:
            left -= count
            if left <= 0:
                return


def _blocked(pair: Pair) -> dict[str, str]:
    """Returns the quantized layers that onnxruntime cannot be brought to, with what stands in the way."""
    found = {}
    for graph, values in (
        (pair.original, {name: pair.original.node[name].outputs[0] for name in pair.layers}),
        (pair.quantized, {name: layer.output for name, layer in pair.layers.items()}),
    ):
        cause: dict[str, str] = {}
        for node in graph.nodes:
            why = node.place if isinstance(node.op, Opaque) else next((cause[v] for v in node.inputs if v in cause), "")
            if why:
                cause.update(dict.fromkeys(node.outputs, why))
        found.update({name: f"onnxruntime cannot run {cause[v]}" for name, v in values.items() if v in cause})
    return found


def _outputs(pair: Pair) -> dict[str, str]:
    """Returns the outputs that can be compared, by the float network's names, with those of the quantized one."""
    names = dict(zip(pair.original.outputs, pair.quantized.outputs, strict=False))
    shapes = pair.original.shapes, pair.quantized.shapes
    return {one: two for one, two in names.items() if shapes[0][one] == shapes[1][two] and shapes[0][one] is not None}


def _by_position(batch: Mapping[str, Array], pair: Pair) -> dict[str, Array]:
    """Returns inputs under the quantized network's names, which another format may call otherwise."""
    one, two = ([graph.storage_name(item.name) for item in graph.inputs] for graph in (pair.original, pair.quantized))
    if set(one) == set(two) or len(one) != len(two):
        return dict(batch)
    names = dict(zip(one, two, strict=True))
    return {names.get(name, name): array for name, array in batch.items()}
