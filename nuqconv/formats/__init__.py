"""The formats of model files: which there are, how each is read and written, and conversion between them."""

from __future__ import annotations

from nuqconv.formats.argument import Model, in_files, open_model, open_models, shared
from nuqconv.formats.base import Format
from nuqconv.formats.caffe import CAFFE
from nuqconv.formats.form import Form, WriteOptions
from nuqconv.formats.onnx import ONNX
from nuqconv.formats.source import ModelFiles, SourceModel
from nuqconv.formats.table import FORMATS
from nuqconv.frontends.options import ReadOptions

__all__ = [
    "CAFFE",
    "FORMATS",
    "ONNX",
    "Form",
    "Format",
    "Model",
    "ModelFiles",
    "ReadOptions",
    "SourceModel",
    "WriteOptions",
    "in_files",
    "open_model",
    "open_models",
    "shared",
]
