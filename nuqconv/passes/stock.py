"""Recognises a quantization that is spelt out in stock layers.

::

    x -> Power -> ReLU -> Power -> ReLU -> Power -> ReLU -> Power -> u        becomes        x -> Quantize -> u

It is the form in which fake_quant models of Caffe hold a Quantize (decision D4 in ``docs/decisions.md``). Both compute the same number for every x
that is a number: from 2^22 on, where adding 1.5 * 2^23 no longer rounds to integers, both are clipped. So a model read from files runs as fast
as the graph that it was written from. In ONNX models the form is Power (a scale), Unary (round) and Clip.
"""

from __future__ import annotations

from nuqconv.ir import Graph, Node
from nuqconv.ir.ops import Clip, Op, Power, Quantize, ReLU, Unary

__all__ = ["collapse_quantize"]

_ROUNDER = 1.5 * 2**23
_LENGTH, _SHORT = 7, 3


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
            chain = chain[:_SHORT]
            op = _rounded([item.op for item in chain])
        if op is None:
            nodes.append(node)
            continue
        inside.update(item.name for item in chain)
        nodes.append(Node(node.name, op, node.inputs, chain[-1].outputs, origin=node.origin))
    return graph.with_nodes(nodes) if inside else graph


def _chain(graph: Graph, node: Node) -> list[Node]:
    """Returns a node and those behind it, as long as each is the only reader of the one before."""
    found = [node]
    while len(found) < _LENGTH and isinstance(found[-1].op, Power | ReLU | Unary):
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


def _rounded(ops: list[Op]) -> Quantize | None:
    """Returns what ``clip(rint(x * multiplier), low, high)`` is if low and high are those of 8 bits, or None."""
    if len(ops) != _SHORT:
        return None
    first, middle, last = ops
    if not isinstance(first, Power) or first != Power(scale=first.scale) or middle != Unary("round"):
        return None
    if not isinstance(last, Clip) or last.high - last.low != 255:
        return None
    offset = -128 - last.low
    return Quantize(first.scale, int(offset)) if offset in range(-128, 128) else None
