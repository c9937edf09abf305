"""Models of a search in onnxruntime: what one model needs of the last one stays."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from nuqconv.backends.onnx.batch import rebatch
from nuqconv.backends.onnx.lowering.parts.products import product_layers
from nuqconv.errors import ModelError
from nuqconv.ir import Array, Graph
from nuqconv.passes import collapse_quantize
from nuqconv.runtimes.base import Loaded
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.onnxruntime.exchange import ExchangeSession, exchangeable
from nuqconv.runtimes.onnxruntime.session import SessionMaker

__all__ = ["LoadedModel", "SessionCache", "Sessions", "load"]


class Sessions:
    """The sessions of all graphs that differ in parameters that can be exchanged: one that takes any batch size, else one for each size.

    Args:
        graph: One of the graphs.
        outputs: Names of the values to compute, or None for the network's own.
        threads: Number of threads of a session, or None for onnxruntime's choice.
        create: Where sessions live; see `OnnxSession`.

    Attributes:
        products: Names of the layers that are fast products in all of the graphs.
        exchangeable: Names of the parameters in which the graphs may differ.
    """

    def __init__(
        self, graph: Graph, outputs: Sequence[str] | None, threads: int | None, create: SessionMaker | None = None
    ) -> None:
        self.products = product_layers(graph)
        self.exchangeable = exchangeable(graph, self.products)
        self._graph = graph
        self._outputs = outputs
        self._threads = threads
        self._create = create
        self._by_size: dict[int | None, ExchangeSession] = {}
        self._lock = threading.Lock()

    def session(self, size: int) -> ExchangeSession:
        """Returns the session for a batch size.

        Raises:
            ModelError, UnsupportedError: onnxruntime cannot run the network at that size.
        """
        with self._lock:
            found = self._by_size.get(None) or self._by_size.get(size)
            if found is None:
                found = ExchangeSession(
                    _of_size(self._graph, size), outputs=self._outputs, threads=self._threads, create=self._create
                )
                self._by_size[found.batch_size and size] = found
            return found


def _of_size(graph: Graph, size: int) -> Graph:
    """Returns the graph for batches of so many samples.

    Raises:
        ModelError: Layers fix another number.
    """
    found = rebatch(graph, size)
    try:
        _ = found.shapes
    except ModelError as error:
        own = next((item.shape[0] for item in graph.inputs if item.shape), size)
        if own == size:
            raise
        raise ModelError(
            f"network '{graph.name}' cannot run {size} samples at once, its layers fix {own}; give batch_size={own} (--batch-size {own})",
            error.problems,
        ) from error
    return found


class LoadedModel(Loaded):
    """A model in onnxruntime; it may be used from several threads.

    Args:
        graph: The network.
        sessions: What it runs in.
        tensors: What the sessions are fed for the network's parameters, as far as that is known.
    """

    def __init__(
        self, graph: Graph, sessions: Sessions, tensors: Mapping[ExchangeSession, Mapping[str, Array]] | None = None
    ) -> None:
        self.graph = graph
        self._sessions = sessions
        self._tensors = dict(tensors or {})

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Runs a batch, given by the names that the inputs have in the file.

        Raises:
            ModelError: The batch does not fit the network.
            UnsupportedError: onnxruntime cannot run the network.
        """
        session = self._sessions.session(len(next(iter(batch.values()))))
        tensors = self._tensors.get(session)
        if tensors is None:
            tensors = self._tensors[session] = session.tensors(self.graph.params)
        return session.run_with(self.graph.feeds(batch), tensors)

    def of(self, graph: Graph) -> LoadedModel | None:
        """Returns a model of another graph: this one if it computes the same, one that shares its sessions if it can, else None."""
        if not _same_structure(self.graph, graph):
            return None
        mine = self.graph.params
        changed = {name for name, array in graph.params.items() if not _same_array(array, mine[name])}
        if not changed:
            return self
        products = {
            node.name
            for node in graph.nodes
            if node.name in self._sessions.products and changed.intersection(node.params)
        }
        if not changed <= self._sessions.exchangeable or product_layers(graph, products) != products:
            return None
        kept = list(self._tensors.items())
        tensors = {session: session.tensors(graph.params, changed, last) for session, last in kept}
        return LoadedModel(graph, self._sessions, tensors)


def load(
    graph: Graph,
    outputs: Sequence[str] | None = None,
    threads: int | None = None,
    create: SessionMaker | None = None,
) -> LoadedModel:
    """Returns a model with sessions of its own; see `Sessions` for the arguments."""
    return LoadedModel(graph, Sessions(graph, outputs, threads, create))


class SessionCache:
    """Loads models for onnxruntime and keeps the last one; it may be used from several threads.

    Args:
        create: Where sessions live; see `OnnxSession`.
    """

    def __init__(self, create: SessionMaker | None = None) -> None:
        self._create = create
        self._last: tuple[tuple[str, ...] | None, int | None, LoadedModel] | None = None
        self._lock = threading.Lock()

    def load(
        self,
        source: Runnable,
        outputs: Sequence[str] | None,
        threads: int | None = None,
    ) -> LoadedModel:
        """Returns a model, with the sessions of the last one if outputs, number of threads, layers and shapes are the same.

        Raises:
            FormatError, ModelError, UnsupportedError: The files cannot be read.
        """
        graph = collapse_quantize(source.graph)
        wanted = None if outputs is None else tuple(outputs)
        with self._lock:
            last = self._last
        same = last is not None and last[:2] == (wanted, threads)
        model = (last[2].of(graph) if last is not None and same else None) or load(graph, wanted, threads, self._create)
        with self._lock:
            self._last = (wanted, threads, model)
        return model

    def clear(self) -> None:
        """Frees the last model."""
        with self._lock:
            self._last = None


def _same_structure(one: Graph, other: Graph) -> bool:
    """Whether two graphs differ at most in the numbers of their parameters."""
    return (
        (one.name, one.inputs, one.outputs, one.nodes) == (other.name, other.inputs, other.outputs, other.nodes)
        and dict(one.storage) == dict(other.storage)
        and [(name, array.shape, array.dtype) for name, array in one.params.items()]
        == [(name, array.shape, array.dtype) for name, array in other.params.items()]
    )


def _same_array(one: Array, other: Array) -> bool:
    return np.array_equal(
        np.ascontiguousarray(one).reshape(-1).view(np.uint8), np.ascontiguousarray(other).reshape(-1).view(np.uint8)
    )
