"""Which layers of a network are quantized, in whichever of our forms it was read, and the same layers of the float network.

A quantized layer is ``Quantize -> layer on integers -> step sizes``: so are deploy models read, QDQ and packed ONNX models, and, once the chains of
stock layers are seen as what they are, fake_quant models. Where only weights are quantized a layer has the float layer's operator and other weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from nuqconv.errors import ModelError
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import (
    Binary,
    Deconvolution,
    Dequantize,
    Flatten,
    InnerProduct,
    Parameter,
    Pooling,
    Quantize,
    Reshape,
    Scale,
    Unary,
    Weighted,
)
from nuqconv.passes import collapse_quantize, fold_affine
from nuqconv.passes.equalize import scaled, shifts_between

__all__ = ["Pair", "QuantizedLayer", "has_quantized_layers", "pair_layers"]

_LEVELS = 256
_LONGEST = 20


@dataclass(frozen=True)
class QuantizedLayer:
    """One quantized layer.

    Attributes:
        source: The value that stands for the layer's input in the quantized network.
        nodes: The nodes that stand for the layer there: what quantizes its input, the layer on integers and what multiplies by the step sizes;
            or only the layer, on the quantized weights as floats.
        quantize: What its input goes through, or None where it stays float.
        weights: The quantized weights as floats, or None for a layer without weights.
        bias: Its bias as floats, or None.
        levels: How many different integers its weights have, or None for a layer without weights.
    """

    source: str
    nodes: tuple[Node, ...]
    quantize: Quantize | None
    weights: Array | None
    bias: Array | None
    levels: int | None

    @property
    def output(self) -> str:
        """The value that equals the float layer's output but for the error."""
        return self.nodes[-1].outputs[0]


@dataclass(frozen=True)
class Pair:
    """A float network and the same network quantized.

    Attributes:
        original: The float network, with folded into its layers what was folded into those of the other.
        quantized: The quantized network.
        layers: The quantized layers by name, in the order of the network.
        unpaired: Quantized layers that the float network does not have.
    """

    original: Graph
    quantized: Graph
    layers: Mapping[str, QuantizedLayer]
    unpaired: tuple[str, ...]


def has_quantized_layers(graph: Graph) -> bool:
    """Says whether a network has a quantized layer, in any of the forms that this package writes, but for weights alone."""
    return bool(_quantized(collapse_quantize(graph)))


def pair_layers(original: Graph, quantized: Graph) -> Pair:
    """Finds the quantized layers and the same layers of the float network.

    Args:
        original: The float network as it was read.
        quantized: The same network, quantized.

    Raises:
        ModelError: No layer of the float network is quantized in the other.
    """
    quantized = collapse_quantize(quantized)
    found = _quantized(quantized)
    # What still stands in the quantized network was not folded.
    kept = [node.name for node in original.nodes if node.name in quantized.node]
    affine = [name for name in kept if not isinstance(original.node[name].op, Weighted)]
    folded = fold_affine(original, skip=affine).graph
    by_output = {layer.output: name for name, layer in found.items()}
    folded = scaled(folded, shifts_between(folded, _weights(folded, quantized, found, by_output)))
    rows = {whole.output: (name, whole) for name, layer in found.items() if (whole := _of_rows(quantized, layer))}
    layers = {}
    for node in folded.nodes:
        # Layers keep their names in Caffe, and their outputs in ONNX.
        name = node.name if node.name in found else by_output.get(node.outputs[0], "")
        own = quantized.node.get(node.name)
        of_rows, whole = rows.get(node.outputs[0], ("", None)) if _is_of_rows(node) else ("", None)
        if whole is not None and of_rows in found:
            del found[of_rows]
            layers[node.name] = whole
        elif name:
            layers[node.name] = found.pop(name)
        elif own is not None and _other_weights(folded, node, quantized, own):
            weights, bias = quantized.params[own.params[0]], _bias(quantized, own)
            layers[node.name] = QuantizedLayer(own.inputs[0], (own,), None, weights, bias, None)
        elif isinstance(node.op, Pooling):
            between = _between(quantized, node.inputs[0], node.outputs[0])
            if any(item.op == Unary("round") for item in between):
                layers[node.name] = QuantizedLayer(node.inputs[0], between, None, None, None, None)
    if not layers:
        raise ModelError(
            "no layer of the float network is quantized in the other one, so there is no quantization to look at",
            [f"quantized layers: {', '.join(found) or 'none'}"],
        )
    return Pair(folded, quantized, layers, tuple(found))


def _weights(
    graph: Graph, quantized: Graph, found: Mapping[str, QuantizedLayer], by_output: Mapping[str, str]
) -> dict[str, Array]:
    """Returns the weights that layers of a float network have in the quantized one, as floats, where they are of the same shape."""
    weights: dict[str, Array] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Weighted) or not node.params:
            continue
        layer = found.get(node.name) or found.get(by_output.get(node.outputs[0], ""))
        own = quantized.node.get(node.name)
        other = None if layer is None else layer.weights
        if layer is None and own is not None and isinstance(own.op, Weighted) and own.params:
            other = quantized.params[own.params[0]]
        if other is not None and other.shape == graph.params[node.params[0]].shape:
            weights[node.name] = other
    return weights


def _is_of_rows(node: Node) -> bool:
    return isinstance(node.op, InnerProduct) and node.op.by_rows


def _of_rows(graph: Graph, layer: QuantizedLayer) -> QuantizedLayer | None:
    """Returns a layer with the Reshape in front of it and the one behind it, which Caffe models have around a product of rows."""
    before, readers = graph.producer.get(layer.source), graph.consumers[layer.output]
    if before is None or len(readers) != 1 or not all(isinstance(item.op, Reshape) for item in (before, *readers)):
        return None
    return replace(layer, source=before.inputs[0], nodes=(before, *layer.nodes, *readers))


def _quantized(graph: Graph) -> dict[str, QuantizedLayer]:
    layers = {}
    for node in graph.nodes:
        before = _before(graph, node) if node.inputs else ()
        readers = graph.consumers[node.outputs[0]] if before else ()
        behind = _dequantize(graph, node, readers[0]) if len(readers) == 1 else ()
        if behind:
            layers[node.name] = _layer(graph, before, node, behind)
    return layers


def _before(graph: Graph, node: Node) -> tuple[Node, ...]:
    """Returns the Quantize in front of a layer, and in ONNX the Flatten that an inner product needs between both; nothing if there is none."""
    found: list[Node] = []
    maker = graph.producer.get(node.inputs[0])
    while maker is not None and isinstance(maker.op, Flatten):
        found.insert(0, maker)
        maker = graph.producer.get(maker.inputs[0])
    return (maker, *found) if maker is not None and isinstance(maker.op, Quantize) else ()


def _between(graph: Graph, start: str, end: str) -> tuple[Node, ...]:
    """Returns the nodes that make a value of another one and of constants alone, in order; nothing if it depends on more than these.

    So a pooling in ONNX's QDQ form is known, whose step sizes are not those of integer arithmetic.
    """
    if start not in graph.consumers or end not in graph.producer:
        return ()
    found: set[str] = set()
    waiting = [end]
    while waiting:
        maker = graph.producer.get(waiting.pop())
        if maker is None or len(found) > _LONGEST:
            return ()
        if maker.name not in found:
            found.add(maker.name)
            waiting += [value for value in maker.inputs if value != start]
    return tuple(node for node in graph.nodes if node.name in found)


def _dequantize(graph: Graph, node: Node, behind: Node) -> tuple[Node, ...]:
    """Returns the nodes that multiply by step sizes, the one first that has them as a parameter; nothing if they are something else."""
    if isinstance(behind.op, Dequantize):
        return (behind,)
    if behind.name != f"{node.name}_dequant_layer":
        return ()
    if isinstance(behind.op, Scale) and len(behind.params) == 1:
        return (behind,)
    # In ONNX they are an operand where they go along another axis than 1.
    maker = graph.producer.get(behind.inputs[-1])
    found = behind.op == Binary("mul") and maker is not None and isinstance(maker.op, Parameter)
    return (maker, behind) if found and maker is not None else ()


def _layer(graph: Graph, before: tuple[Node, ...], node: Node, behind: tuple[Node, ...]) -> QuantizedLayer:
    nodes, quantize = (*before, node, *behind), before[0].op
    if not isinstance(quantize, Quantize):
        raise TypeError(quantize)
    if not isinstance(node.op, Weighted):
        return QuantizedLayer(before[0].inputs[0], nodes, quantize, None, None, None)
    if isinstance(node.op, Deconvolution) and node.op.group > 1:
        raise ModelError(f"{node.place}: a quantized Deconvolution in groups is none of our forms")
    integers = graph.params[node.params[0]]
    steps = np.asarray(graph.params[behind[0].params[0]], np.float64).reshape(-1)
    lay = [1] * integers.ndim
    lay[node.op.weight_output_axis] = -1
    # The step size of a result is that of the weights times that of the input.
    scales = (steps * np.float64(np.float32(quantize.multiplier))).reshape(lay)
    bias = _bias(graph, node)
    whole = None if bias is None else (bias * steps).astype(np.float32)
    real = (integers * scales).astype(np.float32)
    return QuantizedLayer(before[0].inputs[0], nodes, quantize, real, whole, len(np.unique(integers)))


def _bias(graph: Graph, node: Node) -> Array | None:
    return graph.params[node.params[1]] if len(node.params) > 1 else None


def _other_weights(original: Graph, node: Node, quantized: Graph, own: Node) -> bool:
    """Whether a layer has the float layer's operator, and other weights of few levels for each output."""
    if not isinstance(node.op, Weighted) or type(own.op) is not type(node.op):
        return False
    one, two = original.params[node.params[0]], quantized.params[own.params[0]]
    if one.shape != two.shape or two.dtype.kind != "f" or np.array_equal(one, two):
        return False
    rows = np.moveaxis(two, own.op.weight_output_axis, 0).reshape(two.shape[own.op.weight_output_axis], -1)
    return all(len(np.unique(row)) <= _LEVELS for row in rows)
