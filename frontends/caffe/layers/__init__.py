"""How each Caffe layer type is read, one module for each family of operators."""

from __future__ import annotations

from nuqconv.frontends.caffe.layers.registry import (
    CannotReadError,
    Reading,
    WrongLayerError,
    has_dialects,
    has_no_effect,
    reader_for,
    reads,
    reads_with_shapes,
)
from nuqconv.ir.families import import_families

__all__ = [
    "CannotReadError",
    "Reading",
    "WrongLayerError",
    "has_dialects",
    "has_no_effect",
    "reader_for",
    "reads",
    "reads_with_shapes",
]

import_families(__name__)
