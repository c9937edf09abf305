"""Which layers can be quantized, and how far."""

from __future__ import annotations

from dataclasses import dataclass

from nuqconv.ir import Graph, Node
from nuqconv.ir.ops import Op, Scale
from nuqconv.ir.traits import QuantizedForm

__all__ = ["Capability", "capabilities", "limits", "quantized_parts"]


@dataclass(frozen=True)
class Capability:
    """What can be done with one layer.

    Attributes:
        name: The layer.
        kind: The layer's type.
        int8: Whether its input (and its weights, if it has any) can be uniform int8.
        nuq: Whether its weights can be non-uniformly quantized.
        weighted: Whether it has weights.
        reason: Why the stronger form that is missing cannot be had; empty when all can.
    """

    name: str
    kind: str
    int8: bool
    nuq: bool
    weighted: bool
    reason: str


def limits(op: Op) -> tuple[str, str] | None:
    """Returns why an operator cannot be int8 and why it cannot be NUQ, empty where it can; None for one that is never quantized."""
    return op.quantization_limits() if op.quantizable else None


def capabilities(graph: Graph) -> tuple[Capability, ...]:
    """Returns what can be done with each layer of the graph whose operator is ever quantized, in order."""
    return tuple(_capability(graph, node) for node in graph.nodes if node.op.quantizable)


def _capability(graph: Graph, node: Node) -> Capability:
    no_int8, no_nuq = node.op.quantization_limits()
    if not node.params and graph.shapes[node.outputs[0]] is None:
        no_int8 = no_int8 or "the shape of its output is not known"
    if node.params and len(node.inputs) > 1:
        no_int8 = no_nuq = f"its weights are shared by its {len(node.inputs)} inputs"
    if any(len(graph.users(name)) > 1 for name in node.params):
        no_int8 = no_nuq = "its weights are shared with another layer"
    return Capability(node.name, node.op.kind, not no_int8, not no_nuq, bool(node.params), no_int8 or no_nuq)


def quantized_parts(graph: Graph) -> list[str]:
    """Returns what shows that a graph is quantized already: its places, one line each; nothing for a float graph."""
    found = []
    for node in graph.nodes:
        maker = graph.producer.get(node.inputs[0]) if node.inputs else None
        if isinstance(node.op, Scale) and maker is not None and node.name == f"{maker.name}_dequant_layer":
            found.append(f"{node.place}: is what a fake_quant model has behind '{maker.name}'")
        if node.op.trait(QuantizedForm):
            found.append(node.place)
        kinds = sorted({str(graph.params[name].dtype) for name in node.params if graph.params[name].dtype.kind in "iu"})
        if kinds:
            found.append(f"{node.place}: has {' and '.join(kinds)} weights")
    return found
