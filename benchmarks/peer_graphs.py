"""Graphs with the weights of others: float weights behind the activation quantizers that nuqconv has chosen, and two ways to round them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import kmeans1d
import numpy as np
from numpy.typing import NDArray

from nuqconv.ir import Array, Graph, Input, Node
from nuqconv.ir.ops import Dequantize, Quantize, Weighted
from nuqconv.quantize.plan import Plan, Precision
from nuqconv.quantize.rounding import reciprocal
from nuqconv.quantize.weights import weight_scales

__all__ = ["bits_of", "clustered", "replaced", "rounded", "tail"]

_LARGEST_SAMPLE = 200_000


def replaced(graph: Graph, plan: Plan, weights: Mapping[str, Array]) -> Graph:
    """Returns a graph that computes with other weights, and quantizes inputs of layers as a plan does.

    ::

        x -> Convolution -> y    becomes    x -> Quantize -> Dequantize -> Convolution (others' weights) -> y

    A plan of int8 on the new weights would round them once more; so they stay floats, as biases do.

    Args:
        graph: The float graph.
        plan: Whose step sizes and offsets of activations are taken; its weights are not.
        weights: Float32 by name of the parameter; those that are not named stay.
    """
    nodes: list[Node] = []
    params: dict[str, Array] = {**graph.params, **weights}
    made: dict[tuple[str, float, int], str] = {}
    for node in graph.nodes:
        layer = plan.get(node.name)
        if layer is None or layer.activation is None:
            nodes.append(node)
            continue
        value, scale, offset = node.inputs[0], layer.activation.scale, layer.activation.offset
        key = (value, scale, offset)
        if key not in made:
            made[key] = f"{node.name}@input"
            shape = graph.shapes[value]
            if shape is None:
                raise ValueError(f"{node.place}: the shape of its input is not known")
            integers, steps = f"{made[key]}/integers", f"{made[key]}/steps"
            params[steps] = np.full(shape[1], scale, np.float32)
            nodes.append(Node(integers, Quantize(float(reciprocal(scale)), offset), (value,), (integers,)))
            nodes.append(Node(made[key], Dequantize(), (integers,), (made[key],), (steps,)))
        nodes.append(replace(node, inputs=(made[key], *node.inputs[1:])))
    return graph.with_nodes(nodes, params)


def tail(graph: Graph, values: tuple[str, ...]) -> Graph:
    """Returns what makes the outputs of a graph from inner values, which become inputs beside its own."""
    kept = [node for node in graph.nodes if not set(node.outputs) & set(values)]
    shapes = {value: graph.shapes[value] for value in values}
    cut = tuple(Input(value, shape) for value, shape in shapes.items() if shape is not None)
    return replace(graph.with_nodes(kept), inputs=(*graph.inputs, *cut)).up_to(graph.outputs)


def bits_of(graph: Graph, plan: Plan) -> dict[str, int]:
    """Returns the bits of a weight by name of the parameter: 4 where the plan has a codebook, 8 where it has none."""
    return {
        graph.node[name].params[0]: 4 if layer.precision is Precision.NUQ else 8
        for name, layer in plan.items()
        if isinstance(graph.node[name].op, Weighted)
    }


def rounded(graph: Graph, bits: Mapping[str, int]) -> dict[str, Array]:
    """Returns weights rounded to the nearest of ``2 ** bits`` levels, symmetric, with a step size for each output channel."""
    return {param: _nearest(op, graph.params[param], bits[param]) for param, op in _operators(graph, bits).items()}


def clustered(graph: Graph, bits: Mapping[str, int]) -> dict[str, Array]:
    """Returns weights moved to the nearest of the levels of an optimal k-means, one set for each layer; those of 8 bits are `rounded`.

    Levels are floats, in units of the channel's step size where nuqconv has one for each channel. Of a large layer a sample of at least
    200,000 weights finds them.
    """
    found = rounded(graph, {param: count for param, count in bits.items() if count == 8})
    for param, op in _operators(graph, bits).items():
        if param not in found:
            found[param] = _kmeans(op, graph.params[param], 2 ** bits[param])
    return found


def _operators(graph: Graph, params: Mapping[str, int]) -> dict[str, Weighted]:
    return {
        node.params[0]: node.op for node in graph.nodes if isinstance(node.op, Weighted) and node.params[0] in params
    }


def _nearest(op: Weighted, weights: Array, bits: int) -> NDArray[np.float32]:
    most = 2 ** (bits - 1) - 1
    others = tuple(axis for axis in range(weights.ndim) if axis != op.weight_output_axis)
    steps = np.abs(weights).max(axis=others, keepdims=True) / np.float32(most)
    steps[steps == 0] = 1
    return np.asarray(np.clip(np.rint(weights / steps), -most - 1, most) * steps, np.float32)


def _kmeans(op: Weighted, weights: Array, levels: int) -> NDArray[np.float32]:
    axis = op.scale_axis()
    shape = [1] * weights.ndim
    scales = weight_scales(weights, axis)
    if axis is not None:
        shape[axis] = -1
        scales = scales.reshape(shape)
    real = (weights / scales).astype(np.float64)
    sample = real.reshape(-1)[:: max(1, real.size // _LARGEST_SAMPLE)]
    book = np.unique(kmeans1d.cluster(sample, min(levels, len(np.unique(sample))))[1])
    return np.asarray(book[np.searchsorted((book[1:] + book[:-1]) / 2, real)] * scales, np.float32)
