"""Models in whichever format their files are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nuqconv.errors import ConfigError
from nuqconv.frontends.caffe.build import read_model
from nuqconv.frontends.onnx import read_onnx_model
from nuqconv.ir import Graph

__all__ = ["CAFFE", "ONNX", "Format", "SourceModel", "StrPath", "is_onnx", "model_files", "read_any"]

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Format:
    """A format of model files.

    Attributes:
        name: What users call it.
    """

    name: str


CAFFE, ONNX = Format("caffe"), Format("onnx")


@dataclass(frozen=True)
class SourceModel:
    """A network that was read.

    Attributes:
        graph: The verified graph.
        notes: What the reader chose or changed, in words.
        files: The files read: .prototxt and .caffemodel, or .onnx.
        format: Their format.
    """

    graph: Graph
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    format: Format


def is_onnx(model_file: StrPath) -> bool:
    """Returns whether a file is named like an ONNX model."""
    return Path(model_file).suffix == ".onnx"


def model_files(model_file: StrPath, weights_file: StrPath | None) -> tuple[Path, ...]:
    """Returns the files of a model.

    Raises:
        ConfigError: An ONNX model has weights beside it, or another model has none.
    """
    if is_onnx(model_file):
        if weights_file is not None and Path(weights_file) != Path(model_file):
            raise ConfigError(
                f"{os.fspath(model_file)}: an ONNX model holds its weights; {os.fspath(weights_file)} does not go with it"
            )
        return (Path(model_file),)
    if weights_file is None:
        raise ConfigError(
            f"{os.fspath(model_file)}: a .prototxt needs its .caffemodel; only an .onnx model stands alone"
        )
    return (Path(model_file), Path(weights_file))


def read_any(
    model_file: StrPath,
    weights_file: StrPath | None = None,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    allow_unknown_fields: bool = False,
    cut_for_inference: bool = False,
) -> SourceModel:
    """Reads a Caffe or an ONNX model; the ending of ``model_file`` tells which.

    Args:
        model_file: .prototxt or .onnx.
        weights_file: .caffemodel; None, or the same file, for an ONNX model.
        input_shapes: Shapes for inputs by name, instead of the file's.
        allow_unknown_fields: See `read_model`; of no meaning for ONNX.
        cut_for_inference: See `read_model`; of no meaning for ONNX.

    Raises:
        ConfigError: The files are not those of one model.
        FormatError, ModelError, UnsupportedError: The model cannot be read or is wrong.
    """
    files = model_files(model_file, weights_file)
    if len(files) == 1:
        onnx_model = read_onnx_model(files[0], input_shapes=input_shapes)
        return SourceModel(onnx_model.graph, onnx_model.notes, files, ONNX)
    model = read_model(
        *files,
        input_shapes=input_shapes,
        allow_unknown_fields=allow_unknown_fields,
        cut_for_inference=cut_for_inference,
    )
    return SourceModel(model.graph, model.notes, files, CAFFE)
