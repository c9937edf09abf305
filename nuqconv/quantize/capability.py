"""Which layers can be quantized, and how far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nuqconv.ir import Graph, Node
from nuqconv.ir.ops import Convolution, Deconvolution, Dequantize, InnerProduct, Op, Opaque, Pooling, Quantize, Scale

__all__ = ["Capability", "capabilities", "limits", "quantized_parts"]

# Layers of a quantized model that have no operator here.
_QUANTIZED_TYPES = frozenset({"Quant", "DeQuant", "AntiQuant"})


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


_Rule = Callable[[Op], tuple[str, str]]
"""Returns why int8 is impossible and why NUQ is impossible; empty text where it is possible."""


_AXIS = "its channels are not on axis 1"


def _convolution(op: Op) -> tuple[str, str]:
    if not isinstance(op, Convolution) or len(op.kernel) != 2:
        return ("the filter is not 4-D",) * 2
    if op.axis != 1:
        return (_AXIS,) * 2
    if any(step != 1 for step in op.dilation):
        return "", "NUQ needs dilation 1"
    return "", "NUQ needs group 1" if op.group != 1 else ""


def _deconvolution(op: Op) -> tuple[str, str]:
    if not isinstance(op, Deconvolution) or len(op.kernel) != 2:
        return ("the filter is not 4-D",) * 2
    if op.axis != 1:
        return (_AXIS,) * 2
    if op.group != 1 or any(step != 1 for step in op.dilation):
        return ("a Deconvolution needs dilation 1 and group 1",) * 2
    return "", "a Deconvolution has no NUQ"


def _inner_product(op: Op) -> tuple[str, str]:
    fits = isinstance(op, InnerProduct) and op.axis == 1 and not op.transpose
    return ("", "") if fits else ("an InnerProduct needs axis 1 and transpose: false",) * 2


def _pooling(op: Op) -> tuple[str, str]:
    fits = isinstance(op, Pooling) and op.method == "AVE" and not op.global_pooling
    return ("" if fits else "only AVE Pooling that is not global can be quantized", "a Pooling has no weights")


_RULES: Mapping[type[Op], _Rule] = {
    Convolution: _convolution,
    Deconvolution: _deconvolution,
    InnerProduct: _inner_product,
    Pooling: _pooling,
}


def limits(op: Op) -> tuple[str, str] | None:
    """Returns why an operator cannot be int8 and why it cannot be NUQ, empty where it can; None for one that is never quantized."""
    rule = _RULES.get(type(op))
    return None if rule is None else rule(op)


def capabilities(graph: Graph) -> tuple[Capability, ...]:
    """Returns what can be done with each layer of the graph that has a rule, in order."""
    return tuple(_capability(graph, node) for node in graph.nodes if type(node.op) in _RULES)


def _capability(graph: Graph, node: Node) -> Capability:
    no_int8, no_nuq = _RULES[type(node.op)](node.op)
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
        opaque = node.op.layer_type if isinstance(node.op, Opaque) else ""
        if isinstance(node.op, Quantize | Dequantize) or opaque in _QUANTIZED_TYPES:
            found.append(node.place)
        kinds = sorted({str(graph.params[name].dtype) for name in node.params if graph.params[name].dtype.kind in "iu"})
        if kinds:
            found.append(f"{node.place}: has {' and '.join(kinds)} weights")
    return found
