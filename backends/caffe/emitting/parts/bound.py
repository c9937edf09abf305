"""Constant operands that are looked at when a node is written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from nuqconv.ir import Graph, Node
from nuqconv.ir.ops import Op, Parameter, Shape

__all__ = ["Bound", "bind_constants"]

_SMALL = 4096
"""Larger constants that several nodes read are stored once only."""


@dataclass(frozen=True)
class Bound(Op, traits=()):
    """An operator some of whose inputs are the node's first parameters.

    Attributes:
        op: The operator.
        bound: The numbers of those inputs.
    """

    op: Op
    bound: tuple[int, ...]

    min_inputs: ClassVar[int] = 0
    max_inputs: ClassVar[int | None] = None
    num_outputs: ClassVar[int | None] = None

    @property
    def kind(self) -> str:
        """The operator's name."""
        return self.op.kind

    def output_count(self, inputs: int) -> int | None:
        """As many as the operator has."""
        return self.op.output_count(inputs + len(self.bound))

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape | None, ...]:
        """Asks the operator."""
        constants = dict(zip(self.bound, params, strict=False))
        rest: Iterator[Shape] = iter(inputs)
        count = len(inputs) + len(self.bound)
        shapes = [constants[number] if number in constants else next(rest) for number in range(count)]
        return self.op.infer(shapes, params[len(self.bound) :])


def bind_constants(graph: Graph, binding: Collection[type[Op]]) -> Graph:
    """Returns a graph whose nodes hold the constants on which their layers depend; Parameter nodes that nobody reads then are dropped.

    Args:
        graph: The graph; not changed.
        binding: Operators whose layers depend on the numbers of operands.
    """
    nodes = [_bound(graph, node) if type(node.op) in binding else node for node in graph.nodes]
    if all(new is old for new, old in zip(nodes, graph.nodes, strict=True)):
        return graph
    read = {name for node in nodes for name in node.inputs}.union(graph.outputs)
    kept = [node for node in nodes if not isinstance(node.op, Parameter) or read.intersection(node.outputs)]
    return graph.with_nodes(kept)


def _bound(graph: Graph, node: Node) -> Node:
    found: dict[int, str] = {}
    for number, value in enumerate(node.inputs):
        producer = graph.producer.get(value)
        if producer is not None and isinstance(producer.op, Parameter):
            alone = graph.consumers[value] == (node,) and value not in graph.outputs
            if alone or prod(producer.op.shape) <= _SMALL:
                found[number] = producer.params[0]
    if not found or len(found) == len(node.inputs):
        return node
    inputs = tuple(value for number, value in enumerate(node.inputs) if number not in found)
    return replace(node, op=Bound(node.op, tuple(found)), inputs=inputs, params=(*found.values(), *node.params))
