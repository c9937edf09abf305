"""OpenCV's importer of Caffe models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nuqconv.errors import ModelError, RuntimeMissingError
from nuqconv.ir import Array
from nuqconv.runtimes.base import Loaded, Runtime
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.sides import CaffeFiles, Side, SideRun

__all__ = ["OpenCv", "OpenCvSide"]


@dataclass(frozen=True)
class OpenCv(Runtime):
    """OpenCV's ``dnn`` module, in this process."""

    name = "opencv"
    title = "OpenCV"
    takes = frozenset({"caffe"})
    remedy = "optional second oracle for Caffe models: pip install opencv-python-headless==4.10.0.84"

    def load(self, model: Runnable, outputs: Sequence[str] | None = None) -> Loaded:
        """Makes a model ready to run."""
        self.check_takes(model)
        return SideRun(OpenCvSide(CaffeFiles.of(model)), outputs)


class OpenCvSide(Side):
    """OpenCV's ``dnn`` module, without its fusion of layers.

    OpenCV names a result by its layer; here it gets the blob's name again.

    Raises:
        RuntimeMissingError: OpenCV is not installed, or has no Caffe importer (5.0 dropped it).
        ModelError: OpenCV cannot read the model.
    """

    def __init__(self, files: CaffeFiles) -> None:
        cv2 = _opencv()
        graph = self.graph = files.graph
        self.label = f"OpenCV {cv2.__version__}: {files.label}"
        self._error: type[Exception] = cv2.error
        try:
            self._net: Any = cv2.dnn.readNetFromCaffe(str(files.model), str(files.weights))
            self._net.enableFusion(False)
            known = set(self._net.getLayerNames())
        except cv2.error as error:
            raise ModelError(f"{self.label}: cannot be read: {error}") from error
        self._layers = {name: node.name for node in graph.nodes if node.name in known for name in node.outputs}
        self._numbers = {name: number for node in graph.nodes for number, name in enumerate(node.outputs)}
        self.names = tuple(self._layers)
        self.inputs = {graph.storage_name(item.name): item.shape for item in graph.inputs}
        self.outputs = graph.outputs

    def run(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Runs the net once."""
        layers = list(dict.fromkeys(self._layers[name] for name in names))
        try:
            for blob, array in inputs.items():
                self._net.setInput(np.ascontiguousarray(array, np.float32), blob)
            results = self._net.forwardAndRetrieve(layers)
        except self._error as error:
            raise ModelError(f"{self.label}: cannot run: {error}") from error
        made = dict(zip(layers, results, strict=True))
        return {name: np.array(made[self._layers[name]][self._numbers[name]]) for name in names}


def _opencv() -> Any:
    try:
        import cv2  # noqa: PLC0415
    except ImportError as error:
        raise RuntimeMissingError(
            "OpenCV is not installed; pip install opencv-python-headless==4.10.0.84 gets a version that reads Caffe models"
        ) from error
    if not hasattr(getattr(cv2, "dnn", None), "readNetFromCaffe"):
        raise RuntimeMissingError(f"OpenCV {cv2.__version__} does not read Caffe models; version 4 does")
    return cv2
