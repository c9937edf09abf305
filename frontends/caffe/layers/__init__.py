"""One module for each family of layers; importing this package registers their readers."""

from __future__ import annotations

from nuqconv.frontends.caffe.layers import (
    activation,
    convolution,
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
)
from nuqconv.frontends.caffe.layers.registry import (
    CannotReadError,
    Reading,
    has_dialects,
    ignored_fields,
    reader_for,
    reads,
    reads_with_shapes,
)

__all__ = [
    "CannotReadError",
    "Reading",
    "activation",
    "convolution",
    "detection",
    "elementwise",
    "has_dialects",
    "ignored_fields",
    "merge",
    "normalization",
    "parametric",
    "pooling",
    "quantization",
    "reader_for",
    "reads",
    "reads_with_shapes",
    "rearrange",
    "recurrent",
    "reduction",
    "resize",
    "roi",
    "selection",
    "shape",
    "spatial",
]
