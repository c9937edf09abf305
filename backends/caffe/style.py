"""The styles in which a quantized graph is written, each with what it makes of quantized layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from nuqconv.backends.caffe.device_names import device_name, device_named
from nuqconv.backends.caffe.layer import OutputLayer, blob, new_layer
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import Dequantize, Quantize, Weighted

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Style"]

_ROUNDER = 1.5 * 2**23
"""Adding and subtracting it rounds a float32 below 2^22 to an integer, half to even."""


class _Layers(ABC):
    """What a style makes of quantized layers."""

    @abstractmethod
    def quantize(self, graph: Graph, node: Node) -> list[OutputLayer]:
        """Returns the layers of a Quantize."""

    @abstractmethod
    def dequantize(self, graph: Graph, node: Node) -> list[OutputLayer]:
        """Returns the layers of a Dequantize."""

    def stored(self, array: Array) -> Array:
        """Returns the numbers of a parameter as they are stored."""
        return array

    def named(self, graph: Graph) -> Graph:
        """Returns a graph whose layers have the names that they are written with."""
        return graph

    def input_name(self, name: str, taken: set[str]) -> str:
        """Returns the name of the Input layer of a blob, and adds it to those taken."""
        while name in taken:
            name += "_input"
        taken.add(name)
        return name


class _StockLayers(_Layers):
    def quantize(self, graph: Graph, node: Node) -> list[OutputLayer]:
        """Seven stock layers that scale, round and clip (decision D4)."""
        op, (bottom, top) = _quantize_ends(graph, node)
        steps: list[tuple[str, str, float, float]] = [
            ("", "Power", op.multiplier, _ROUNDER),
            # Changes nothing that the clipping keeps; parts two Power layers that OpenCV would multiply out.
            ("/keep", "ReLU", 0, 0),
            ("/low", "Power", 1, 128 + op.offset - _ROUNDER),
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

    def dequantize(self, graph: Graph, node: Node) -> list[OutputLayer]:
        """A Scale."""
        if isinstance(node.op, Dequantize) and node.op.shifts:
            raise UnsupportedError(
                f"{node.place}: shifts its sums by {max(node.op.shifts)} bits, which stock layers cannot; write the deploy form or ONNX"
            )
        message = new_layer(node.name, "Scale", _names(graph, node.inputs), _names(graph, node.outputs))
        message.scale_param.axis = node.op.axis if isinstance(node.op, Dequantize) else 1
        message.scale_param.bias_term = False
        return [OutputLayer(message, (blob(graph.params[node.params[0]]),))]

    def stored(self, array: Array) -> Array:
        """Integers are held in floats."""
        return array if array.dtype == np.float32 else array.astype(np.float32)


class _DeviceLayers(_Layers):
    def quantize(self, graph: Graph, node: Node) -> list[OutputLayer]:
        """A Quant layer."""
        op, (bottom, top) = _quantize_ends(graph, node)
        message = new_layer(node.name, "Quant", [bottom], [top])
        message.quant_param.with_offset = True
        message.quant_param.scale = op.multiplier
        message.quant_param.offset = op.offset.to_bytes(1, "little", signed=True)
        message.quant_param.object_layer = graph.consumers[node.outputs[0]][0].name
        return [OutputLayer(message)]

    def dequantize(self, graph: Graph, node: Node) -> list[OutputLayer]:
        """A DeQuant layer."""
        served = graph.producer[node.inputs[0]]
        message = new_layer(node.name, "DeQuant", _names(graph, node.inputs), _names(graph, node.outputs))
        steps = _packed(graph.params[node.params[0]], _shifts(node))
        by_channel = isinstance(served.op, Weighted) and served.op.scales_by_channel
        if steps.size > 1 and (steps == steps[0]).all():
            # One for all: the original's Caffe takes no other shape where there is no step size for each channel.
            by_channel, steps = False, steps[:1]
        message.dequant_param.channel_wise = by_channel
        message.dequant_param.object_layer = served.name
        message.dequant_param.layer_type = served.op.kind
        return [OutputLayer(message, (blob(steps),))]

    def named(self, graph: Graph) -> Graph:
        """The device's converter refuses some characters."""
        return device_named(graph)

    def input_name(self, name: str, taken: set[str]) -> str:
        """As of any layer."""
        return super().input_name(device_name(name, set()), taken)


class Style(Enum):
    """What a quantized graph becomes."""

    layers: _Layers

    def __new__(cls, name: str, layers: _Layers) -> Self:
        """Makes a style whose value is its name."""
        style = object.__new__(cls)
        style._value_ = name
        style.layers = layers
        return style

    FAKE_QUANT = ("fake_quant", _StockLayers())
    """Stock layers on integers held in floats: any Caffe runs it."""
    DEPLOY = ("deploy", _DeviceLayers())
    """Quant and DeQuant layers, int8 and int32 blobs: for the device."""


def _quantize_ends(graph: Graph, node: Node) -> tuple[Quantize, tuple[str, str]]:
    if not isinstance(node.op, Quantize):
        raise TypeError(node.op)
    (bottom,), (top,) = _names(graph, node.inputs), _names(graph, node.outputs)
    return node.op, (bottom, top)


def _packed(steps: Array, shifts: Array) -> Array:
    """One uint64 for each channel: bits 31..0 the float32, 39..32 the shift; the weight offset (47..40) is 0."""
    found: Array = np.ascontiguousarray(steps, "<f4").view("<u4").astype(np.uint64) | shifts << np.uint64(32)
    return found


def _shifts(node: Node) -> Array:
    return np.array(node.op.shifts if isinstance(node.op, Dequantize) and node.op.shifts else 0, np.uint64)


def _names(graph: Graph, values: tuple[str, ...]) -> list[str]:
    return [graph.storage_name(value) for value in values]
