"""How each operator is computed by stock layers, one module for each family."""

from __future__ import annotations

from nuqconv.backends.caffe.emitting import (
    activation,
    binary,
    convolution,
    merge,
    normalization,
    norms,
    picking,
    placing,
    pooling,
    recurrent,
    reduction,
    refused,
    resize,
    shape,
    unary,
    windows,
)
from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.backends.caffe.emitting.refused import ELSEWHERE
from nuqconv.backends.caffe.emitting.registry import EMITTERS, REFUSALS

__all__ = [
    "ELSEWHERE",
    "EMITTERS",
    "REFUSALS",
    "LayerBuilder",
    "activation",
    "binary",
    "convolution",
    "merge",
    "normalization",
    "norms",
    "picking",
    "placing",
    "pooling",
    "recurrent",
    "reduction",
    "refused",
    "resize",
    "shape",
    "unary",
    "windows",
]
