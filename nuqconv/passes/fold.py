"""Folds BatchNorm, BN and Scale into the weights of a neighbouring layer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nuqconv.ir import Array, Graph, Node, read_only
from nuqconv.ir.ops import BN, BatchNorm, Convolution, Deconvolution, InnerProduct, Scale

__all__ = ["FoldResult", "fold_affine"]

_Weighted = Convolution | Deconvolution | InnerProduct
_Vector = NDArray[np.float64]


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
        if isinstance(node.op, _Weighted) and folder.may_change(node):
            folder.fold_after(node)
    for node in graph.nodes:
        if isinstance(node.op, Convolution) and folder.may_change(node) and not folder.is_padded(node, node.op):
            folder.fold_before(node)
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
        on_channels = isinstance(node.op, _Weighted) and node.op.axis == 1
        single = on_channels and len(node.inputs) == 1
        return node.name not in self.skip and single and self.shared.isdisjoint(node.params)

    def is_padded(self, node: Node, op: Convolution) -> bool:
        """Whether windows of a convolution reach beyond its input, or may do."""
        shape = self.graph.shapes[node.inputs[0]]
        return any(op.pad) or (shape is not None and any(op.end_pads(shape[op.axis + 1 :])))

    def fold_after(self, node: Node) -> None:
        """Takes in the affine layers that follow ``node``."""
        chain: list[Node] = []
        value = node.outputs[0]
        while (following := self._only_reader(value)) is not None and self._is_affine(following):
            chain.append(following)
            value = following.outputs[0]
        if not chain:
            return
        factor, shift = _compose(self._affine(link) for link in chain)
        weight, bias = self._weights(node)
        self._replace(
            node,
            _scale_outputs(node.op, weight, factor),
            bias * factor + shift,
            inputs=node.inputs,
            outputs=chain[-1].outputs,
        )
        self._remove(node, chain, before=False)

    def fold_before(self, node: Node) -> None:
        """Takes in the affine layers that precede ``node``."""
        chain: list[Node] = []
        value = node.inputs[0]
        while (
            (made := self.graph.producer.get(value)) is not None
            and made.name in self.nodes
            and self._is_affine(made)
            and self._only_reader(value) is not None
        ):
            chain.insert(0, made)
            value = made.inputs[0]
        if not chain:
            return
        factor, shift = _compose(self._affine(link) for link in chain)
        weight, bias = self._weights(node)
        scaled, moved = _absorb_inputs(node.op, weight, factor, shift)
        self._replace(node, scaled, bias + moved, inputs=chain[0].inputs, outputs=self.nodes[node.name].outputs)
        self._remove(node, chain, before=True)

    def result(self) -> FoldResult:
        return FoldResult(self.graph.with_nodes(self.nodes.values(), self.params), self.folded)

    def _only_reader(self, value: str) -> Node | None:
        readers = self.graph.consumers[value]
        return readers[0] if len(readers) == 1 and value not in self.graph.outputs else None

    def _is_affine(self, node: Node) -> bool:
        if node.name in self.skip or node.name not in self.nodes:
            return False
        if isinstance(node.op, BatchNorm | BN):
            return True
        rank = len(self.graph.shapes[node.inputs[0]] or ())
        on_channels = isinstance(node.op, Scale) and len(node.inputs) == 1 and node.op.axis in (1, 1 - rank)
        return on_channels and self.graph.params[node.params[0]].ndim == 1

    def _affine(self, node: Node) -> tuple[_Vector, _Vector]:
        """Returns factor and shift of an affine layer, float64 (C,)."""
        values = [self.graph.params[name].astype(np.float64) for name in node.params]
        if isinstance(node.op, BatchNorm):
            mean, variance, count = values
            scale = 0.0 if count[0] == 0 else 1.0 / count[0]
            factor = 1.0 / np.sqrt(variance * scale + node.op.eps)
            return factor, -mean * scale * factor
        if isinstance(node.op, BN):
            factor, shift, *statistics = (value.ravel() for value in values)
            if not statistics:
                return factor, shift
            mean, variance = statistics
            factor = factor / np.sqrt(variance + node.op.eps)
            return factor, shift - mean * factor
        return values[0], values[1] if len(values) > 1 else np.zeros_like(values[0])

    def _weights(self, node: Node) -> tuple[_Vector, _Vector]:
        current = self.nodes[node.name]
        op = node.op
        if not isinstance(op, _Weighted):
            raise TypeError(node.op)
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
        op = current.op
        if isinstance(op, _Weighted):
            op = replace(op, bias_term=True)
        self.nodes[node.name] = replace(current, op=op, params=names, inputs=inputs, outputs=outputs)

    def _remove(self, node: Node, chain: Iterable[Node], *, before: bool) -> None:
        names = tuple(link.name for link in chain)
        for name in names:
            del self.nodes[name]
        have = self.folded.get(node.name, ())
        self.folded[node.name] = (*names, *have) if before else (*have, *names)


def _compose(steps: Iterable[tuple[_Vector, _Vector]]) -> tuple[_Vector, _Vector]:
    """Joins affine maps applied one after the other into one."""
    iterator = iter(steps)
    factor, shift = next(iterator)
    for next_factor, next_shift in iterator:
        factor, shift = factor * next_factor, shift * next_factor + next_shift
    return factor, shift


def _scale_outputs(op: object, weight: _Vector, factor: _Vector) -> _Vector:
    """Multiplies every output channel's weights by its factor."""
    if isinstance(op, Deconvolution):
        inputs, outputs = weight.shape[0] // op.group, weight.shape[1]
        grouped = weight.reshape(op.group, inputs, outputs, -1) * factor.reshape(op.group, 1, outputs, 1)
        return grouped.reshape(weight.shape)
    if isinstance(op, InnerProduct) and op.transpose:
        return weight * factor
    return weight * factor.reshape(-1, *([1] * (weight.ndim - 1)))


def _absorb_inputs(op: object, weight: _Vector, factor: _Vector, shift: _Vector) -> tuple[_Vector, _Vector]:
    """Returns the weights that take the unscaled input, and what the shift adds to the bias."""
    group = op.group if isinstance(op, Convolution) else 1
    outputs, inputs = weight.shape[0] // group, weight.shape[1]
    grouped = weight.reshape(group, outputs, inputs, -1)
    moved = np.einsum("goik,gi->go", grouped, shift.reshape(group, inputs)).ravel()
    return (grouped * factor.reshape(group, 1, inputs, 1)).reshape(weight.shape), moved
