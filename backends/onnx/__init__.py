"""Writes graphs as ONNX models and runs them."""

from __future__ import annotations

from nuqconv.backends.onnx.batch import batch_problems, rebatch
from nuqconv.backends.onnx.export import write_onnx
from nuqconv.backends.onnx.lower import to_onnx
from nuqconv.backends.onnx.opset import MAX_OPSET, MIN_OPSET, newest_opset
from nuqconv.backends.onnx.runtime import OnnxSession

__all__ = [
    "MAX_OPSET",
    "MIN_OPSET",
    "OnnxSession",
    "batch_problems",
    "newest_opset",
    "rebatch",
    "to_onnx",
    "write_onnx",
]
