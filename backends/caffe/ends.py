"""What Caffe takes for a net's inputs, outputs and names."""

from __future__ import annotations

from dataclasses import replace

from nuqconv.frontends.caffe.checks import name_problem
from nuqconv.ir import Graph, Node
from nuqconv.ir.ops import Power, Silence

__all__ = ["net_problems", "with_outputs_unread"]


def net_problems(graph: Graph) -> list[str]:
    """Returns why a graph as a whole cannot be a Caffe net; nothing for one that can."""
    problems = [
        f"input '{item.name}' is an output as well as read by layers, and Caffe shows no blob that is read as an output; let the user keep it"
        for item in graph.inputs
        if item.name in graph.outputs and graph.consumers[item.name]
    ]
    named = [(node.name, "the layer's name") for node in graph.nodes]
    named += [(graph.storage_name(value), "blob") for value in graph.consumers]
    return problems + [problem for name, what in named if (problem := name_problem(name, what)) is not None]


def with_outputs_unread(graph: Graph) -> Graph:
    """Returns a graph of which Caffe sees the same outputs.

    To Caffe a blob is an output if no layer reads it. So an output that is read becomes a copy of what is read, and values that are
    neither read nor outputs go to a Silence.
    """
    taken = set(graph.names)
    inner: dict[str, str] = {}
    copies: dict[str, Node] = {}
    made = {item.name for item in graph.inputs}
    for value in dict.fromkeys(graph.outputs):
        if graph.consumers[value] and value not in made:
            inner[value] = _free(f"{value}/inner", taken)
            # A Power copies; a Split would share its memory with layers that work in place.
            copies[value] = Node(_free(f"{value}/output", taken), Power(), (inner[value],), (value,))
    dead = tuple(value for value, readers in graph.consumers.items() if not readers and value not in graph.outputs)
    if not inner and not dead:
        return graph
    nodes: list[Node] = []
    for node in graph.nodes:
        renamed = [tuple(inner.get(name, name) for name in names) for names in (node.inputs, node.outputs)]
        nodes.append(replace(node, inputs=renamed[0], outputs=renamed[1]))
        nodes += [copies[name] for name in node.outputs if name in copies]
    if dead:
        nodes.append(Node(_free("unused", taken), Silence(), dead, ()))
    return graph.with_nodes(nodes)


def _free(name: str, taken: set[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found
