"""What quantized layers become in ONNX: each way is one style.

A layer that a style does not write in its own way is written as `lowering` has it: a Quantize and what reads it on integers held in float32.
"""

from __future__ import annotations

from nuqconv.backends.onnx.builder import FastProducts
from nuqconv.backends.onnx.lowering.parts.integer import IntegerLayers
from nuqconv.backends.onnx.lowering.parts.products import ProductLayers
from nuqconv.backends.onnx.lowering.parts.qdq import QdqLayers
from nuqconv.backends.onnx.style import Layers, Style

__all__ = ["FAKE_QUANT", "INTEGER", "PACKED", "QDQ", "Layers", "Style", "fast"]

FAKE_QUANT = Style("fake_quant")
"""Integers held in float32, as fake_quant models of Caffe do: a Quantize's value is ``u = q - offset``."""

INTEGER = Style("integer", IntegerLayers)
"""A Quantize's value is uint8 ``q + 128``, and the layers that read it are ConvInteger and MatMulInteger with int32 results."""

QDQ = Style("qdq", QdqLayers, stepped="dequantized")
"""Float operators between QuantizeLinear and DequantizeLinear."""

PACKED = Style("packed", packed=True, stepped="product")
"""As FAKE_QUANT, with int8 weights of few levels stored as packed indices and a codebook, see `packing`."""


def fast(kind: FastProducts) -> Style:
    """Returns the style of sessions that must be fast: products of bytes by onnxruntime's own operators, see `lowering.parts.products`.

    Args:
        kind: The weights' type in a product with uint8.
    """
    return _FAST[kind]


_FAST: dict[FastProducts, Style] = {
    "signed": Style("fast, signed", lambda graph: ProductLayers(graph, signed=True)),
    "unsigned": Style("fast, unsigned", lambda graph: ProductLayers(graph, signed=False)),
}
