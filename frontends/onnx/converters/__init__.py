"""How each ONNX operator is read, one module for each family."""

from __future__ import annotations

from nuqconv.frontends.onnx.converters import (
    activation,
    binary,
    convolution,
    normalization,
    picking,
    pooling,
    quantized,
    recurrent,
    reduction,
    resize,
    sampling,
    shape,
)
from nuqconv.frontends.onnx.registry import claimed, converter_for

__all__ = [
    "activation",
    "binary",
    "claimed",
    "converter_for",
    "convolution",
    "normalization",
    "picking",
    "pooling",
    "quantized",
    "recurrent",
    "reduction",
    "resize",
    "sampling",
    "shape",
]
