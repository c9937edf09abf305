"""Graph -> Caffe layers, in one of three styles."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np

from nuqconv.backends.caffe.layer import OutputLayer, blob, new_layer
from nuqconv.errors import UnsupportedError
from nuqconv.frontends.caffe.schema import LayerParameter
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import Convolution, Deconvolution, Dequantize, InnerProduct, Op, Opaque, Quantize

__all__ = ["Style", "emit", "emit_node", "input_layers", "refuse", "surroundings"]

ROUNDER = 1.5 * 2**23
"""Adding and subtracting it rounds a float32 below 2^22 to an integer, half to even."""


class Style(Enum):
    """What a quantized graph becomes."""

    FAKE_QUANT = "fake_quant"
    """Stock layers on integers held in floats: any Caffe runs it."""
    DEPLOY = "deploy"
    """Quant and DeQuant layers, int8 and int32 blobs: for the device."""


_Emitter = Callable[[Graph, Node, Style], list[OutputLayer]]


def emit(graph: Graph, style: Style = Style.FAKE_QUANT) -> list[OutputLayer]:
    """Returns the layers of a graph in order, Input layers first.

    A node that came from a Caffe file and has not changed is given back to the letter. A float graph gives the same in both styles.

    Args:
        graph: A float or quantized graph.
        style: What quantized layers become.

    Raises:
        UnsupportedError: Nodes did not come from Caffe and have no Caffe form; all are named.
    """
    layers = input_layers(graph)
    problems: list[str] = []
    for node in graph.nodes:
        try:
            layers += emit_node(graph, node, style)
        except UnsupportedError as error:
            problems.append(str(error))
    refuse(graph, problems)
    return layers


def refuse(graph: Graph, problems: list[str]) -> None:
    """Raises UnsupportedError that lists the nodes without a Caffe form, if there are any."""
    if problems:
        raise UnsupportedError(f"network '{graph.name}' cannot be written as a Caffe model", problems)


def input_layers(graph: Graph) -> list[OutputLayer]:
    """Returns the Input layers of a graph."""
    return [_input_layer(graph, number) for number in range(len(graph.inputs))]


def emit_node(graph: Graph, node: Node, style: Style) -> list[OutputLayer]:
    """Returns the layers of one node, which depend on the node, its parameters and its `surroundings` only.

    Raises:
        UnsupportedError: The node did not come from Caffe and has no Caffe form.
    """
    return _EMITTERS.get(type(node.op), _from_source)(graph, node, style)


def surroundings(graph: Graph, node: Node) -> tuple[object, ...]:
    """Returns what else of the graph the layers of a node depend on: blob names, and the layer that a quantization belongs to."""
    served: tuple[object, ...] = ()
    if isinstance(node.op, Quantize):
        served = tuple(reader.name for reader in graph.consumers[node.outputs[0]][:1])
    elif isinstance(node.op, Dequantize):
        producer = graph.producer.get(node.inputs[0])
        served = () if producer is None else (producer.name, type(producer.op))
    return (*_names(graph, node.inputs), *_names(graph, node.outputs), *served)


def _input_layer(graph: Graph, number: int) -> OutputLayer:
    item = graph.inputs[number]
    top = graph.storage_name(item.name)
    name = top
    while name in graph.node:
        name += "_input"
    message = new_layer(name, "Input", [], [top])
    message.input_param.shape.add().dim.extend(item.shape)
    return OutputLayer(message)


def _names(graph: Graph, values: tuple[str, ...]) -> list[str]:
    return [graph.storage_name(value) for value in values]


def _from_source(graph: Graph, node: Node, style: Style) -> list[OutputLayer]:
    """Gives back the layer that was read, with the bottoms, tops and weights it has now."""
    origin = node.origin
    if origin is None or origin.framework != "caffe":
        raise UnsupportedError(f"{node.place}: did not come from a Caffe file, and {node.op.kind} has no writer yet")
    bottoms, tops = _names(graph, node.inputs), _names(graph, node.outputs)
    message = LayerParameter()
    message.CopyFrom(origin.source)
    message.ClearField("blobs")
    if isinstance(node.op, Opaque):
        if list(message.bottom) != bottoms or list(message.top) != tops:
            raise UnsupportedError(
                f"{node.place}: its bottoms or tops have changed, and its parameters are not known ({node.op.reason})"
            )
        return [OutputLayer(message, text=origin.text, stored=origin.blobs, unknown=origin.unknown)]
    _set_bias_term(message, node.op)
    del message.bottom[:], message.top[:]
    message.bottom.extend(bottoms)
    message.top.extend(tops)
    arrays = [graph.params[name] for name in node.params]
    if isinstance(node.op, Convolution) and arrays[0].dtype == np.int8:
        # A quantized depthwise layer of a fork is written in its stock form, which every Caffe runs.
        message.type = "Convolution"
        if message.convolution_param.group != node.op.group:
            message.convolution_param.group = node.op.group
    if style is Style.FAKE_QUANT:
        arrays = [array if array.dtype == np.float32 else array.astype(np.float32) for array in arrays]
    unchanged = _without_blobs(message) == _without_blobs(origin.source)
    text = origin.text if unchanged else None
    return [OutputLayer(message, tuple(blob(array) for array in arrays), text, unknown=origin.unknown)]


def _without_blobs(message: Any) -> bytes:
    if len(message.blobs):
        copy = LayerParameter()
        copy.CopyFrom(message)
        copy.ClearField("blobs")
        message = copy
    return bytes(message.SerializeToString(deterministic=True))


def _set_bias_term(message: Any, op: Op) -> None:
    """Folding can give a layer a bias that it did not have."""
    if isinstance(op, Convolution | Deconvolution) and message.convolution_param.bias_term != op.bias_term:
        message.convolution_param.bias_term = op.bias_term
    if isinstance(op, InnerProduct) and message.inner_product_param.bias_term != op.bias_term:
        message.inner_product_param.bias_term = op.bias_term


def _quantize(graph: Graph, node: Node, style: Style) -> list[OutputLayer]:
    op = node.op
    if not isinstance(op, Quantize):
        raise TypeError(op)
    (bottom,), (top,) = _names(graph, node.inputs), _names(graph, node.outputs)
    if style is Style.DEPLOY:
        message = new_layer(node.name, "Quant", [bottom], [top])
        message.quant_param.with_offset = True
        message.quant_param.scale = op.multiplier
        message.quant_param.offset = op.offset.to_bytes(1, "little", signed=True)
        message.quant_param.object_layer = graph.consumers[node.outputs[0]][0].name
        return [OutputLayer(message)]
    steps: list[tuple[str, str, float, float]] = [
        ("", "Power", op.multiplier, ROUNDER),
        # Changes nothing that the clipping keeps; parts two Power layers that OpenCV would multiply out.
        ("/keep", "ReLU", 0, 0),
        ("/low", "Power", 1, 128 + op.offset - ROUNDER),
        ("/clip_low", "ReLU", 0, 0),
        ("/high", "Power", -1, 255),
        ("/clip_high", "ReLU", 0, 0),
        ("/restore", "Power", -1, 127 - op.offset),
    ]
    layers = []
    for suffix, layer_type, scale, shift in steps:
        message = new_layer(node.name + suffix, layer_type, [bottom], [top])
        if layer_type == "Power":
            message.power_param.scale, message.power_param.shift = scale, shift
        layers.append(OutputLayer(message))
        bottom = top
    return layers


def _dequantize(graph: Graph, node: Node, style: Style) -> list[OutputLayer]:
    bottoms, tops = _names(graph, node.inputs), _names(graph, node.outputs)
    steps = graph.params[node.params[0]]
    if style is Style.FAKE_QUANT:
        message = new_layer(node.name, "Scale", bottoms, tops)
        message.scale_param.axis, message.scale_param.bias_term = 1, False
        return [OutputLayer(message, (blob(steps),))]
    served = graph.producer[node.inputs[0]]
    message = new_layer(node.name, "DeQuant", bottoms, tops)
    message.dequant_param.channel_wise = isinstance(served.op, Convolution | Deconvolution)
    message.dequant_param.object_layer = served.name
    message.dequant_param.layer_type = served.op.kind
    return [OutputLayer(message, (blob(_packed(steps)),))]


def _packed(steps: Array) -> Array:
    """One uint64 for each channel: bits 31..0 the float32; shift (39..32) and weight offset (47..40) are 0."""
    return np.ascontiguousarray(steps, "<f4").view("<u4").astype(np.uint64)


_EMITTERS: dict[type[Op], _Emitter] = {Quantize: _quantize, Dequantize: _dequantize}
