"""The independent converter caffe2onnx, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from onnx import ModelProto

from nuqconv.errors import ModelError, RuntimeMissingError
from nuqconv.frontends.onnx import read_onnx
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import BatchNorm, Scale
from nuqconv.runtimes.base import Loaded, Runtime
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.onnxruntime.onnx_file import OnnxSide
from nuqconv.runtimes.sides import CaffeFiles, SideRun, layer_type

__all__ = ["VARIABLE", "Caffe2Onnx", "Caffe2OnnxSide", "interpreter"]

VARIABLE = "NUQCONV_CAFFE2ONNX_PYTHON"
_TIMEOUT = 1800.0
# It was written for onnx 1.6, whose helpers stamp this opset; beside a newer onnx it stamps that one's newest.
_OPSET, _IR_VERSION = 11, 6


@dataclass(frozen=True)
class Caffe2Onnx(Runtime):
    """The converter caffe2onnx, and onnxruntime for what it makes."""

    name = "caffe2onnx"
    title = "caffe2onnx"
    takes = frozenset({"caffe"})
    remedy = (
        "optional second converter of Caffe models: pip install --no-deps caffe2onnx==2.0.1, here or in an environment with onnx and numpy "
        f"whose Python is named in {VARIABLE}"
    )

    def load(self, model: Runnable, outputs: Sequence[str] | None = None) -> Loaded:
        """Makes a model ready to run."""
        self.check_takes(model)
        return SideRun(Caffe2OnnxSide(CaffeFiles.of(model)), outputs)


class Caffe2OnnxSide(OnnxSide):
    """What caffe2onnx makes of a model, in onnxruntime.

    It names a result by its layer; here it gets the blob's name again.

    Raises:
        RuntimeMissingError: caffe2onnx is not installed.
        ModelError: It fails on the model.
    """

    def __init__(self, files: CaffeFiles) -> None:
        graph = files.graph
        model = _converted(files)
        made = {name for node in model.graph.node for name in node.output}
        blobs = {node.name: _blob(graph, node, made) for node in graph.nodes if node.name in made}
        constants = {item.name for item in model.graph.initializer}
        feeds = [item.name for item in model.graph.input if item.name not in constants]
        names = [graph.storage_name(item.name) for item in graph.inputs]
        super().__init__(model, f"caffe2onnx of {files.label}", blobs, dict(zip(feeds, names, strict=False)))
        self._values = {blob: layer for layer, blob in blobs.items()}
        self.names = tuple(self._values)
        self.graph = graph

    def layer(self, name: str) -> tuple[str, str]:
        """The Caffe layer."""
        node = None if self.graph is None else self.graph.producer.get(name)
        return (name, "") if node is None else (node.name, layer_type(node))

    def parameters(self, layer: str) -> tuple[Array, ...] | None:
        """Not told: it stores them in other layouts."""
        del layer
        return None


def _blob(graph: Graph, node: Node, made: Collection[str]) -> str:
    """The blob that a layer's value is: a BatchNorm takes in the Scale behind it, which then has no value of its own."""
    readers = graph.consumers[node.outputs[0]]
    if isinstance(node.op, BatchNorm) and len(readers) == 1:
        following = readers[0]
        if isinstance(following.op, Scale) and following.name not in made:
            return following.outputs[0]
    return node.outputs[0]


def interpreter() -> str:
    """Returns the Python that has caffe2onnx: the one that a variable of the environment names, else this one.

    Raises:
        RuntimeMissingError: There is none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise RuntimeMissingError(f"{VARIABLE} names {named}, which is no file")
        return named
    if find_spec("caffe2onnx") is None:
        raise RuntimeMissingError(
            "caffe2onnx is not installed; pip install --no-deps caffe2onnx==2.0.1 gets it, here or in an environment with onnx and numpy whose "
            f"Python is named in {VARIABLE}"
        )
    return sys.executable


def _converted(files: CaffeFiles) -> ModelProto:
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        command = [interpreter(), "-m", "caffe2onnx.convert", "--prototxt", str(files.model.absolute())]
        command += ["--caffemodel", str(files.weights.absolute()), "--onnx", str(target)]
        try:
            ended = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ModelError(f"caffe2onnx took more than {_TIMEOUT:.0f} s for {files.model}") from error
        except OSError as error:
            raise RuntimeMissingError(f"{command[0]}: cannot be started: {error.strerror}") from error
        if ended.returncode or not target.is_file():
            said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
            raise ModelError(f"caffe2onnx fails on {files.model}", said[-3:])
        model = read_onnx(target)
    model.ir_version = _IR_VERSION
    for item in model.opset_import:
        if item.domain == "":
            item.version = _OPSET
    return model
