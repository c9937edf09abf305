"""Quantized layers of ONNX models as quantized layers of the graph.

::

    x -> div s -> round -> add z -> Clip -> sub z -> mul s -> Convolution (weight: integers times step sizes)

becomes ``x -> Quantize -> Convolution (int8, int32) -> Dequantize``. The graph multiplies by the reciprocal of a step size where ONNX divides, so a
value at a tie may come out one step away (decision D2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import (
    Binary,
    Clip,
    Deconvolution,
    Dequantize,
    Flatten,
    InnerProduct,
    Op,
    Parameter,
    Power,
    Quantize,
    Unary,
    Weighted,
)

__all__ = ["Stored", "as_quantized"]

_OFFSETS = {(0, 255): -128, (-128, 127): 0}


@dataclass(frozen=True)
class Stored:
    """What a DequantizeLinear of constants is made of.

    Attributes:
        integers: The integers.
        steps: Step sizes, one or one for each element of an axis.
        points: Zero points, or None.
    """

    integers: Array
    steps: Array
    points: Array | None


@dataclass(frozen=True)
class _Activation:
    source: str
    step: float
    offset: int


def as_quantized(graph: Graph, stored: Mapping[str, Stored]) -> Graph:
    """Returns the graph with every layer quantized whose input and weights are.

    Args:
        graph: A graph as it was read.
        stored: By the name of a parameter, what it is made of.
    """
    if not stored:
        return graph
    nodes: list[Node] = []
    params = dict(graph.params)
    made: dict[str, str] = {}
    for node in graph.nodes:
        found = _quantized(graph, node, stored)
        if found is None:
            nodes.append(node)
            continue
        activation, weight, steps, bias = found
        source = _unflattened(graph, node.inputs[0])
        value = f"{source}/quantized"
        if source not in made:
            made[source] = value
            op = Quantize(float(np.float32(1) / np.float32(activation.step)), activation.offset)
            nodes.append(Node(value, op, (activation.source,), (value,), origin=node.origin))
        if source != node.inputs[0]:
            flatten = graph.producer[node.inputs[0]]
            value = f"{node.name}/flattened"
            nodes.append(replace(flatten, name=value, inputs=(made[source],), outputs=(value,)))
        names = [f"{node.name}/integers", *([f"{node.name}/bias"] if bias is not None else [])]
        params[names[0]] = weight
        if bias is not None:
            params[names[1]] = bias
        params[f"{node.name}/steps"] = steps
        sums = f"{node.outputs[0]}/sums"
        axis = node.op.axis if isinstance(node.op, Weighted) else 1
        nodes.append(replace(node, inputs=(value,), outputs=(sums,), params=tuple(names)))
        behind = Node(
            f"{node.name}/dequantize",
            Dequantize(axis=axis),
            (sums,),
            node.outputs,
            (f"{node.name}/steps",),
            node.origin,
        )
        nodes.append(behind)
    if not made:
        return graph
    whole = graph.with_nodes(nodes, params=params)
    return replace(whole.up_to(graph.outputs), inputs=graph.inputs)


def _quantized(
    graph: Graph, node: Node, stored: Mapping[str, Stored]
) -> tuple[_Activation, Array, Array, Array | None] | None:
    """Returns the input, the int8 weight, the step sizes of the result and the int32 bias of a layer that is quantized."""
    op = node.op
    if not isinstance(op, Weighted) or not _fits(op, node):
        return None
    activation = _activation(graph, _unflattened(graph, node.inputs[0]))
    weight = _integers(op, graph.params[node.params[0]], stored.get(node.params[0]))
    if activation is None or weight is None:
        return None
    integers, scales = weight
    steps = (scales * np.float32(activation.step)).astype(np.float32)
    if len(node.params) == 1:
        return activation, integers, steps, None
    rounded = np.rint(graph.params[node.params[1]].astype(np.float64) / steps)
    return (activation, integers, steps, rounded.astype(np.int32)) if np.abs(rounded).max() < 2**31 else None


def _fits(op: Weighted, node: Node) -> bool:
    if isinstance(op, InnerProduct) and op.transpose:
        return False
    along = op.axis == 1 or (isinstance(op, InnerProduct) and op.by_rows)
    return len(node.inputs) == 1 and along and not (isinstance(op, Deconvolution) and op.group != 1)


def _integers(op: Weighted, real: Array, source: Stored | None) -> tuple[Array, Array] | None:
    """Returns the int8 weight as the layer has it, and a step size for each output; None if it is not made of such."""
    if source is None or source.integers.dtype != np.int8 or (source.points is not None and source.points.any()):
        return None
    if source.steps.size not in (1, op.num_output):
        return None
    scales = np.broadcast_to(source.steps.astype(np.float32).reshape(-1), (op.num_output,))
    lay = [1] * real.ndim
    lay[op.weight_output_axis] = -1
    # A square matrix does not show by its shape whether it is stored as the layer has it.
    for integers in (source.integers, source.integers.T) if isinstance(op, InnerProduct) else (source.integers,):
        if integers.shape == real.shape and np.array_equal(integers.astype(np.float32) * scales.reshape(lay), real):
            return np.ascontiguousarray(integers), scales
    return None


def _activation(graph: Graph, value: str) -> _Activation | None:
    """Recognises what QuantizeLinear and DequantizeLinear became, from the end to the beginning."""
    node = graph.producer.get(value)
    if node is None or not isinstance(node.op, Power) or node.op != Power(scale=node.op.scale):
        return None
    step = node.op.scale
    node, point = _skip(graph, node, Binary("sub"))
    if node is None or not isinstance(node.op, Clip):
        return None
    base = _OFFSETS.get((int(node.op.low), int(node.op.high)))
    node, same = _skip(graph, node, Binary("add"))
    if node is None or node.op != Unary("round") or point != same or base is None:
        return None
    node = graph.producer.get(node.inputs[0])
    if node is None or node.op != Binary("div") or _number(graph, node.inputs[1]) != np.float32(step):
        return None
    return _Activation(node.inputs[0], step, base + int(point))


def _unflattened(graph: Graph, value: str) -> str:
    """Returns what a value is a flattened form of, which an inner product reads in ONNX, or itself."""
    maker = graph.producer.get(value)
    return maker.inputs[0] if maker is not None and isinstance(maker.op, Flatten) else value


def _skip(graph: Graph, node: Node, op: Op) -> tuple[Node | None, float]:
    """Returns the node in front of another, past one that adds or subtracts a number, and that number."""
    maker = graph.producer.get(node.inputs[0])
    if maker is None or maker.op != op:
        return maker, 0.0
    number = _number(graph, maker.inputs[1])
    return (None, 0.0) if number is None else (graph.producer.get(maker.inputs[0]), number)


def _number(graph: Graph, value: str) -> float | None:
    maker = graph.producer.get(value)
    if maker is None or not isinstance(maker.op, Parameter) or graph.params[maker.params[0]].size != 1:
        return None
    return float(graph.params[maker.params[0]].reshape(-1)[0])
