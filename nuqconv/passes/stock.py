"""Recognises a quantization that is spelt out in stock layers.

::

    x -> Power -> ReLU -> Power -> ReLU -> Power -> ReLU -> Power -> u        becomes        x -> Quantize -> u

It is the form in which fake_quant models hold a Quantize (decision D4 in ``docs/decisions.md``). Both compute the same number for every x
that is a number: from 2^22 on, where adding 1.5 * 2^23 no longer rounds to integers, both are clipped. So a model read from files runs as fast
as the graph that it was written from.
"""

from __future__ import annotations

from nuqconv.ir import Graph, Node
from nuqconv.ir.ops import Op, Power, Quantize, ReLU

__all__ = ["collapse_quantize"]

_ROUNDER = 1.5 * 2**23
_LENGTH = 7


def collapse_quantize(graph: Graph) -> Graph:
    """Returns the graph with every such chain as one Quantize, which has the name of the chain's first layer.

    A chain stays as it is if anything else reads a value inside it, or if such a value is an output of the network.
    """
    nodes: list[Node] = []
    inside: set[str] = set()
    for node in graph.nodes:
        if node.name in inside:
            continue
        chain = _chain(graph, node)
        op = _quantize([item.op for item in chain])
        if op is None:
            nodes.append(node)
            continue
        inside.update(item.name for item in chain)
        nodes.append(Node(node.name, op, node.inputs, chain[-1].outputs, origin=node.origin))
    return graph.with_nodes(nodes) if inside else graph


def _chain(graph: Graph, node: Node) -> list[Node]:
    """Returns a node and those behind it, as long as each is the only reader of the one before."""
    found = [node]
    while len(found) < _LENGTH and isinstance(found[-1].op, Power | ReLU):
        value = found[-1].outputs[0]
        readers = graph.consumers[value]
        if len(readers) != 1 or value in graph.outputs:
            break
        found.append(readers[0])
    return found


def _quantize(ops: list[Op]) -> Quantize | None:
    """Returns what a chain of operators computes, or None if it is another."""
    first, last = ops[0], ops[-1]
    if len(ops) != _LENGTH or not isinstance(first, Power) or not isinstance(last, Power):
        return None
    offset = 127 - last.shift
    if offset not in range(-128, 128):
        return None
    expected = [
        Power(scale=first.scale, shift=_ROUNDER),
        ReLU(),
        Power(shift=128 + offset - _ROUNDER),
        ReLU(),
        Power(scale=-1.0, shift=255.0),
        ReLU(),
        Power(scale=-1.0, shift=127 - offset),
    ]
    return Quantize(first.scale, int(offset)) if ops == expected else None
