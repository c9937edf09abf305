"""Models of a search in onnxruntime: what one model needs of the last one stays."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from nuqconv.backends.onnx.batch import rebatch
from nuqconv.backends.onnx.runtime import OnnxSession
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Array, Graph
from nuqconv.passes import collapse_quantize

__all__ = ["LoadedModel", "SessionCache"]


class LoadedModel:
    """A model with its sessions: one that takes any batch size where the layers allow it, else one for each size.

    It may be used from several threads.

    Args:
        graph: The network.
        outputs: Names of the values to compute, or None for the network's own.
        threads: Number of threads of a session, or None for onnxruntime's choice.
    """

    def __init__(self, graph: Graph, outputs: Sequence[str] | None, threads: int | None) -> None:
        self.graph = graph
        self._outputs = outputs
        self._threads = threads
        self._sessions: dict[int | None, OnnxSession] = {}
        self._lock = threading.Lock()

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Runs a batch, given by the names that the inputs have in the file.

        Raises:
            ModelError: The batch does not fit the network.
            UnsupportedError: onnxruntime cannot run the network.
        """
        return self._session(len(next(iter(batch.values())))).run(self.graph.feeds(batch))

    def _session(self, size: int) -> OnnxSession:
        with self._lock:
            found = self._sessions.get(None) or self._sessions.get(size)
            if found is None:
                found = OnnxSession(rebatch(self.graph, size), outputs=self._outputs, threads=self._threads)
                self._sessions[found.batch_size and size] = found
            return found


class SessionCache:
    """Loads models for onnxruntime and keeps the last one; it may be used from several threads."""

    def __init__(self) -> None:
        self._last: tuple[tuple[str, ...] | None, int | None, LoadedModel] | None = None
        self._lock = threading.Lock()

    def load(
        self, model_file: str, weights_file: str, outputs: Sequence[str] | None, threads: int | None = None
    ) -> LoadedModel:
        """Returns a model; the last one if it has the same layers, parameters, outputs and number of threads.

        Raises:
            FormatError, ModelError, UnsupportedError: The files cannot be read.
        """
        graph = collapse_quantize(load_graph(model_file, weights_file))
        wanted = None if outputs is None else tuple(outputs)
        with self._lock:
            last = self._last
        if last is not None and last[:2] == (wanted, threads) and _same(last[2].graph, graph):
            return last[2]
        model = LoadedModel(graph, wanted, threads)
        with self._lock:
            self._last = (wanted, threads, model)
        return model

    def clear(self) -> None:
        """Frees the last model."""
        with self._lock:
            self._last = None


def _same(one: Graph, other: Graph) -> bool:
    """Whether two graphs compute the same numbers under the same names."""
    return (
        (one.name, one.inputs, one.outputs, one.nodes) == (other.name, other.inputs, other.outputs, other.nodes)
        and dict(one.storage) == dict(other.storage)
        and list(one.params) == list(other.params)
        and all(_same_array(array, other.params[name]) for name, array in one.params.items())
    )


def _same_array(one: Array, other: Array) -> bool:
    return (one.dtype, one.shape) == (other.dtype, other.shape) and np.array_equal(
        np.ascontiguousarray(one).reshape(-1).view(np.uint8), np.ascontiguousarray(other).reshape(-1).view(np.uint8)
    )
