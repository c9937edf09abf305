"""(Graph, Plan) -> quantized Graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import QuantizationError
from nuqconv.ir import Array, Graph, Node, Stepped, read_only
from nuqconv.ir.ops import Dequantize, Quantize, Weighted
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.capability import capabilities
from nuqconv.quantize.codebook import assign, histogram
from nuqconv.quantize.integers import QuantizedWeights
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.quantize.rounding import INT8_MIN, reciprocal
from nuqconv.quantize.weights import bias_floor, check_accumulator, quantize_bias, quantize_weights, weight_scales

__all__ = ["QuantizedWeights", "Quantizer", "apply_plan", "dequant_node_name", "quant_node_name"]


def quant_node_name(layer: str, index: int = 0) -> str:
    """Returns the name of the Quant layer in front of input ``index`` of a layer."""
    return f"{layer}_{index}_quant_layer"


def dequant_node_name(layer: str) -> str:
    """Returns the name of the DeQuant layer behind a layer."""
    return f"{layer}_dequant_layer"


def apply_plan(graph: Graph, plan: Plan) -> Graph:
    """Returns the quantized graph of a plan; see `Quantizer.apply`."""
    return Quantizer(graph).apply(plan)


class Quantizer:
    """Quantizes one graph by many plans; the integers of a layer are made once, and equal layers of plans get the same arrays.

    Args:
        graph: The float graph, after folding.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._integers: dict[tuple[str, ActivationQuant | None, bool], QuantizedWeights] = {}
        self._stored: dict[str, QuantizedWeights] = {}
        self._made: dict[tuple[str, LayerPlan], QuantizedWeights] = {}
        self._steps: dict[tuple[str, LayerPlan], NDArray[np.float32]] = {}
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

    def drop(self, layer: str) -> None:
        """Gives up a layer's uniform integers; where they are asked for again they are made again."""
        for key in [key for key in self._integers if key[0] == layer]:
            del self._integers[key]

    def store(self, integers: QuantizedWeights) -> str:
        """Takes integers that calibration has chosen for a layer, and returns the name by which plans refer to them."""
        digest = integers.digest()
        biases = (None if bias is None else read_only(bias) for bias in (integers.bias, integers.float_bias))
        kept = QuantizedWeights(read_only(integers.weights), read_only(integers.scales), *biases)
        self._stored.setdefault(digest, kept)
        return digest

    def stored(self, digest: str) -> QuantizedWeights:
        """Returns the integers of a name that `store` returned.

        Raises:
            QuantizationError: There are none of this name.
        """
        if digest not in self._stored:
            raise QuantizationError(
                f"the plan takes integers {digest[:12]}... that calibration has chosen, and they are not here; "
                "store them first (a search's journal keeps them)"
            )
        return self._stored[digest]

    def contents(self, digests: Iterable[str]) -> Mapping[str, bytes]:
        """Returns stored integers as bytes, by their names; each is made when it is asked for, since all may be as large as the model."""
        return _Contents(self, tuple(digests))

    def layer_integers(self, name: str, layer: LayerPlan) -> QuantizedWeights:
        """Returns the integers that a layer has in a plan: stored ones, or its own moved to the nearest levels of the codebook.

        Args:
            name: Name of a Convolution, Deconvolution or InnerProduct.
            layer: Its plan, int8 or NUQ.

        Raises:
            QuantizationError: The layer has no weights, its bias or sums exceed int32, or stored integers are missing or do not fit.
        """
        key = (name, layer)
        if key not in self._made:
            self._made[key] = self._make(name, layer)
        return self._made[key]

    def apply(self, plan: Plan) -> Graph:
        """Builds the quantized graph of a plan.

        ::

            x -> Convolution -> y    becomes    x -> Quantize -> Convolution (int8, int32) -> Dequantize -> y

        Layers that read one value with the same step size and offset share one Quantize. A layer whose plan has no activation
        keeps float arithmetic and gets the quantized weights as floats, and the bias that goes with them. Node and value names of the float
        graph stay.

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
        stepped: dict[str, Stepped] = {}
        for node in self.graph.nodes:
            layer = plan.get(node.name)
            if layer is None or layer.precision is Precision.FLOAT:
                nodes.append(node)
            elif layer.activation is None:
                nodes.append(self._weights_only(node, layer, params, stepped))
            else:
                nodes += self._quantized(node, layer, layer.activation, params, storage, quants)
        return replace(self.graph.with_nodes(nodes, params), storage=storage, stepped=stepped)

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
        if not isinstance(node.op, Weighted):
            raise QuantizationError(f"{node.place} has no weights to quantize")
        axis = node.op.scale_axis(channel_wise=channel_wise)
        weights = self.graph.params[node.params[0]]
        bias = self.graph.params[node.params[1]] if len(node.params) > 1 else None
        floor = None
        if bias is not None and activation is not None:
            floor = bias_floor(bias, activation.scale)
        scales = weight_scales(weights, axis, floor=floor, layer=layer)
        integers = quantize_weights(weights, scales, axis, layer=layer)
        whole = None
        if bias is not None and activation is not None:
            whole = read_only(quantize_bias(bias, activation.scale, scales, layer))
        return QuantizedWeights(read_only(integers), read_only(scales), whole)

    def _make(self, name: str, layer: LayerPlan) -> QuantizedWeights:
        node = self.graph.node[name]
        if layer.weights is None:
            found = self.integers(name, layer.activation, channel_wise=layer.channel_wise)
            if layer.codebook is not None:
                found = replace(found, weights=read_only(assign(found.weights, layer.codebook)))
        else:
            found = self.stored(layer.weights)
            self._check_stored(node, layer, found)
        if layer.activation is not None and isinstance(node.op, Weighted):
            check_accumulator(found.weights, found.bias, node.op.weight_output_axis, name)
        return found

    def _check_stored(self, node: Node, layer: LayerPlan, found: QuantizedWeights) -> None:
        """Stored integers may come from a file: they must be of this layer and of this codebook."""
        if not isinstance(node.op, Weighted):
            raise QuantizationError(f"{node.place} has no weights to quantize")
        shape = self.graph.params[node.params[0]].shape
        per_channel = layer.channel_wise and node.op.scales_by_channel
        wanted = node.op.num_output if per_channel else 1
        biases = node.op.num_output if len(node.params) > 1 and layer.activation is not None else None
        problems = []
        if found.weights.shape != shape:
            problems.append(f"weights of shape {found.weights.shape}, expected {shape}")
        if found.scales.shape != (wanted,) or not (np.isfinite(found.scales).all() and (found.scales > 0).all()):
            problems.append(f"step sizes of shape {found.scales.shape}, expected {wanted} positive numbers")
        if (None if found.bias is None else found.bias.size) != biases:
            problems.append(
                f"{'no' if found.bias is None else found.bias.size} bias values, expected {biases or 'none'}"
            )
        own = found.float_bias
        if own is not None and (layer.activation is not None or len(node.params) < 2):
            problems.append(f"{own.size} float bias values, expected none")
        elif own is not None and (own.shape != (node.op.num_output,) or not np.isfinite(own).all()):
            problems.append(f"{own.size} float bias values, expected {node.op.num_output} finite numbers")
        if layer.codebook is not None:
            used = np.flatnonzero(histogram(found.weights)) + INT8_MIN
            odd = set(used.tolist()) - set(layer.codebook)
            if odd:
                problems.append(f"levels that the codebook lacks: {sorted(odd)[:8]}")
        if problems:
            raise QuantizationError(f"{node.place}: the stored integers are not of this layer", problems)

    def _weights_only(
        self, node: Node, layer: LayerPlan, params: dict[str, Array], stepped: dict[str, Stepped]
    ) -> Node:
        if not isinstance(node.op, Weighted):
            raise QuantizationError(f"{node.place} has no weights, and the plan gives its input no step size")
        found, weights = self.layer_integers(node.name, layer), node.params[0]
        params[weights] = found.as_floats(node.op.weight_output_axis)
        stepped[weights] = Stepped(found.weights, found.steps(node.op.weight_output_axis))
        if found.float_bias is not None:
            params[node.params[1]] = found.float_bias.reshape(self.graph.params[node.params[1]].shape)
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
        if (node.name, layer) not in self._steps:
            steps = np.broadcast_to(np.float32(activation.scale) * scales, (self._channels(node),))
            self._steps[node.name, layer] = read_only(np.ascontiguousarray(steps))
        accumulator = f"{made}@accumulator"
        storage[accumulator] = self.graph.storage_name(made)
        name = dequant_node_name(node.name)
        params[f"{name}/0"] = self._steps[node.name, layer]
        nodes.append(replace(node, inputs=(quants[key],), outputs=(accumulator,)))
        axis = node.op.axis if isinstance(node.op, Weighted) else 1
        nodes.append(Node(name, Dequantize(axis=axis), (accumulator,), (made,), (f"{name}/0",)))
        return nodes

    def _integer_params(self, node: Node, layer: LayerPlan, params: dict[str, Array]) -> NDArray[np.float32]:
        """Puts the layer's integers among the parameters and returns its step sizes."""
        if not isinstance(node.op, Weighted):
            return np.ones(1, np.float32)
        found = self.layer_integers(node.name, layer)
        params[node.params[0]] = found.weights
        if found.bias is not None:
            params[node.params[1]] = found.bias
        return found.scales

    def _channels(self, node: Node) -> int:
        if isinstance(node.op, Weighted):
            return node.op.num_output
        shape = self.graph.shapes[node.outputs[0]]
        if shape is None:
            raise QuantizationError(
                f"{node.place}: its output shape is not known, so it cannot be quantized; skip the layer"
            )
        return shape[1]


class _Contents(Mapping[str, bytes]):
    def __init__(self, quantizer: Quantizer, digests: tuple[str, ...]) -> None:
        self._quantizer, self._digests = quantizer, digests

    def __getitem__(self, digest: str) -> bytes:
        return self._quantizer.stored(digest).to_bytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)
