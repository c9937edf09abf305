"""A model as runtimes are given it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from nuqconv.errors import ModelError
from nuqconv.formats import ModelFiles, ReadOptions
from nuqconv.frontends.options import AS_THEY_ARE
from nuqconv.ir import Graph

__all__ = ["Runnable"]


@dataclass(frozen=True, eq=False)
class Runnable:
    """A model that a runtime is to run. Its graph is read when a runtime asks for it; others take the files.

    Attributes:
        format: ``"caffe"``, ``"onnx"``, or ``"graph"`` for one that has no files.
        label: What it is, for people.
        files: .prototxt and .caffemodel, or .onnx; none for a graph.
        options: How the graph is read.
        notes: What the reader chose or changed.
        known: The graph, where it has been read already.
        opened: The files, where the graph is read from them.
    """

    words: ClassVar[Mapping[str, str]] = {"caffe": "Caffe model", "onnx": "ONNX model", "graph": "graph"}

    format: str
    label: str
    files: tuple[Path, ...] = ()
    options: ReadOptions = AS_THEY_ARE
    notes: tuple[str, ...] = ()
    known: Graph | None = field(default=None, repr=False)
    opened: ModelFiles | None = field(default=None, repr=False)

    @classmethod
    def of(cls, model: ModelFiles, options: ReadOptions | None = None) -> Runnable:
        """Returns the model of files that need not be read yet.

        Args:
            model: The model.
            options: How its graph is read.
        """
        chosen = options or ReadOptions()
        return cls(model.format.name, str(model.model), model.paths, chosen, opened=model)

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
        if self.opened is None:
            raise ModelError(f"{self.label}: it has neither files to read nor a graph")
        return self.opened.read(self.options).graph

    @property
    def text(self) -> bytes:
        """The content of the first file, by which a further model of the same net is known; empty where there is none."""
        return self.files[0].read_bytes() if self.files and self.files[0].is_file() else b""
