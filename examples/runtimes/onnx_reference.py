"""A runtime of one's own in one module and one entry: ONNX's reference implementation, which computes every operator in numpy.

It is slow, and it shares no code with onnxruntime, so it can say which of two results is right:

    nuqconv --plugin onnx_reference compare deploy.prototxt weights.caffemodel --runtime onnxruntime --runtime onnx-reference
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

import nuqconv.runtimes
from nuqconv.backends.onnx import to_onnx
from nuqconv.ir import Array, Graph
from nuqconv.runtimes.base import Loaded, Runtime
from nuqconv.runtimes.model import Runnable


@dataclass(frozen=True)
class OnnxReference(Runtime):
    """``onnx.reference``, on the ONNX that nuqconv makes of a graph. A field here would be an option of the runtime."""

    name = "onnx-reference"
    title = "ONNX's reference implementation"
    takes = frozenset({"caffe", "onnx", "graph"})
    remedy = "it is a part of onnx: pip install --upgrade onnx"

    def version(self) -> str:
        """What ``nuqconv doctor`` shows."""
        return str(onnx.__version__)

    def load(self, model: Runnable, outputs: Sequence[str] | None = None) -> Loaded:
        """Makes a model ready to run."""
        graph = model.graph
        return Reference(graph if outputs is None else graph.up_to(tuple(dict.fromkeys(outputs))))


class Reference(Loaded):
    """A graph that is ready to run."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._session = ReferenceEvaluator(to_onnx(graph))

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Runs a batch."""
        feeds = self._graph.feeds({name: np.asarray(array, np.float32) for name, array in batch.items()})
        needed = {name: feeds[name] for name in self._session.input_names}
        return dict(zip(self._session.output_names, self._session.run(None, needed), strict=True))


nuqconv.runtimes.register(OnnxReference())
