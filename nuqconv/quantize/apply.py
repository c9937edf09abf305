"""(Graph, Plan) -> quantized Graph."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import QuantizationError
from nuqconv.ir import Array, Graph, Node, read_only
from nuqconv.ir.ops import Convolution, Deconvolution, Dequantize, InnerProduct, Quantize
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.capability import capabilities
from nuqconv.quantize.codebook import assign
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.quantize.rounding import reciprocal
from nuqconv.quantize.weights import bias_floor, check_accumulator, quantize_bias, quantize_weights, weight_scales

__all__ = ["QuantizedWeights", "Quantizer", "apply_plan", "quant_node_name"]

_Weighted = Convolution | Deconvolution | InnerProduct


@dataclass(frozen=True, eq=False)
class QuantizedWeights:
    """The integers of one layer before its codebook.

    Attributes:
        weights: int8, shape of the float weights.
        scales: float32 step sizes, one for each output channel, or one.
        bias: int32 (num_output,), or None if the layer has no bias or no activation scale.
    """

    weights: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: NDArray[np.int32] | None


def quant_node_name(layer: str, index: int = 0) -> str:
    """Returns the name of the Quant layer in front of input ``index`` of a layer."""
    return f"{layer}_{index}_quant_layer"


def apply_plan(graph: Graph, plan: Plan) -> Graph:
    """Returns the quantized graph of a plan; see `Quantizer.apply`."""
    return Quantizer(graph).apply(plan)


class Quantizer:
    """Quantizes one graph by many plans; the integers of a layer are made once.

    Args:
        graph: The float graph, after folding.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._integers: dict[tuple[str, ActivationQuant | None, bool], QuantizedWeights] = {}
        self._can = {item.name: item for item in capabilities(graph)}

    def integers(
        self, layer: str, activation: ActivationQuant | None, *, channel_wise: bool = True
    ) -> QuantizedWeights:
        """Returns a layer's uniform int8 weights, step sizes and int32 bias.

        Args:
            layer: Name of a Convolution, Deconvolution or InnerProduct.
            activation: Quantization of its input, or None when only weights are quantized.
            channel_wise: Whether a convolution has one step size for each output channel; InnerProduct always has one.

        Raises:
            QuantizationError: The layer has no weights, or its bias or sums exceed int32.
        """
        key = (layer, activation, channel_wise)
        if key not in self._integers:
            self._integers[key] = self._quantize(layer, activation, channel_wise=channel_wise)
        return self._integers[key]

    def apply(self, plan: Plan) -> Graph:
        """Builds the quantized graph of a plan.

        ::

            x -> Convolution -> y    becomes    x -> Quantize -> Convolution (int8, int32) -> Dequantize -> y

        Layers that read one value with the same step size and offset share one Quantize. A layer whose plan has no activation
        keeps float arithmetic and gets the quantized weights as floats. Node and value names of the float graph stay.

        Args:
            plan: What to do with each layer; layers that it leaves out stay float.

        Raises:
            QuantizationError: The plan names a layer that the graph does not have or that cannot be quantized.
        """
        unknown = [name for name in plan if name not in self.graph.node]
        if unknown:
            raise QuantizationError(
                f"the plan names layers that network '{self.graph.name}' does not have: {', '.join(unknown)}"
            )
        problems = [problem for name, layer in plan.items() if (problem := self._objection(name, layer))]
        if problems:
            raise QuantizationError("the plan asks for what cannot be; leave these layers out", problems)
        nodes: list[Node] = []
        params: dict[str, Array] = dict(self.graph.params)
        storage = dict(self.graph.storage)
        quants: dict[tuple[str, float, int], str] = {}
        for node in self.graph.nodes:
            layer = plan.get(node.name)
            if layer is None or layer.precision is Precision.FLOAT:
                nodes.append(node)
            elif layer.activation is None:
                nodes.append(self._weights_only(node, layer, params))
            else:
                nodes += self._quantized(node, layer, layer.activation, params, storage, quants)
        return replace(self.graph.with_nodes(nodes, params), storage=storage)

    def _objection(self, name: str, layer: LayerPlan) -> str:
        """Returns why a layer cannot become what the plan says, or an empty text."""
        can, place = self._can.get(name), self.graph.node[name].place
        if layer.precision is Precision.FLOAT:
            return ""
        if can is None:
            return f"{place}: layers of this type are not quantized"
        fits = can.nuq if layer.precision is Precision.NUQ else can.int8
        return "" if fits else f"{place}: no {layer.precision.value}: {can.reason}"

    def _quantize(self, layer: str, activation: ActivationQuant | None, *, channel_wise: bool) -> QuantizedWeights:
        node = self.graph.node[layer]
        if not isinstance(node.op, _Weighted):
            raise QuantizationError(f"{node.place} has no weights to quantize")
        axis = None if isinstance(node.op, InnerProduct) or not channel_wise else node.op.weight_output_axis
        weights = self.graph.params[node.params[0]]
        bias = self.graph.params[node.params[1]] if len(node.params) > 1 else None
        floor = None
        if bias is not None and activation is not None:
            floor = bias_floor(bias, activation.scale)
        scales = weight_scales(weights, axis, floor=floor, layer=layer)
        integers = quantize_weights(weights, scales, axis, layer=layer)
        if bias is None or activation is None:
            return QuantizedWeights(read_only(integers), scales, None)
        return QuantizedWeights(read_only(integers), scales, quantize_bias(bias, activation.scale, scales, layer))

    def _layer_integers(self, node: Node, layer: LayerPlan) -> QuantizedWeights:
        found = self.integers(node.name, layer.activation, channel_wise=layer.channel_wise)
        if layer.codebook is None:
            return found
        return replace(found, weights=assign(found.weights, layer.codebook))

    def _weights_only(self, node: Node, layer: LayerPlan, params: dict[str, Array]) -> Node:
        if not isinstance(node.op, _Weighted):
            raise QuantizationError(f"{node.place} has no weights, and the plan gives its input no step size")
        found = self._layer_integers(node, layer)
        shape = [1] * found.weights.ndim
        if found.scales.size > 1:
            shape[node.op.weight_output_axis] = -1
        params[node.params[0]] = found.weights.astype(np.float32) * found.scales.reshape(shape)
        return node

    def _quantized(
        self,
        node: Node,
        layer: LayerPlan,
        activation: ActivationQuant,
        params: dict[str, Array],
        storage: dict[str, str],
        quants: dict[tuple[str, float, int], str],
    ) -> list[Node]:
        value, made = node.inputs[0], node.outputs[0]
        nodes: list[Node] = []
        key = (value, activation.scale, activation.offset)
        if key not in quants:
            quants[key] = quant_node_name(node.name)
            op = Quantize(float(reciprocal(activation.scale)), activation.offset)
            nodes.append(Node(quants[key], op, (value,), (quants[key],)))
        scales = self._integer_params(node, layer, params)
        steps = np.broadcast_to(np.float32(activation.scale) * scales, (self._channels(node),))
        accumulator = f"{made}@accumulator"
        storage[accumulator] = self.graph.storage_name(made)
        name = f"{node.name}_dequant_layer"
        params[f"{name}/0"] = np.ascontiguousarray(steps)
        nodes.append(replace(node, inputs=(quants[key],), outputs=(accumulator,)))
        nodes.append(Node(name, Dequantize(), (accumulator,), (made,), (f"{name}/0",)))
        return nodes

    def _integer_params(self, node: Node, layer: LayerPlan, params: dict[str, Array]) -> NDArray[np.float32]:
        """Puts the layer's integers among the parameters and returns its step sizes."""
        if not isinstance(node.op, _Weighted):
            return np.ones(1, np.float32)
        found = self._layer_integers(node, layer)
        check_accumulator(found.weights, found.bias, node.op.weight_output_axis, node.name)
        params[node.params[0]] = found.weights
        if found.bias is not None:
            params[node.params[1]] = found.bias
        return found.scales

    def _channels(self, node: Node) -> int:
        if isinstance(node.op, _Weighted):
            return node.op.num_output
        shape = self.graph.shapes[node.outputs[0]]
        if shape is None:
            raise QuantizationError(
                f"{node.place}: its output shape is not known, so it cannot be quantized; skip the layer"
            )
        return shape[1]
