"""A model as runtimes are given it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from onnx import ModelProto

from nuqconv.backends.caffe import write_caffe
from nuqconv.errors import ModelError
from nuqconv.formats.source import is_onnx, model_files, read_any
from nuqconv.frontends.caffe.build import CaffeModel, read_model
from nuqconv.frontends.caffe.prototxt import read_prototxt
from nuqconv.frontends.caffe.training import is_for_training
from nuqconv.frontends.onnx.build import graph_of
from nuqconv.ir import Graph
from nuqconv.ir.ops import Shape

__all__ = ["Runnable"]


@dataclass(frozen=True, eq=False)
class Runnable:
    """A model that a runtime is to run. Its graph is read when a runtime asks for it; others take the files.

    Attributes:
        format: ``"caffe"``, ``"onnx"``, or ``"graph"`` for one that has no files.
        label: What it is, for people.
        files: .prototxt and .caffemodel, or .onnx; none for a graph.
        input_shapes: Shapes of inputs by name, where they are not the file's.
        notes: What the reader chose or changed.
        known: The graph, where it has been read already.
        proto: An ONNX model that is in memory.
    """

    words: ClassVar[Mapping[str, str]] = {"caffe": "Caffe model", "onnx": "ONNX model", "graph": "graph"}

    format: str
    label: str
    files: tuple[Path, ...] = ()
    input_shapes: Mapping[str, Sequence[int]] | None = None
    notes: tuple[str, ...] = ()
    known: Graph | None = field(default=None, repr=False)
    proto: ModelProto | None = field(default=None, repr=False)

    @classmethod
    def of_files(
        cls,
        model_file: str | os.PathLike[str],
        weights_file: str | os.PathLike[str] | None = None,
        input_shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> Runnable:
        """Returns the model of files that are not read yet.

        Args:
            model_file: .prototxt or .onnx.
            weights_file: .caffemodel; None, or the same file, for an ONNX model.
            input_shapes: Shapes of inputs by name, instead of the file's.

        Raises:
            ConfigError: The files are not those of one model.
        """
        found = model_files(model_file, weights_file)
        return cls("onnx" if is_onnx(model_file) else "caffe", os.fspath(model_file), found, input_shapes)

    @classmethod
    def of_graph(cls, graph: Graph, label: str | None = None) -> Runnable:
        """Returns a graph as a model."""
        return cls("graph", f"network '{graph.name}'" if label is None else label, known=graph)

    @classmethod
    def of_proto(cls, model: ModelProto, input_shapes: Mapping[str, Sequence[int]] | None = None) -> Runnable:
        """Returns an ONNX model in memory, whose tensors are in it."""
        return cls("onnx", f"ONNX model '{model.graph.name}'", input_shapes=input_shapes, proto=model)

    @classmethod
    def cut_for_inference(
        cls,
        model_file: str | os.PathLike[str],
        weights_file: str | os.PathLike[str],
        shapes: Mapping[str, Shape],
        stack: ExitStack,
    ) -> Runnable:
        """Reads a Caffe model; a net for training is cut for inference, and runs in that form.

        Args:
            model_file: The .prototxt.
            weights_file: The .caffemodel.
            shapes: Shapes of the inputs, where they are not the file's; when the names are no inputs here, they go by position.
            stack: Removes what is written for the run.

        Raises:
            FormatError, ModelError, UnsupportedError: As `nuqconv.load`.
        """
        definition, stored = Path(model_file), Path(weights_file)
        found = _read(definition, stored, shapes)
        files = definition, stored
        if any(is_for_training(layer.message.type) for layer in read_prototxt(definition).layers):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            files = folder / "cut.prototxt", folder / "cut.caffemodel"
            write_caffe(found.graph, *files)
        return cls("caffe", str(definition), files, notes=found.notes, known=found.graph)

    @cached_property
    def graph(self) -> Graph:
        """The verified graph.

        Raises:
            FormatError, ModelError, UnsupportedError: The files cannot be read.
        """
        if self.known is not None:
            return self.known
        if self.proto is not None:
            return graph_of(self.proto, self.label, input_shapes=self.input_shapes).graph
        if not self.files:
            raise ModelError(f"{self.label}: it has neither files nor a graph")
        return read_any(*self.files, input_shapes=self.input_shapes).graph

    @property
    def text(self) -> bytes:
        """The content of the first file, by which a further model of the same net is known; empty where there is none."""
        return self.files[0].read_bytes() if self.files and self.files[0].is_file() else b""


def _read(model: Path, weights: Path, shapes: Mapping[str, Shape]) -> CaffeModel:
    try:
        found = read_model(model, weights, cut_for_inference=True)
    except ModelError:
        # The shape of a data layer's blob can be one that only the caller knows.
        if not shapes:
            raise
        return read_model(model, weights, input_shapes=shapes, cut_for_inference=True)
    own = {found.graph.storage_name(item.name): item.shape for item in found.graph.inputs}
    wanted = {**own, **shapes}
    if len(wanted) > len(own):
        wanted = dict(zip(own, shapes.values(), strict=True)) if len(shapes) == len(own) else own
    return found if wanted == own else read_model(model, weights, input_shapes=wanted, cut_for_inference=True)
