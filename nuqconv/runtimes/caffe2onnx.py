"""The independent converter caffe2onnx, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from onnx import ModelProto

from nuqconv.errors import ModelError, RuntimeMissingError
from nuqconv.frontends.onnx import read_onnx
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import BatchNorm, Scale
from nuqconv.runtimes.base import Loaded, Runtime
from nuqconv.runtimes.loaded import Side, SideRun, layer_type
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.onnxruntime.onnx_file import OnnxSide

__all__ = ["VARIABLE", "Caffe2Onnx", "interpreter"]

VARIABLE = "NUQCONV_CAFFE2ONNX_PYTHON"
_HOW_TO_GET = f"pip install --no-deps caffe2onnx==2.0.1 gets it, here or in an environment with onnx and numpy whose Python is named in {VARIABLE}"
_PROBE = "import importlib.metadata, caffe2onnx.convert; print(importlib.metadata.version('caffe2onnx'))"
_TIMEOUT, _PROBE_TIMEOUT = 1800.0, 60.0
# It was written for onnx 1.6, whose helpers stamp this opset; beside a newer onnx it stamps that one's newest.
_OPSET, _IR_VERSION = 11, 6


@dataclass(frozen=True)
class Caffe2Onnx(Runtime):
    """The converter caffe2onnx, and onnxruntime for what it makes."""

    name = "caffe2onnx"
    title = "caffe2onnx"
    takes = frozenset({"caffe"})
    remedy = f"optional second converter of Caffe models: {_HOW_TO_GET}"

    def version(self) -> str:
        """The version of the package, and the Python that has it."""
        if _missing():
            raise RuntimeMissingError("not found")
        python = interpreter()
        ended = subprocess.run(
            [python, "-c", _PROBE],
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT,
            check=False,
        )
        if ended.returncode:
            said = (ended.stderr.strip() or ended.stdout.strip() or f"exit code {ended.returncode}").splitlines()
            raise RuntimeMissingError(f"{python} cannot import caffe2onnx: {said[-1]}")
        return f"{ended.stdout.strip()} ({python})"

    def load(self, model: Runnable, outputs: Sequence[str] | None = None) -> Loaded:
        """Makes a model ready to run.

        caffe2onnx writes the batch size of the .prototxt into reshapes, so larger batches are run in pieces of that size.
        """
        side = self.side(model)
        shape = next(iter(side.inputs.values()), ())
        return _InPieces(SideRun(side, outputs), shape[0] if shape else None, side.label)

    def side(self, model: Runnable) -> Side:
        """Returns what caffe2onnx makes of a model as a comparison needs it.

        Raises:
            UnsupportedError: It is no Caffe model.
            RuntimeMissingError: caffe2onnx is not installed.
            ModelError: It fails on the model.
        """
        self.check_takes(model)
        return _Caffe2OnnxSide(model.graph, model.label, _converted(model))


class _InPieces(Loaded):
    """A model that runs one batch size only.

    Args:
        model: The model.
        size: Its batch size; None if it runs any.
        label: What it is.
    """

    def __init__(self, model: Loaded, size: int | None, label: str) -> None:
        self._model = model
        self._size = size
        self._label = label

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        count, size = len(next(iter(batch.values()))), self._size
        if size is None or count == size:
            return self._model.run(batch)
        if count % size:
            raise ModelError(
                f"{self._label}: runs batches of {size} only, as the .prototxt says, and cannot run one of {count}; "
                f"take a number of samples and a batch size that are multiples of {size}"
            )
        runs = [
            self._model.run({name: array[start : start + size] for name, array in batch.items()})
            for start in range(0, count, size)
        ]
        return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}

    def close(self) -> None:
        self._model.close()


class _Caffe2OnnxSide(OnnxSide):
    """It names a result by its layer; here it gets the blob's name again."""

    def __init__(self, graph: Graph, label: str, model: ModelProto) -> None:
        made = {name for node in model.graph.node for name in node.output}
        blobs = {node.name: _blob(graph, node, made) for node in graph.nodes if node.name in made}
        constants = {item.name for item in model.graph.initializer}
        feeds = [item.name for item in model.graph.input if item.name not in constants]
        names = [graph.storage_name(item.name) for item in graph.inputs]
        super().__init__(model, f"caffe2onnx of {label}", blobs, dict(zip(feeds, names, strict=False)))
        self._values = {blob: layer for layer, blob in blobs.items()}
        self.names = tuple(self._values)
        self.graph = graph

    def layer(self, name: str) -> tuple[str, str]:
        """The Caffe layer."""
        node = None if self.graph is None else self.graph.producer.get(name)
        return (name, "") if node is None else (node.name, layer_type(node))

    def parameters(self, layer: str) -> tuple[Array, ...] | None:
        """Not reported: it stores them in other layouts."""
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


def _missing() -> bool:
    return not os.environ.get(VARIABLE) and find_spec("caffe2onnx") is None


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
    if _missing():
        raise RuntimeMissingError(f"caffe2onnx is not installed; {_HOW_TO_GET}")
    return sys.executable


def _converted(model: Runnable) -> ModelProto:
    definition, weights = model.files
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        command = [interpreter(), "-m", "caffe2onnx.convert", "--prototxt", str(definition.absolute())]
        command += ["--caffemodel", str(weights.absolute()), "--onnx", str(target)]
        try:
            ended = subprocess.run(
                command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ModelError(f"caffe2onnx took more than {_TIMEOUT:.0f} s for {definition}") from error
        except OSError as error:
            raise RuntimeMissingError(f"{command[0]}: cannot be started: {error.strerror}") from error
        if ended.returncode or not target.is_file():
            said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
            raise ModelError(f"caffe2onnx fails on {definition}", said[-3:])
        made = read_onnx(target)
    made.ir_version = _IR_VERSION
    for item in made.opset_import:
        if item.domain == "":
            item.version = _OPSET
    return made


def _environment() -> dict[str, str]:
    # It was written for messages of an older protobuf, as those in Python still are.
    return {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
