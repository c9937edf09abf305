"""Quantize and Dequantize, in both styles."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.caffe.layer import OutputLayer, blob, new_layer
from nuqconv.backends.caffe.style import Style
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import Quantize, Weighted

__all__ = ["write_dequantize", "write_quantize"]

ROUNDER = 1.5 * 2**23
"""Adding and subtracting it rounds a float32 below 2^22 to an integer, half to even."""


def write_quantize(graph: Graph, node: Node, style: Style) -> list[OutputLayer]:
    """A Quant layer, or seven stock layers that scale, round and clip (decision D4)."""
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


def write_dequantize(graph: Graph, node: Node, style: Style) -> list[OutputLayer]:
    """A DeQuant layer, or a Scale."""
    bottoms, tops = _names(graph, node.inputs), _names(graph, node.outputs)
    steps = graph.params[node.params[0]]
    if style is Style.FAKE_QUANT:
        message = new_layer(node.name, "Scale", bottoms, tops)
        message.scale_param.axis, message.scale_param.bias_term = 1, False
        return [OutputLayer(message, (blob(steps),))]
    served = graph.producer[node.inputs[0]]
    message = new_layer(node.name, "DeQuant", bottoms, tops)
    message.dequant_param.channel_wise = isinstance(served.op, Weighted) and served.op.scales_by_channel
    message.dequant_param.object_layer = served.name
    message.dequant_param.layer_type = served.op.kind
    return [OutputLayer(message, (blob(_packed(steps)),))]


def _packed(steps: Array) -> Array:
    """One uint64 for each channel: bits 31..0 the float32; shift (39..32) and weight offset (47..40) are 0."""
    return np.ascontiguousarray(steps, "<f4").view("<u4").astype(np.uint64)


def _names(graph: Graph, values: tuple[str, ...]) -> list[str]:
    return [graph.storage_name(value) for value in values]
