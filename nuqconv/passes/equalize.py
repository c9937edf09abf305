"""Channels of inner values brought to like sizes, so that one step size suits all channels of an input.

A layer's output channel may be divided by a factor if the layers that read it multiply by the same factor. What stands between must pass the factor
through (the trait `KeepsScale`). The idea is that of Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019;
that the sizes of activations on data decide, and how far, follows Xiao et al., "SmoothQuant", 2022. Here factors are powers of two: not one number
of the float network's outputs changes, whatever the network computes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import QuantizationError
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import Weighted
from nuqconv.ir.traits import KeepsScale

__all__ = ["MOST_OCTAVES", "Chain", "Shifts", "balanced", "chains", "scaled", "shifts_between"]

Shifts = Mapping[str, NDArray[np.int64]]
"""For layers by name the exponents of two that their output channels are divided by, (num_output,)."""

MOST_OCTAVES = 8
"""Most octaves that a channel is moved."""
_ALIVE = 1e-6
"""Channels that stay below this share of the largest one say nothing of their size."""
_SLAB = 1 << 22
_SHARE = 0.3
"""How much values count next to weights, which may have 16 levels while values have 256 (decision D41)."""
_CLEARLY = 0.9
_ALIKE = 0.5
"""Least cosine between a channel's weights before and after that are taken for the same."""


@dataclass(frozen=True)
class Chain:
    """A layer whose output channels may be scaled.

    Attributes:
        layer: The layer.
        values: Its output, and what others make of it, up to the value that layers with weights read.
        readers: Those layers.
    """

    layer: str
    values: tuple[str, ...]
    readers: tuple[str, ...]

    @property
    def read(self) -> str:
        """The value that is read."""
        return self.values[-1]


def chains(graph: Graph, keep: Collection[str] = ()) -> tuple[Chain, ...]:
    """Finds the layers whose output channels may be scaled, in the order of the graph.

    Args:
        graph: The graph, after folding.
        keep: Values that must stay as they are, besides the graph's outputs.
    """
    kept = {*graph.outputs, *keep}
    uses = [name for node in graph.nodes for name in set(node.params)]
    shared = {name for name in uses if uses.count(name) > 1} if len(uses) != len(set(uses)) else set()

    def weighted(node: Node) -> bool:
        fits = isinstance(node.op, Weighted) and node.op.axis == 1 and len(node.inputs) == 1
        return fits and shared.isdisjoint(node.params)

    found = []
    for node in graph.nodes:
        if not (weighted(node) and cast("Weighted", node.op).scales_by_channel):
            continue
        values = [node.outputs[0]]
        while kept.isdisjoint(values):
            readers = graph.consumers[values[-1]]
            if readers and all(map(weighted, readers)):
                found.append(Chain(node.name, tuple(values), tuple(reader.name for reader in readers)))
                break
            passed = len(readers) == 1 and len(readers[0].inputs) == 1 and readers[0].op.trait(KeepsScale) is not None
            if not passed or len(readers[0].outputs) != 1:
                break
            values.append(readers[0].outputs[0])
    return tuple(found)


def balanced(graph: Graph, peaks: Mapping[str, Array], keep: Collection[str] = ()) -> Shifts:
    """Chooses how far each channel is moved.

    A channel is divided by a power of its largest value by another of the largest weight that reads it (each weight as a share of the largest of
    its step size), so that values and weights both come to like sizes; where each channel has readers of its own, whose step sizes follow, by
    its largest value alone. On average over the channels that are alive nothing is moved.

    Args:
        graph: The graph, after folding.
        peaks: For the `Chain.read` of each chain the largest absolute value of each channel on data, (channels,).
        keep: Values that must stay as they are.

    Returns:
        The exponents; layers without any are left out.
    """
    found = {}
    for chain in chains(graph, keep):
        peak = np.asarray(peaks[chain.read], np.float64)
        reached = np.max([_reach(graph, graph.node[name], len(peak)) for name in chain.readers], axis=0)
        alive = (peak > _ALIVE * peak.max(initial=0.0)) & (reached > 0)
        if not alive.any():
            continue
        apart = all(_is_depthwise(graph.node[name], len(peak)) for name in chain.readers)
        large = np.log2(peak[alive])
        sizes = large if apart else _SHARE * large - (1 - _SHARE) * np.log2(reached[alive])
        shifts = np.zeros(len(peak), np.int64)
        shifts[alive] = np.clip(np.rint(sizes - sizes.mean()), -MOST_OCTAVES, MOST_OCTAVES)
        if shifts.any():
            found[chain.layer] = shifts
    return found


def scaled(graph: Graph, shifts: Shifts) -> Graph:
    """Returns the graph with channels divided by powers of two, which computes the same outputs to the bit.

    Args:
        graph: The graph that the exponents are of.
        shifts: The exponents.

    Raises:
        QuantizationError: A layer may not be scaled, is not there or has another number of channels.
    """
    by_layer = {chain.layer: chain for chain in chains(graph)}
    odd = [
        repr(name)
        for name, shift in shifts.items()
        if name not in by_layer or shift.shape != (cast("Weighted", graph.node[name].op).num_output,)
    ]
    if odd:
        raise QuantizationError(f"the channels of these layers cannot be scaled so: {', '.join(odd)}")
    params: dict[str, Array] = dict(graph.params)
    for layer, shift in shifts.items():
        chain = by_layer[layer]
        node = graph.node[layer]
        op = cast("Weighted", node.op)
        factor = np.ldexp(np.float32(1), -shift)
        # Powers of two are exact in float32, and a copy in float64 is large.
        params[node.params[0]] = op.scale_outputs(cast("Any", params[node.params[0]]), cast("Any", factor))
        for name in node.params[1:]:
            params[name] = (params[name] * factor.reshape(params[name].shape)).astype(np.float32)
        for name in chain.readers:
            reader = graph.node[name]
            params[reader.params[0]] = _times_inputs(reader, params[reader.params[0]], np.ldexp(1.0, shift))
    return replace(graph, params=params)


def shifts_between(graph: Graph, others: Mapping[str, Array]) -> Shifts:
    """Finds by which powers of two the channels of a network were divided before it was quantized, from its weights.

    A channel counts as divided if the weights that make it say so, and those that read it as well.

    Args:
        graph: The network as it was, after folding.
        others: Weights of its layers in the other one, as floats, in the same shapes.

    Returns:
        The exponents; layers without any are left out.
    """
    found: dict[str, NDArray[np.int64]] = {}
    inputs: dict[str, NDArray[np.float64]] = {}
    for chain in chains(graph):
        if not {chain.layer, *chain.readers}.issubset(others):
            continue
        node = graph.node[chain.layer]
        own = graph.params[node.params[0]]
        moved = _times_inputs(node, own, inputs[node.name]) if node.name in inputs else own
        one, two = (_rows(node, array) for array in (moved, others[chain.layer]))
        energy, product = (one * one).sum(1), (one * two).sum(1)
        alike = product > _ALIKE * np.sqrt(energy * (two * two).sum(1))
        ratio = np.where(alike, product, 1.0) / np.where(alike, energy, 1.0)
        shift = np.where(alike, np.rint(-np.log2(ratio)), 0.0).astype(np.int64)
        for name in chain.readers if shift.any() else ():
            shift[~_confirmed(graph.node[name], graph.params[graph.node[name].params[0]], others[name], shift)] = 0
        if shift.any():
            found[chain.layer] = shift
            inputs |= dict.fromkeys(chain.readers, np.ldexp(1.0, shift))
    return found


def _confirmed(node: Node, own: Array, other: Array, shift: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Says for each input channel whether the weights that read it may be the other ones times its power of two, rather than without it."""
    op = cast("Weighted", node.op)
    wanted, still = (op.to_matrix(array).astype(np.float64) for array in (other, own))
    moved = op.to_matrix(_times_inputs(node, own, np.ldexp(1.0, shift))).astype(np.float64)
    groups = len(wanted)
    if groups == len(shift):
        # Each output reads one channel, so that a factor of the one is as good as one of the other.
        return np.full(groups, len(set(shift.tolist())) > 1)
    norm = np.sqrt(np.square(wanted).sum(2, keepdims=True))
    wanted = wanted / np.where(norm > 0, norm, 1.0)

    def fitted(array: NDArray[np.float64]) -> NDArray[np.float64]:
        # The outputs of the reader may be scaled too, and each counts alike.
        energy = (array * array).sum(2, keepdims=True)
        row: NDArray[np.float64] = (array * wanted).sum(2, keepdims=True) / np.where(energy > 0, energy, 1.0)
        return row

    def each(array: NDArray[np.float64]) -> NDArray[np.float64]:
        total: NDArray[np.float64] = array.sum(1).reshape(groups, len(shift) // groups, -1).sum(2).reshape(-1)
        return total

    row = fitted(moved)
    found = np.square(wanted - row * moved)
    # Where all channels have moved alike nothing was brought to like sizes: some factor is wrong.
    if not found.sum() < _CLEARLY * np.square(wanted - fitted(still) * still).sum():
        return np.zeros(len(shift), np.bool_)
    # Weights that are rounded to nothing, or nearly, say nothing against it.
    silent = each(wanted * row * still) < _ALIKE * np.sqrt(each(wanted * wanted) * each(np.square(row * still)))
    return silent | (each(found) < each(np.square(wanted - row * still)))


def _rows(node: Node, weights: Array) -> NDArray[np.float64]:
    matrix = cast("Weighted", node.op).to_matrix(weights)
    return matrix.reshape(-1, matrix.shape[2]).astype(np.float64)


def _times_inputs(node: Node, weights: Array, factor: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns weights that multiply each input channel by a factor."""
    op = cast("Weighted", node.op)
    matrix = op.to_matrix(weights)
    groups, _, columns = matrix.shape
    each = np.repeat(factor.astype(np.float32).reshape(groups, -1), columns * groups // len(factor), axis=1)
    found: NDArray[np.float32] = op.from_matrix(matrix * each[:, None], weights.shape)
    return found


def _reach(graph: Graph, node: Node, channels: int) -> NDArray[np.float64]:
    """Returns for each input channel its largest weight, as a share of the largest one of the same step size."""
    op = cast("Weighted", node.op)
    matrix = op.to_matrix(graph.params[node.params[0]])
    groups, rows, columns = matrix.shape
    per = channels // groups
    whole = max(float(matrix.max(initial=0.0)), -float(matrix.min(initial=0.0)))
    found = np.zeros((groups, per))
    step = max(1, _SLAB // (groups * columns))
    for start in range(0, rows, step):
        part = np.abs(matrix[:, start : start + step])
        largest = part.max(axis=2, keepdims=True) if op.scales_by_channel else np.full((1, 1, 1), whole, part.dtype)
        part /= np.where(largest > 0, largest, 1.0).astype(part.dtype)
        np.maximum(found, part.reshape(groups, part.shape[1], per, -1).max(axis=(1, 3)), out=found)
    return found.reshape(-1)


def _is_depthwise(node: Node, channels: int) -> bool:
    op = cast("Weighted", node.op)
    return op.groups == channels and op.scales_by_channel
