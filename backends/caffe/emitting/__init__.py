"""How each operator is computed by stock layers, one module for each family."""

from __future__ import annotations

from nuqconv.backends.caffe.emitting import (
    activation,
    convolution,
    merge,
    normalization,
    pooling,
    recurrent,
    reduction,
    refused,
    resize,
    shape,
)
from nuqconv.backends.caffe.emitting.build import LayerBuilder
from nuqconv.backends.caffe.emitting.registry import EMITTERS, REFUSALS

__all__ = [
    "EMITTERS",
    "REFUSALS",
    "LayerBuilder",
    "activation",
    "convolution",
    "merge",
    "normalization",
    "pooling",
    "recurrent",
    "reduction",
    "refused",
    "resize",
    "shape",
]
