"""A layer alone, fed what the reference fed it: whether it differs by itself, or only because its inputs do."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nuqconv.backends.caffe import write_caffe
from nuqconv.comparison.sides import Placed
from nuqconv.errors import NuqconvError
from nuqconv.ir import Array, Graph, Input, Node
from nuqconv.ir.ops import Opaque, Power
from nuqconv.ir.traits import Stateful
from nuqconv.runtimes.model import Runnable

__all__ = ["run_alone"]


def run_alone(placed: Placed, name: str, given: Mapping[str, Array]) -> Array | None:
    """Computes a value in a side's runtime from given values of others.

    Args:
        placed: The side.
        name: The value.
        given: The values between which and the wanted one the layers lie, in the shapes that they have on this side.

    Returns:
        The value; None where these layers cannot be run alone.
    """
    if placed.runtime is None or placed.model is None:
        return None
    try:
        found = placed.side.alone(name, given)
        if found is not None or placed.side.graph is None:
            return found
        part = _part(placed.side.graph, name, given)
        if part is None:
            return None
        graph, feeds = part
        with tempfile.TemporaryDirectory() as folder:
            model = Runnable.of_graph(graph)
            if placed.runtime.refusal(model):
                files = Path(folder) / "part.prototxt", Path(folder) / "part.caffemodel"
                write_caffe(graph, *files)
                model = Runnable("caffe", graph.name, files, known=graph)
            with placed.runtime.side(model) as side:
                return side.run(feeds, list(graph.outputs))[graph.outputs[0]]
    except NuqconvError:
        # Layers may need what only the whole network has; that they cannot be told apart is said of them.
        return None


def _part(graph: Graph, name: str, given: Mapping[str, Array]) -> tuple[Graph, dict[str, Array]] | None:
    """Returns the layers between given values and another as a network of their own, and its inputs."""
    waiting, needed, fed = [name], set[str](), dict[str, None]()
    while waiting:
        value = waiting.pop()
        if value in given:
            fed[value] = None
        elif value not in needed:
            if value not in graph.producer:
                return None
            needed.add(value)
            waiting.extend(graph.producer[value].inputs)
    nodes = [node for node in graph.nodes if needed.intersection(node.outputs)]
    if any(isinstance(node.op, Opaque) or node.op.trait(Stateful) for node in nodes):
        return None
    params = {item: graph.params[item] for node in nodes for item in node.params}
    last = graph.producer[name]
    if len(last.outputs) > 1:
        # A runtime need not make what nothing reads.
        nodes += [Node(f"{last.name}/{value}/read", Power(), (value,), (f"{value}/read",)) for value in last.outputs]
        name = f"{name}/read"
    inputs = tuple(Input(value, given[value].shape) for value in fed)
    # Names of their own, since a name such as blob@layer says more than that it is an input.
    names = {value: f"given/{number}" for number, value in enumerate(fed)} | {name: "wanted"}
    part = Graph(f"{graph.name}: {name}", inputs, tuple(nodes), params, (name,)).with_names(names)
    feeds = {names[value]: given[value] for value in fed}
    return replace(part, storage={}).verify(), feeds
