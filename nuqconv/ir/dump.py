"""A graph as text, for people and for tests."""

from __future__ import annotations

from nuqconv.ir.graph import Graph
from nuqconv.ir.ops import Shape

__all__ = ["dump"]


def dump(graph: Graph, *, places: bool = False) -> str:
    """Returns the graph as text, a line for each node.

    Args:
        graph: The graph.
        places: Whether each line ends with the file and line the node came from.
    """
    shapes = graph.shapes
    lines = [f"graph '{graph.name}'"]
    lines += [f"  input  {item.name}: {_shape(item.shape)}" for item in graph.inputs]
    for node in graph.nodes:
        made = ", ".join(f"{name}: {_shape(shapes[name])}" for name in node.outputs)
        attributes = node.op.describe()
        params = ", ".join(f"{_shape(graph.params[name].shape)} {graph.params[name].dtype}" for name in node.params)
        text = f"  {made} = {node.op.kind}({', '.join(node.inputs)})"
        text += f" [{attributes}]" if attributes else ""
        text += f" {{{params}}}" if params else ""
        if node.name not in node.outputs:
            text += f" '{node.name}'"
        if places and node.origin and node.origin.line:
            text += f"  # {node.origin.file}:{node.origin.line}"
        lines.append(text)
    lines += [f"  output {name}: {_shape(shapes[name])}" for name in graph.outputs]
    return "\n".join(lines) + "\n"


def _shape(shape: Shape | None) -> str:
    return "?" if shape is None else "x".join(map(str, shape)) or "scalar"
