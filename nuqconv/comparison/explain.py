"""What is known of a layer that differs for a reason of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nuqconv.comparison.causes import Evidence, likely_causes
from nuqconv.comparison.judge import Judge
from nuqconv.comparison.measure import worst
from nuqconv.comparison.report import BlobComparison, Divergence
from nuqconv.comparison.roots import Root
from nuqconv.comparison.taken import Taken
from nuqconv.ir import Array, Node

__all__ = ["explain"]


def explain(root: Root, reference: Taken, other: Taken, judge: Judge, rows: Mapping[str, BlobComparison]) -> Divergence:
    """Says what is known of a root and what is likely to be behind it.

    Args:
        root: The root.
        reference: The reference.
        other: The side that differs.
        judge: Says what agrees, and knows the layers.
        rows: What was compared, by value.
    """
    guide = judge.guide
    layer, kind = guide.layer(root.name)
    node = None if guide.graph is None else guide.graph.producer.get(root.name)
    found, wanted = judge.ordered(root.name, root.found, root.reference)
    at = worst(wanted, found)
    evidence = _evidence(root, (wanted, found), (reference, other), judge)
    return Divergence(
        layer,
        kind,
        root.name,
        str(node.origin) if node is not None and node.origin is not None else f"{guide.label}: '{layer}'",
        node.op.describe() if node is not None else "",
        None if at is None else at[0],
        None if at is None else at[1],
        likely_causes(evidence),
        _suspects(root.name, judge, rows),
        root.alone,
    )


def _evidence(root: Root, values: tuple[Array, Array], sides: tuple[Taken, Taken], judge: Judge) -> Evidence:
    reference, other = sides
    guide = judge.guide
    layer, kind = guide.layer(root.name)
    graph = guide.graph
    node = None if graph is None else graph.producer.get(root.name)
    others = other.side.graph if guide is reference.side else reference.side.graph
    names = node.inputs if node is not None else other.side.bottoms(root.name) or ()
    inputs = _values(reference, names), _values(reference if root.alone else other, names)
    return Evidence(
        node,
        kind,
        *values,
        None if others is None or others is graph else others.node.get(layer),
        *inputs,
        reference.side.parameters(layer),
        other.side.parameters(layer),
        _states(root.name, node, sides, judge),
        judge.tolerances.of(root.name),
        agrees_alone=root.agrees_alone,
        same_inputs=root.same_inputs,
    )


def _values(taken: Taken, names: Sequence[str]) -> list[Array | None]:
    """Returns values, run for together; None for those that a side does not give."""
    taken.exact([name for name in names if taken.side.has(name)])
    return [taken.value(name) for name in names]


def _states(name: str, node: Node | None, sides: tuple[Taken, Taken], judge: Judge) -> dict[str, Array]:
    """Returns other states of the same blob, by the layers that make them."""
    graph = judge.guide.graph
    if graph is None or node is None:
        return {}
    blob, found = graph.storage_name(name), dict[str, Array]()
    for state in (state for state, stored in graph.storage.items() if stored == blob and state != name):
        for taken in sides:
            value = taken.value(state)
            if value is not None:
                found.setdefault(graph.producer[state].name if state in graph.producer else "input", value)
    return found


def _suspects(name: str, judge: Judge, rows: Mapping[str, BlobComparison]) -> tuple[str, ...]:
    """Layers before a value that no comparison stands between."""
    graph = judge.guide.graph
    if graph is None or name not in graph.producer:
        return ()
    waiting, seen = list(graph.producer[name].inputs), set[str]()
    while waiting:
        value = waiting.pop()
        maker = graph.producer.get(value)
        if maker is None or value in rows or maker.name in seen:
            continue
        seen.add(maker.name)
        waiting.extend(maker.inputs)
    return tuple(node.name for node in graph.nodes if node.name in seen)
