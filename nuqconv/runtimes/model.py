"""A model as runtimes are given it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from onnx import ModelProto

from nuqconv.backends.caffe import write_caffe
from nuqconv.errors import ModelError
from nuqconv.formats import ModelFiles, ReadOptions, SourceModel
from nuqconv.frontends.caffe.layer_types import is_for_training, makes_data
from nuqconv.frontends.caffe.prototxt import read_prototxt
from nuqconv.frontends.onnx import fed_inputs
from nuqconv.frontends.onnx.build import graph_of
from nuqconv.frontends.options import AS_THEY_ARE
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
        options: How the graph is read.
        notes: What the reader chose or changed.
        known: The graph, where it has been read already.
        opened: The files, where the graph is read from them.
        proto: An ONNX model that is in memory.
    """

    words: ClassVar[Mapping[str, str]] = {"caffe": "Caffe model", "onnx": "ONNX model", "graph": "graph"}

    format: str
    label: str
    files: tuple[Path, ...] = ()
    options: ReadOptions = AS_THEY_ARE
    notes: tuple[str, ...] = ()
    known: Graph | None = field(default=None, repr=False)
    opened: ModelFiles | None = field(default=None, repr=False)
    proto: ModelProto | None = field(default=None, repr=False)

    @classmethod
    def of(cls, model: ModelFiles, options: ReadOptions | None = None) -> Runnable:
        """Returns the model of files that need not be read yet.

        Args:
            model: The model.
            options: How its graph is read.
        """
        if not model.paths:
            return cls.of_graph(model.read(options or AS_THEY_ARE).graph)
        return cls(model.format.name, str(model.model), model.paths, options or AS_THEY_ARE, opened=model)

    @classmethod
    def of_chosen(cls, model: ModelFiles, options: ReadOptions, stack: ExitStack) -> Runnable:
        """Returns a model as `of` does; one whose layers are selected by a stage or level has files of these layers only.

        Args:
            model: The model.
            options: How its graph is read.
            stack: Removes what is written for the run.
        """
        if model.options.chooses_layers and model.format.runs_in_caffe:
            return cls.cut_for_inference(model, options.input_shapes, stack)
        return cls.of(model, options)

    @classmethod
    def of_graph(cls, graph: Graph, label: str | None = None) -> Runnable:
        """Returns a graph as a model."""
        return cls("graph", f"network '{graph.name}'" if label is None else label, known=graph)

    @classmethod
    def of_proto(cls, model: ModelProto) -> Runnable:
        """Returns an ONNX model in memory, whose tensors are in it."""
        return cls("onnx", f"ONNX model '{model.graph.name}'", proto=model)

    @classmethod
    def cut_for_inference(
        cls,
        model: ModelFiles,
        shapes: Mapping[str, Sequence[int]],
        stack: ExitStack,
    ) -> Runnable:
        """Reads a Caffe model; a net for training is cut for inference, and runs in that form.

        Args:
            model: The .prototxt and .caffemodel; a net whose layers are selected by a stage or level runs with these only.
            shapes: Shapes of the inputs, where they are not the file's; when the names are no inputs here, they go by position.
            stack: Removes what is written for the run.

        Raises:
            FormatError, ModelError, UnsupportedError: As `nuqconv.load`.
        """
        definition = model.model
        found = _read(model, shapes)
        files = model.paths
        if model.options.chooses_layers or any(
            is_for_training(layer.message.type) or makes_data(layer.message)
            for layer in read_prototxt(definition).layers
        ):
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
            return graph_of(self.proto, self.label, options=self.options).graph
        if self.opened is None:
            raise ModelError(f"{self.label}: it has neither files to read nor a graph")
        return self.opened.read(self.options).graph

    @property
    def own_batch(self) -> int | None:
        """The samples of one run, where the files fix them; see `ModelFiles.own_batch`."""
        return None if self.opened is None else self.opened.own_batch()

    def with_shapes(self, shapes: Mapping[str, Shape]) -> Runnable:
        """Returns an ONNX model with other shapes of its inputs; where the names are no inputs here, they go by position.

        Args:
            shapes: Shapes by name.
        """
        names: Sequence[str] = ()
        if self.opened is not None:
            names = self.opened.input_names()
        elif self.proto is not None:
            names = [item.name for item in fed_inputs(self.proto)]
        if not shapes or not names:
            return self
        if len(names) == len(shapes) and set(names) != set(shapes):
            shapes = dict(zip(names, shapes.values(), strict=True))
        known = {name: shape for name, shape in shapes.items() if name in names}
        return replace(self, options=replace(self.options, input_shapes=known))

    @property
    def text(self) -> bytes:
        """The content of the first file, by which a further model of the same net is known; empty where there is none."""
        return self.files[0].read_bytes() if self.files and self.files[0].is_file() else b""


def _read(model: ModelFiles, shapes: Mapping[str, Sequence[int]]) -> SourceModel:
    try:
        found = model.read(ReadOptions(cut_for_inference=True))
    except ModelError:
        # The shape of a data layer's blob can be one that only the caller knows.
        if not shapes:
            raise
        return model.read(ReadOptions(shapes, cut_for_inference=True))
    own: dict[str, Sequence[int]] = {found.graph.storage_name(item.name): item.shape for item in found.graph.inputs}
    given: dict[str, Sequence[int]] = {name: tuple(shape) for name, shape in shapes.items()}
    wanted = {**own, **given}
    if len(wanted) > len(own):
        wanted = dict(zip(own, given.values(), strict=True)) if len(given) == len(own) else own
    return found if wanted == own else model.read(ReadOptions(wanted, cut_for_inference=True))
