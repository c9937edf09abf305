"""Whether and how a graph runs with another batch size.

The batch is axis 0 of the inputs. It is free if shape inference shows it: with two sizes that nothing else in a network has, every
value keeps its shape or has the batch as axis 0 and the rest unchanged. A Reshape with a fixed leading size, a Concat along axis 0 or
weights that span the batch make it fixed.
"""

from __future__ import annotations

from dataclasses import replace

from nuqconv.errors import ModelError
from nuqconv.ir import Graph
from nuqconv.ir.ops import Opaque

__all__ = ["batch_problems", "batched_values", "rebatch"]

_PROBES = (99991, 100003)


def rebatch(graph: Graph, size: int) -> Graph:
    """Returns the graph with ``size`` as axis 0 of every input.

    Args:
        graph: The graph; it stays as it is.
        size: The batch size, at least 1.

    Raises:
        ModelError: ``size`` is not positive. Whether the layers fit together is checked when shapes are asked for.
    """
    if size < 1:
        raise ModelError(f"network '{graph.name}': batch size {size} is not positive")
    return replace(graph, inputs=tuple(replace(item, shape=(size, *item.shape[1:])) for item in graph.inputs))


def batched_values(graph: Graph) -> frozenset[str]:
    """Returns the values whose axis 0 is the batch.

    Raises:
        ModelError: The batch size is fixed; all reasons are listed.
    """
    problems = batch_problems(graph)
    if problems:
        raise ModelError(f"network '{graph.name}' has a fixed batch size", problems)
    shapes = rebatch(graph, _PROBES[0]).shapes
    return frozenset(name for name, shape in shapes.items() if shape and shape[0] == _PROBES[0])


def batch_problems(graph: Graph) -> list[str]:
    """Returns the reasons why the batch size is fixed; nothing if it is free."""
    sizes = {item.shape[0] for item in graph.inputs}
    if len(sizes) > 1:
        listed = ", ".join(f"'{item.name}' {item.shape[0]}" for item in graph.inputs)
        return [f"the inputs differ along axis 0: {listed}"]
    opaque = [f"{node.place}: {node.op.reason}" for node in graph.nodes if isinstance(node.op, Opaque)]
    if opaque:
        return opaque
    try:
        first, second = (rebatch(graph, size).shapes for size in _PROBES)
    except ModelError as error:
        return list(error.problems)
    problems = []
    for node in graph.nodes:
        for name in node.outputs:
            one, two = first[name], second[name]
            follows = one and two and (one[0], two[0]) == _PROBES and one[1:] == two[1:]
            if one != two and not follows:
                problems.append(f"{node.place}: the shape of '{name}' does not have the batch as axis 0")
    return problems
