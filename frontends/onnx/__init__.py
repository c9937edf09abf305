"""ONNX files -> Graph."""

from __future__ import annotations

from nuqconv.frontends.onnx.build import read_onnx_model
from nuqconv.frontends.onnx.files import fed_inputs, read_onnx

__all__ = ["fed_inputs", "read_onnx", "read_onnx_model"]
