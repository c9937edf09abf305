"""How each operator is written in ONNX, one module for each family."""

from __future__ import annotations

from nuqconv.backends.onnx.lowering import (
    activation,
    convolution,
    custom,
    detection,
    elementwise,
    merge,
    normalization,
    parametric,
    pooling,
    quantization,
    rearrange,
    recurrent,
    reduction,
    resize,
    roi,
    selection,
    shape,
    spatial,
    statistics,
)
from nuqconv.backends.onnx.lowering.registry import lowering_for

__all__ = [
    "activation",
    "convolution",
    "custom",
    "detection",
    "elementwise",
    "lowering_for",
    "merge",
    "normalization",
    "parametric",
    "pooling",
    "quantization",
    "rearrange",
    "recurrent",
    "reduction",
    "resize",
    "roi",
    "selection",
    "shape",
    "spatial",
    "statistics",
]
