"""Writes graphs as ONNX models."""

from __future__ import annotations

from nuqconv.backends.onnx.batch import batch_problems, rebatch
from nuqconv.backends.onnx.export import write_onnx
from nuqconv.backends.onnx.lower import to_onnx
from nuqconv.backends.onnx.opset import MAX_OPSET, MIN_OPSET, newest_opset

__all__ = [
    "MAX_OPSET",
    "MIN_OPSET",
    "batch_problems",
    "newest_opset",
    "rebatch",
    "to_onnx",
    "write_onnx",
]
