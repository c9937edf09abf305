"""What Caffe takes for a net's inputs, outputs and names."""

from __future__ import annotations

from dataclasses import replace

from nuqconv.backends.caffe.emitting import EMITTERS
from nuqconv.backends.caffe.emitting.parts.bound import bind_constants
from nuqconv.frontends.caffe.checks import name_problem
from nuqconv.ir import Graph, Node
from nuqconv.ir.names import fresh_name
from nuqconv.ir.ops import Flatten, Power, Reshape, Silence
from nuqconv.ir.traits import QuantizedForm
from nuqconv.passes.pads import absorb_pads
from nuqconv.passes.rows import rows_as_matrix

__all__ = ["is_from_caffe", "net_problems", "prepared"]


def is_from_caffe(node: Node) -> bool:
    """Whether a node can be given back as it was read."""
    return node.origin is not None and node.origin.framework == "caffe"


def prepared(graph: Graph) -> Graph:
    """Returns a graph that computes the same and can be written node by node."""
    binding = {kind for kind, emitter in EMITTERS.items() if emitter.binds}
    graph = rows_as_matrix(_reshaped_apart(_without_places(graph)))
    return _with_outputs_unread(bind_constants(absorb_pads(graph), binding))


def _without_places(graph: Graph) -> Graph:
    """Takes layers out of place if any node is written from what it computes.

    Its layers may read their input after the first of them has written, and some share memory with their bottom. A blob that the user
    feeds stays as it is.
    """
    if all(is_from_caffe(node) or node.op.trait(QuantizedForm) for node in graph.nodes):
        return graph
    fed = {graph.storage_name(item.name) for item in graph.inputs}
    return replace(graph, storage={value: place for value, place in graph.storage.items() if place in fed})


def _reshaped_apart(graph: Graph) -> Graph:
    """Gives what a Reshape or Flatten makes in place a blob of its own: Caffe aborts on such a layer, its forks and OpenCV run it.

    The last state of a blob keeps its name, unless an input is fed by it.
    """
    fed = {graph.storage_name(item.name) for item in graph.inputs}
    taken = set(graph.names)
    for number, node in enumerate(graph.nodes):
        if not isinstance(node.op, (Reshape, Flatten)) or not node.inputs:
            continue
        blob = graph.storage_name(node.inputs[0])
        if graph.storage_name(node.outputs[0]) != blob:
            continue
        parts = graph.nodes[:number], graph.nodes[number:]
        states = [
            value
            for side in parts[blob in fed :][:1]
            for item in side
            for value in item.outputs
            if graph.storage_name(value) == blob
        ]
        place = fresh_name(f"{blob}/{node.name}", taken)
        if blob in states:
            graph = graph.with_names({blob: place})
            states.remove(blob)
        graph = replace(graph, storage={**graph.storage, **dict.fromkeys(states, place)})
    return graph


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


def _with_outputs_unread(graph: Graph) -> Graph:
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
            inner[value] = fresh_name(f"{value}/inner", taken)
            # A Power copies; a Split would share its memory with layers that work in place.
            copies[value] = Node(fresh_name(f"{value}/output", taken), Power(), (inner[value],), (value,))
    dead = tuple(value for value, readers in graph.consumers.items() if not readers and value not in graph.outputs)
    if not inner and not dead:
        return graph
    nodes: list[Node] = []
    for node in graph.nodes:
        renamed = [tuple(inner.get(name, name) for name in names) for names in (node.inputs, node.outputs)]
        nodes.append(replace(node, inputs=renamed[0], outputs=renamed[1]))
        nodes += [copies[name] for name in node.outputs if name in copies]
    if dead:
        nodes.append(Node(fresh_name("unused", taken), Silence(), dead, ()))
    return graph.with_nodes(nodes)
