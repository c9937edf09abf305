"""Folds BatchNorm, BN and Scale into the weights of a neighbouring layer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nuqconv.ir import Array, Graph, Node, read_only
from nuqconv.ir.ops import Convolution, Weighted

__all__ = ["FoldResult", "fold_affine"]

_Vector = NDArray[np.float64]
_Map = tuple[_Vector, _Vector]
"""Factor and shift of each channel."""


@dataclass(frozen=True)
class FoldResult:
    """The folded graph, and for each layer that took others in, their names in the order of the network."""

    graph: Graph
    folded: Mapping[str, tuple[str, ...]]


def fold_affine(graph: Graph, skip: Collection[str] = ()) -> FoldResult:
    """Folds chains of BatchNorm, BN and Scale into Convolution, Deconvolution and InnerProduct.

    ::

        x -> Convolution -> BatchNorm -> Scale -> y    becomes    x -> Convolution' -> y
        x -> BatchNorm -> Scale -> Convolution -> y    becomes    x -> Convolution' -> y    (only where nothing is padded)

    Values between the layers must have no other reader. Layers that share weights with others are left alone. The arithmetic is float64,
    rounded to float32 once.

    Args:
        graph: The graph; not changed.
        skip: Names of layers that take no part.

    Returns:
        The new graph and what was folded where.
    """
    folder = _Folder(graph, frozenset(skip))
    for node in graph.nodes:
        if isinstance(node.op, Weighted) and folder.may_change(node):
            folder.fold_after(node, node.op)
    for node in graph.nodes:
        if isinstance(node.op, Convolution) and folder.may_change(node) and not folder.is_padded(node, node.op):
            folder.fold_before(node, node.op)
    return folder.result()


class _Folder:
    def __init__(self, graph: Graph, skip: frozenset[str]) -> None:
        self.graph = graph
        self.skip = skip
        self.nodes: dict[str, Node] = {node.name: node for node in graph.nodes}
        self.params: dict[str, Array] = dict(graph.params)
        self.folded: dict[str, tuple[str, ...]] = {}
        uses = [name for node in graph.nodes for name in set(node.params)]
        self.shared = {name for name in uses if uses.count(name) > 1} if len(uses) != len(set(uses)) else set()

    def may_change(self, node: Node) -> bool:
        """Whether a layer's weights may be replaced."""
        on_channels = isinstance(node.op, Weighted) and node.op.axis == 1
        single = on_channels and len(node.inputs) == 1
        return node.name not in self.skip and single and self.shared.isdisjoint(node.params)

    def is_padded(self, node: Node, op: Convolution) -> bool:
        """Whether windows of a convolution reach beyond its input, or may do."""
        shape = self.graph.shapes[node.inputs[0]]
        return any(op.pad) or (shape is not None and any(op.end_pads(shape[op.axis + 1 :])))

    def fold_after(self, node: Node, op: Weighted) -> None:
        """Takes in the affine layers that follow ``node``."""
        chain: list[Node] = []
        maps: list[_Map] = []
        value = node.outputs[0]
        while (following := self._only_reader(value)) is not None and (map_ := self._affine(following)) is not None:
            chain.append(following)
            maps.append(map_)
            value = following.outputs[0]
        if not chain:
            return
        factor, shift = _compose(maps)
        weight, bias = self._weights(node, op)
        self._replace(
            node,
            op.scale_outputs(weight, factor),
            bias * factor + shift,
            inputs=node.inputs,
            outputs=chain[-1].outputs,
        )
        self._remove(node, chain, before=False)

    def fold_before(self, node: Node, op: Convolution) -> None:
        """Takes in the affine layers that precede ``node``."""
        chain: list[Node] = []
        maps: list[_Map] = []
        value = node.inputs[0]
        while (
            (made := self.graph.producer.get(value)) is not None
            and self._only_reader(value) is not None
            and (map_ := self._affine(made)) is not None
        ):
            chain.insert(0, made)
            maps.insert(0, map_)
            value = made.inputs[0]
        if not chain:
            return
        factor, shift = _compose(maps)
        weight, bias = self._weights(node, op)
        scaled, moved = _absorb_inputs(op, weight, factor, shift)
        self._replace(node, scaled, bias + moved, inputs=chain[0].inputs, outputs=self.nodes[node.name].outputs)
        self._remove(node, chain, before=True)

    def result(self) -> FoldResult:
        return FoldResult(self.graph.with_nodes(self.nodes.values(), self.params), self.folded)

    def _only_reader(self, value: str) -> Node | None:
        readers = self.graph.consumers[value]
        return readers[0] if len(readers) == 1 and value not in self.graph.outputs else None

    def _affine(self, node: Node) -> _Map | None:
        """Returns factor and shift of a layer that may be folded, float64 (C,); None for any other layer."""
        if node.name in self.skip or node.name not in self.nodes or not node.inputs:
            return None
        rank = len(self.graph.shapes[node.inputs[0]] or ())
        return node.op.channel_affine([self.graph.params[name] for name in node.params], len(node.inputs), rank)

    def _weights(self, node: Node, op: Weighted) -> tuple[_Vector, _Vector]:
        current = self.nodes[node.name]
        weight = self.params[current.params[0]].astype(np.float64)
        bias = self.params[current.params[1]].astype(np.float64) if len(current.params) > 1 else np.zeros(op.num_output)
        return weight, bias

    def _replace(
        self, node: Node, weight: _Vector, bias: _Vector, inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> None:
        current = self.nodes[node.name]
        names = (current.params[0], current.params[1] if len(current.params) > 1 else f"{node.name}/1")
        self.params[names[0]] = read_only(weight.astype(np.float32))
        self.params[names[1]] = read_only(bias.astype(np.float32))
        op = current.op.with_bias() if isinstance(current.op, Weighted) else current.op
        self.nodes[node.name] = replace(current, op=op, params=names, inputs=inputs, outputs=outputs)

    def _remove(self, node: Node, chain: Iterable[Node], *, before: bool) -> None:
        names = tuple(link.name for link in chain)
        for name in names:
            del self.nodes[name]
        have = self.folded.get(node.name, ())
        self.folded[node.name] = (*names, *have) if before else (*have, *names)


def _compose(steps: Iterable[_Map]) -> _Map:
    """Joins affine maps applied one after the other into one."""
    iterator = iter(steps)
    factor, shift = next(iterator)
    for next_factor, next_shift in iterator:
        factor, shift = factor * next_factor, shift * next_factor + next_shift
    return factor, shift


def _absorb_inputs(op: Convolution, weight: _Vector, factor: _Vector, shift: _Vector) -> tuple[_Vector, _Vector]:
    """Returns the weights that take the unscaled input, and what the shift adds to the bias."""
    group = op.group
    outputs, inputs = weight.shape[0] // group, weight.shape[1]
    grouped = weight.reshape(group, outputs, inputs, -1)
    moved = np.einsum("goik,gi->go", grouped, shift.reshape(group, inputs)).ravel()
    return (grouped * factor.reshape(group, 1, inputs, 1)).reshape(weight.shape), moved
