"""A model as runtimes are given it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from nuqconv.errors import ModelError
from nuqconv.formats.source import is_onnx, model_files, read_any
from nuqconv.ir import Graph

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
    """

    words: ClassVar[Mapping[str, str]] = {"caffe": "Caffe model", "onnx": "ONNX model", "graph": "graph"}

    format: str
    label: str
    files: tuple[Path, ...] = ()
    input_shapes: Mapping[str, Sequence[int]] | None = None
    notes: tuple[str, ...] = ()
    known: Graph | None = field(default=None, repr=False)

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

    @cached_property
    def graph(self) -> Graph:
        """The verified graph.

        Raises:
            FormatError, ModelError, UnsupportedError: The files cannot be read.
        """
        if self.known is not None:
            return self.known
        if not self.files:
            raise ModelError(f"{self.label}: it has neither files nor a graph")
        return read_any(*self.files, input_shapes=self.input_shapes).graph

    @property
    def text(self) -> bytes:
        """The content of the first file, by which a further model of the same net is known; empty where there is none."""
        return self.files[0].read_bytes() if self.files and self.files[0].is_file() else b""
