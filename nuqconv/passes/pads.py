"""Takes padding that differs at both ends into the convolution behind it.

::

    x -> Pad -> Convolution -> y        becomes        x -> Convolution' -> y

The graph's Convolution pads both ends alike. Where the ends differ, it pads alike and its kernel gets zeros in front or behind, so that every
window lies where it lay before; often the number of windows comes out right even without. Zeros change no sum.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nuqconv.ir import Graph, Node
from nuqconv.ir.names import fresh_name
from nuqconv.ir.ops import Convolution, Pad

__all__ = ["absorb_pads"]

_Axis = tuple[int, int, int]
"""Padding of both ends, zeros in front of the kernel, zeros behind it."""


def absorb_pads(graph: Graph) -> Graph:
    """Returns the graph without the Pads of zeros that are read by one Convolution only and fit into it."""
    params = dict(graph.params)
    changed: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        padding = graph.producer.get(node.inputs[0]) if len(node.inputs) == 1 else None
        if not isinstance(node.op, Convolution) or padding is None or not isinstance(padding.op, Pad):
            continue
        value = padding.outputs[0]
        if graph.consumers[value] != (node,) or value in graph.outputs:
            continue
        axes = _fitted(graph, node.op, padding)
        if axes is None:
            continue
        weight = params[node.params[0]]
        wider = np.pad(weight, [(0, 0), (0, 0), *(zeros for _, *zeros in axes)])
        name = node.params[0]
        if wider.shape != weight.shape:
            name = fresh_name(f"{node.name}/padded", {*params})
            params[name] = wider
        op = replace(node.op, pad=tuple(axis[0] for axis in axes), kernel=wider.shape[2:])
        changed[node.name] = replace(node, op=op, inputs=padding.inputs, params=(name, *node.params[1:]))
        gone.add(padding.name)
    if not gone:
        return graph
    return graph.with_nodes((changed.get(node.name, node) for node in graph.nodes if node.name not in gone), params)


def _fitted(graph: Graph, op: Convolution, padding: Node) -> list[_Axis] | None:
    """Returns what each spatial axis becomes, or None if the pads have no place in the convolution."""
    shape, pad = graph.shapes[padding.inputs[0]], padding.op
    if shape is None or not isinstance(pad, Pad) or pad.mode != "constant" or pad.value != 0:
        return None
    first = op.axis % len(shape) + 1
    if any((*pad.begins[:first], *pad.ends[:first])) or min(*pad.begins, *pad.ends) < 0:
        return None
    axes = [
        _axis(
            size,
            op.kernel[number],
            op.stride[number],
            op.dilation[number],
            begin + op.pad[number],
            end + op.pad[number],
        )
        for number, (size, begin, end) in enumerate(
            zip(shape[first:], pad.begins[first:], pad.ends[first:], strict=True)
        )
    ]
    found = [axis for axis in axes if axis is not None]
    return found if len(found) == len(axes) else None


def _axis(size: int, kernel: int, stride: int, dilation: int, begin: int, end: int) -> _Axis | None:
    """Returns the least change of one axis that leaves the windows where they are, and as many."""
    room = size - dilation * (kernel - 1) - 1
    wanted = (room + begin + end) // stride
    if wanted < 0:
        return None
    for zeros in range(abs(end - begin) // dilation + 1):
        reach = dilation * zeros
        # In front, zeros move the windows back, which as much padding on both sides makes up for.
        if (room + 2 * begin + reach) // stride == wanted:
            return begin + reach, zeros, 0
        if room + 2 * begin - reach >= 0 and (room + 2 * begin - reach) // stride == wanted:
            return begin, 0, zeros
    return None
