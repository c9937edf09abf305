"""Which sizes of a graph stay open, and how it runs with another batch size.

The batch is axis 0 of the inputs. It is free if shape inference shows it: with two sizes that nothing else in a network has, every
value keeps its shape or has the batch as axis 0 and the rest unchanged. A Reshape with a fixed leading size, a Concat along axis 0 or
weights that span the batch make it fixed.

How many items a Filter selects is known only when the network runs. The same two probes show which values have that number as axis 0;
a network in which it shows up in any other way has no form in ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.ir import Graph
from nuqconv.ir.ops import Opaque

__all__ = ["BATCH", "batch_problems", "batched_values", "open_sizes", "rebatch"]

BATCH = "N"

_PROBES = (99991, 100003)
_FILTER_PROBES = (300007, 600011)


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
    inputs = (replace(item, shape=(size, *item.shape[1:])) if item.shape else item for item in graph.inputs)
    return replace(graph, inputs=tuple(inputs))


def batched_values(graph: Graph) -> frozenset[str]:
    """Returns the values whose axis 0 is the batch.

    Raises:
        ModelError: The batch size is fixed; all reasons are listed.
    """
    problems = batch_problems(graph)
    if problems:
        raise ModelError(f"network '{graph.name}' has a fixed batch size", problems)
    shapes = rebatch(_selecting(graph, _FILTER_PROBES[0]), _PROBES[0]).shapes
    return frozenset(name for name, shape in shapes.items() if shape and shape[0] == _PROBES[0])


def batch_problems(graph: Graph) -> list[str]:
    """Returns the reasons why the batch size is fixed; nothing if it is free."""
    scalars = [f"input '{item.name}' is one number" for item in graph.inputs if not item.shape]
    if scalars:
        return scalars
    sizes = {item.shape[0] for item in graph.inputs}
    if len(sizes) > 1:
        listed = ", ".join(f"'{item.name}' {item.shape[0]}" for item in graph.inputs)
        return [f"the inputs differ along axis 0: {listed}"]
    opaque = [f"{node.place}: {node.op.reason}" for node in graph.nodes if isinstance(node.op, Opaque)]
    opaque += [f"{node.place}: {node.op.fixed_batch}" for node in graph.nodes if node.op.fixed_batch]
    if opaque:
        return opaque
    try:
        probed = _selecting(graph, _FILTER_PROBES[0])
        first, second = (rebatch(probed, size).shapes for size in _PROBES)
    except ModelError as error:
        return _told(probed, error)
    problems = []
    for node in graph.nodes:
        for name in node.outputs:
            one, two = first[name], second[name]
            follows = one and two and (one[0], two[0]) == _PROBES and one[1:] == two[1:]
            if one != two and not follows:
                problems.append(f"{node.place}: the shape of '{name}' does not have the batch as axis 0")
    return problems


def _told(graph: Graph, error: ModelError) -> list[str]:
    """Returns why layers do not fit together at another batch, by a batch of a size that users have."""
    own = next((item.shape[0] for item in graph.inputs), 1)
    for size in (2 * own, 2 * own + 1):
        try:
            _ = rebatch(graph, size).shapes
        except ModelError as smaller:
            return [f"{problem} (with a batch of {size} instead of {own})" for problem in smaller.problems]
    return [problem.replace(str(_PROBES[0]), BATCH).replace(str(_PROBES[1]), BATCH) for problem in error.problems]


def open_sizes(graph: Graph, *, dynamic_batch: bool) -> Mapping[str, str]:
    """Returns the values whose axis 0 stays open, and the name of that size: ``N`` for the batch, ``LAYER/selected`` behind a Filter.

    Args:
        graph: The graph.
        dynamic_batch: Whether the batch stays open.

    Raises:
        ModelError: The batch is asked for and its size is fixed.
        UnsupportedError: Layers need to know how many items a Filter selects.
    """
    selected = _selected_values(graph)
    return {**(dict.fromkeys(batched_values(graph), BATCH) if dynamic_batch else {}), **selected}


def _filters(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes if node.op.with_count(1) is not None]


def _selecting(graph: Graph, first: int) -> Graph:
    """Returns the graph with Filters that select ``first``, ``first + 1`` and so on items."""
    sizes = {name: first + number for number, name in enumerate(_filters(graph))}
    if not sizes:
        return graph
    chosen = {name: graph.node[name].op.with_count(size) or graph.node[name].op for name, size in sizes.items()}
    return graph.with_nodes(replace(node, op=chosen.get(node.name, node.op)) for node in graph.nodes)


def _named(problem: str, filters: Sequence[str]) -> str:
    """Returns a text in which the numbers that Filters were tried with are called what they are."""
    for number, name in enumerate(filters):
        problem = problem.replace(str(_FILTER_PROBES[0] + number), f"(items of '{name}')")
    return problem


def _selected_values(graph: Graph) -> dict[str, str]:
    names = _filters(graph)
    if not names:
        return {}
    subject = f"network '{graph.name}': how many items {', '.join(map(repr, names))} selects is known only when it runs"
    try:
        first, second = (_selecting(graph, size).shapes for size in _FILTER_PROBES)
    except ModelError as error:
        told = [_named(problem, names) for problem in error.problems]
        raise UnsupportedError(f"{subject}, and layers need that number to be fixed", told) from error
    found, problems = {}, []
    for node in graph.nodes:
        for value in node.outputs:
            one, two = first[value], second[value]
            if one == two:
                continue
            owner = one[0] - _FILTER_PROBES[0] if one and two and one[1:] == two[1:] else -1
            if two and 0 <= owner < len(names) and two[0] == _FILTER_PROBES[1] + owner:
                found[value] = f"{names[owner]}/selected"
            else:
                problems.append(f"{node.place}: the shape of '{value}' does not have that number as axis 0")
    if problems:
        raise UnsupportedError(f"{subject}, and the shapes behind it depend on it in another way", problems)
    return found
