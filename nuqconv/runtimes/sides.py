"""The runtimes that can stand on one side of a comparison."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nuqconv.backends.caffe import write_caffe
from nuqconv.errors import ConfigError, ModelError
from nuqconv.frontends.caffe.build import read_model
from nuqconv.frontends.caffe.layer_types import is_for_training
from nuqconv.frontends.caffe.prototxt import read_prototxt
from nuqconv.frontends.options import ReadGraph, ReadOptions
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import Opaque, Shape
from nuqconv.runtimes.base import Loaded
from nuqconv.runtimes.caffe import CaffeProcess, Net
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.onnxruntime import OnnxSession

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RUNTIMES", "CaffeFiles", "GraphSide", "Side", "SideRun", "make_side", "runnable_values"]


@dataclass(frozen=True)
class CaffeFiles:
    """A Caffe model on disk and as it was read.

    Attributes:
        model: The .prototxt that runs.
        weights: The .caffemodel.
        graph: Both as a graph.
        label: What it is, for people: the .prototxt that the user named.
        notes: What the reader chose or changed.
    """

    model: Path
    weights: Path
    graph: Graph
    label: str
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(model: Runnable) -> CaffeFiles:
        """Returns a Caffe model with its graph."""
        return CaffeFiles(model.files[0], model.files[1], model.graph, model.label, model.notes)

    @staticmethod
    def read(
        model: str | os.PathLike[str],
        weights: str | os.PathLike[str],
        shapes: Mapping[str, Shape],
        stack: ExitStack,
    ) -> CaffeFiles:
        """Reads a model; a net for training is cut for inference, and runs in that form.

        Args:
            model: The .prototxt.
            weights: The .caffemodel.
            shapes: Shapes of the inputs, where they are not the file's; when the names are no inputs here, they go by position.
            stack: Removes what is written for the run.

        Raises:
            FormatError, ModelError, UnsupportedError: As `nuqconv.load`.
        """
        definition, stored = Path(model), Path(weights)
        found = _read(definition, stored, shapes)
        if any(is_for_training(layer.message.type) for layer in read_prototxt(definition).layers):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            write_caffe(found.graph, folder / "cut.prototxt", folder / "cut.caffemodel")
            return CaffeFiles(
                folder / "cut.prototxt", folder / "cut.caffemodel", found.graph, str(definition), found.notes
            )
        return CaffeFiles(definition, stored, found.graph, str(definition), found.notes)


def _read(model: Path, weights: Path, shapes: Mapping[str, Shape]) -> ReadGraph:
    try:
        found = read_model(model, weights, ReadOptions(cut_for_inference=True))
    except ModelError:
        # The shape of a data layer's blob can be one that only the caller knows.
        if not shapes:
            raise
        return read_model(model, weights, ReadOptions(shapes, cut_for_inference=True))
    own = {found.graph.storage_name(item.name): item.shape for item in found.graph.inputs}
    wanted = {**own, **shapes}
    if len(wanted) > len(own):
        wanted = dict(zip(own, shapes.values(), strict=True)) if len(shapes) == len(own) else own
    return found if wanted == own else read_model(model, weights, ReadOptions(wanted, cut_for_inference=True))


class Side(ABC):
    """One runtime with one model, a context manager.

    Attributes:
        label: What it is, for people.
        names: The blobs that it gives, in the order of execution.
        inputs: Shape of each input by blob name; None is an open size.
        outputs: The model's outputs.
        graph: The model as it was read from Caffe, or None.
        notes: What should be known of it.
    """

    label: str
    names: tuple[str, ...]
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]
    graph: Graph | None = None
    notes: tuple[str, ...] = ()

    @abstractmethod
    def run(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Runs the model once and returns the blobs named; ``blob@layer`` may be asked too where it `has` that."""

    def has(self, name: str) -> bool:
        """Whether `run` gives a value."""
        return name in self.names

    def exact(self, inputs: Mapping[str, Array], name: str) -> Array | None:
        """The value of a blob at the moment when its layer has run, where memory may be overwritten later; else None."""
        del inputs, name
        return None

    def layer(self, name: str) -> tuple[str, str]:
        """Returns name and type of the layer that makes a blob."""
        node = None if self.graph is None else self.graph.producer.get(name)
        return (name, "") if node is None else (node.name, layer_type(node))

    def parameters(self, layer: str) -> tuple[Array, ...] | None:
        """Returns the weights that the runtime holds for a layer, or None where it does not tell."""
        del layer
        return None

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """Ends what is running."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def layer_type(node: Node) -> str:
    """The type of a layer as its file calls it."""
    return node.origin.layer_type if node.origin else node.op.kind


def runnable_values(graph: Graph) -> list[str]:
    """The values that no layer without meaning stands before, in the order of execution."""
    good = {item.name for item in graph.inputs}
    for node in graph.nodes:
        if not isinstance(node.op, Opaque) and good.issuperset(node.inputs):
            good.update(node.outputs)
    return [name for node in graph.nodes for name in node.outputs if name in good]


class SideRun(Loaded):
    """A side with the outputs that are wanted of it.

    Args:
        side: The side; it is closed with this.
        outputs: Names of the blobs, or None for the model's own outputs.
    """

    def __init__(self, side: Side, outputs: Sequence[str] | None) -> None:
        self._side = side
        self._outputs = tuple(side.outputs if outputs is None else dict.fromkeys(outputs))
        missing = [name for name in self._outputs if not side.has(name)]
        if missing:
            side.close()
            raise ModelError(f"{side.label}: it does not give {', '.join(map(repr, missing))}")

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the model once."""
        return self._side.run(batch, self._outputs)

    def close(self) -> None:
        """Closes the side."""
        self._side.close()


class GraphSide(Side):
    """A graph in onnxruntime, through the lowering of this package."""

    def __init__(self, graph: Graph, label: str) -> None:
        self.graph: Graph = graph
        self.label = f"onnxruntime: {label}"
        self.names = tuple(runnable_values(graph))
        self.inputs = {graph.storage_name(item.name): item.shape for item in graph.inputs}
        self.outputs = graph.outputs
        hidden = [node.place for node in graph.nodes if isinstance(node.op, Opaque)]
        if hidden:
            self.notes = (
                f"layers without a form in ONNX, and what depends on them, are left out: {'; '.join(hidden)}",
            )

    def run(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Runs what the names need."""
        feeds = self.graph.feeds({name: np.asarray(array, np.float32) for name, array in inputs.items()})
        return OnnxSession(self.graph, outputs=names).run(feeds)

    def parameters(self, layer: str) -> tuple[Array, ...] | None:
        """The graph's."""
        node = self.graph.node.get(layer)
        return None if node is None else tuple(self.graph.params[name] for name in node.params)


class CaffeSide(Side):
    """Real Caffe in a child process.

    Args:
        files: The model.
        process: A process to live in; by default one of its own.
    """

    def __init__(self, files: CaffeFiles, process: CaffeProcess | None = None) -> None:
        graph = self.graph = files.graph
        self.label = f"real Caffe: {files.label}"
        self._net = Net(files.model, files.weights, process=process, pythonpath=[files.model.parent])
        self._states = {name: blob for name, blob in graph.storage.items() if name in graph.producer}
        made = (name for node in graph.nodes for name in node.outputs if name not in self._states)
        self.names = tuple(name for name in made if name in self._net.blobs)
        self.inputs = {graph.storage_name(item.name): item.shape for item in graph.inputs}
        self.outputs = graph.outputs

    def has(self, name: str) -> bool:
        """Earlier states of in-place blobs too: the net is then run up to their layer."""
        return name in self.names or (name in self._states and self._states[name] in self._net.blobs)

    def run(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Runs the net once, and once more for each earlier state."""
        found: dict[str, Array] = dict(self._net.run(inputs, [name for name in names if name not in self._states]))
        for name in names:
            if name in self._states:
                found[name] = self._up_to(inputs, name)
        return {name: found[name] for name in names}

    def exact(self, inputs: Mapping[str, Array], name: str) -> Array | None:
        """Caffe lets Flatten, Reshape, Split and others share their bottom's memory, which an in-place layer then overwrites."""
        return self._up_to(inputs, name)

    def _up_to(self, inputs: Mapping[str, Array], name: str) -> Array:
        graph = self.graph
        if graph is None:
            raise ValueError("no graph")
        blob = graph.storage_name(name)
        return self._net.run(inputs, [blob], end=graph.producer[name].name)[blob]

    def parameters(self, layer: str) -> tuple[Array, ...] | None:
        """Caffe's own."""
        return tuple(self._net.get_params(layer)) if layer in self._net.params else ()

    def close(self) -> None:
        """Frees the net, and ends the process if that is its own."""
        self._net.close()


def _onnxruntime(files: CaffeFiles, process: CaffeProcess | None) -> Side:
    del process
    return GraphSide(files.graph, files.label)


def _opencv(files: CaffeFiles, process: CaffeProcess | None) -> Side:
    del process
    from nuqconv.runtimes.opencv import OpenCvSide  # noqa: PLC0415 - optional

    return OpenCvSide(files)


def _caffe2onnx(files: CaffeFiles, process: CaffeProcess | None) -> Side:
    del process
    from nuqconv.runtimes.caffe2onnx import Caffe2OnnxSide  # noqa: PLC0415 - optional

    return Caffe2OnnxSide(files)


RUNTIMES: Mapping[str, Callable[[CaffeFiles, CaffeProcess | None], Side]] = {
    "caffe": CaffeSide,
    "onnxruntime": _onnxruntime,
    "opencv": _opencv,
    "caffe2onnx": _caffe2onnx,
}
"""What makes a side of a Caffe model, by the runtime's name."""


def make_side(files: CaffeFiles, runtime: str, process: CaffeProcess | None = None) -> Side:
    """Returns a Caffe model in a runtime.

    Args:
        files: The model.
        runtime: A name in `RUNTIMES`.
        process: A process of real Caffe to use.

    Raises:
        ConfigError: The runtime's name is not known.
        RuntimeMissingError: It is not installed.
    """
    if runtime not in RUNTIMES:
        raise ConfigError(f"runtime '{runtime}' is not known; known are {', '.join(RUNTIMES)}")
    return RUNTIMES[runtime](files, process)


def check_inputs(side: Side, inputs: Mapping[str, Array]) -> None:
    """Raises ModelError unless there is an array for each input, and none besides."""
    problems = [f"input '{name}' is missing" for name in side.inputs if name not in inputs]
    problems += [f"'{name}' is no input" for name in inputs if name not in side.inputs]
    if problems:
        raise ModelError(f"{side.label}: needs {', '.join(side.inputs) or 'no inputs'}", problems)
