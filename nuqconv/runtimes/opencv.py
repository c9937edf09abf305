"""OpenCV's importer of Caffe models."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nuqconv.errors import ModelError, NuqconvError, RuntimeMissingError
from nuqconv.ir import Array, Graph, Node
from nuqconv.runtimes.base import Loaded, Runtime
from nuqconv.runtimes.loaded import Side, SideRun, input_shapes
from nuqconv.runtimes.model import Runnable

__all__ = ["OpenCv"]

_PACKAGE = "opencv-python-headless==4.10.0.84"


@dataclass(frozen=True)
class OpenCv(Runtime):
    """OpenCV's ``dnn`` module, in this process, without its fusion of layers."""

    name = "opencv"
    title = "OpenCV"
    takes = frozenset({"caffe"})
    remedy = f"optional second oracle for Caffe models: pip install {_PACKAGE}"

    def version(self) -> str:
        """The version of OpenCV."""
        cv2 = importlib.import_module("cv2")
        # OpenCV 5 has no importer for Caffe any more.
        if not hasattr(cv2.dnn, "readNetFromCaffe"):
            raise NuqconvError(f"{cv2.__version__}, which cannot read Caffe models")
        return str(cv2.__version__)

    def load(self, model: Runnable, outputs: Sequence[str] | None = None) -> Loaded:
        """Makes a model ready to run."""
        return SideRun(self.side(model), outputs)

    def side(self, model: Runnable) -> Side:
        """Returns a model as a comparison needs it.

        Raises:
            UnsupportedError: It is no Caffe model.
            RuntimeMissingError: OpenCV is not installed, or has no Caffe importer (5.0 dropped it).
            ModelError: OpenCV cannot read the model.
        """
        self.check_takes(model)
        cv2 = _opencv()
        label = f"{self.title} {cv2.__version__}: {model.label}"
        try:
            net = cv2.dnn.readNetFromCaffe(str(model.files[0]), str(model.files[1]))
            net.enableFusion(False)
            known = frozenset(net.getLayerNames())
        except cv2.error as error:
            raise ModelError(f"{label}: cannot be read: {error}") from error
        return _OpenCvSide(model.graph, label, net, known, cv2)


class _OpenCvSide(Side):
    """OpenCV names a result by its layer; here it gets the blob's name again."""

    def __init__(self, graph: Graph, label: str, net: Any, known: frozenset[str], cv2: Any) -> None:
        self.graph: Graph = graph
        self.label = label
        self._net = net
        self._error: type[Exception] = cv2.error
        self._mat = cv2.Mat
        self._layers = {name: node.name for node in graph.nodes if node.name in known for name in _made(graph, node)}
        self._numbers = {name: number for node in graph.nodes for number, name in enumerate(node.outputs)}
        self.names = tuple(self._layers)
        self.inputs = input_shapes(graph)
        self.outputs = graph.outputs

    def run(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Runs the net once."""
        layers = list(dict.fromkeys(self._layers[name] for name in names))
        try:
            for blob, array in inputs.items():
                # A plain array of three axes would be taken for a picture, with its last axis as channels.
                self._net.setInput(self._mat(np.ascontiguousarray(array, np.float32)), blob)
            results = self._net.forwardAndRetrieve(layers)
        except self._error as error:
            raise ModelError(f"{self.label}: cannot run: {error}") from error
        made = dict(zip(layers, results, strict=True))
        return {name: np.array(made[self._layers[name]][self._numbers[name]]) for name in names}

    def exact(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """OpenCV keeps the first output of a layer that is asked for, and uses the memory of the others again; asked for one layer it stops there."""
        several = [name for name in names if len(self.graph.producer[name].outputs) > 1]
        found: dict[str, Array] = {}
        for layer in dict.fromkeys(self._layers[name] for name in several):
            found.update(self.run(inputs, [name for name in several if self._layers[name] == layer]))
        return found


def _made(graph: Graph, node: Node) -> tuple[str, ...]:
    """Returns the outputs of a layer that OpenCV makes: the first ones, as many as are read."""
    read = sum(bool(graph.consumers[name]) for name in node.outputs)
    return node.outputs[: max(1, read)]


def _opencv() -> Any:
    try:
        import cv2  # noqa: PLC0415 - optional
    except ImportError as error:
        raise RuntimeMissingError(
            f"OpenCV is not installed; pip install {_PACKAGE} gets a version that reads Caffe models"
        ) from error
    if not hasattr(getattr(cv2, "dnn", None), "readNetFromCaffe"):
        raise RuntimeMissingError(f"OpenCV {cv2.__version__} does not read Caffe models; version 4 does")
    return cv2
