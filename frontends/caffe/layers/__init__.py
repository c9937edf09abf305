"""One module for each family of layers; importing this package registers their readers."""

from __future__ import annotations

from nuqconv.frontends.caffe.layers import activation, convolution, merge, normalization, pooling, quantization, shape
from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reader_for, reads

__all__ = [
    "CannotReadError",
    "Reading",
    "activation",
    "convolution",
    "merge",
    "normalization",
    "pooling",
    "quantization",
    "reader_for",
    "reads",
    "shape",
]
