"""onnxruntime in the table of runtimes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from nuqconv.backends.onnx.opset import newest_opset
from nuqconv.errors import ConfigError
from nuqconv.ir import Array, Graph
from nuqconv.runtimes.base import Loaded, ModelPool, Runtime
from nuqconv.runtimes.child import DEFAULT_TIMEOUT
from nuqconv.runtimes.loaded import LoadedSide, Side
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.onnxruntime.cache import LoadedModel, SessionCache, load
from nuqconv.runtimes.onnxruntime.exchange import ExchangeSession
from nuqconv.runtimes.onnxruntime.isolated import OnnxProcess, check_limits
from nuqconv.runtimes.onnxruntime.onnx_file import OnnxSide
from nuqconv.runtimes.onnxruntime.providers import provider_names
from nuqconv.runtimes.onnxruntime.session import OnnxSession, SessionMaker, session_maker
from nuqconv.runtimes.pool import ChildPool

__all__ = ["OnnxRuntime"]


@dataclass(frozen=True)
class OnnxRuntime(Runtime):
    """onnxruntime, through the ONNX that this package makes of a graph.

    Attributes:
        threads: Number of threads for each model that runs, or None for onnxruntime's choice. Where a search evaluates several models at
            once, a share of the cores for each is faster.
        isolate: Whether to run models in child processes, so that a model that crashes onnxruntime, hangs it or fills the memory is an
            ordinary error. A search does such a trial again in a new child.
        memory_limit: With ``isolate``: bytes of memory that a child may have, Python and onnxruntime included; None for any number.
        timeout: With ``isolate``: seconds that a child may take to load a model, or to run a batch; None for 600.
        providers: Execution providers to compute on, as ``("cuda", "cpu")``: the first one that can run an operator runs it. Empty for the CPU, on
            which sums of quantized layers are exact; other devices may round them.

    Raises:
        ConfigError: An option is out of range, or the options do not go together.
    """

    name = "onnxruntime"
    title = "onnxruntime"
    takes = frozenset({"caffe", "onnx", "graph"})
    remedy = "pip install --upgrade onnx onnxruntime"
    required = True

    threads: int | None = None
    isolate: bool = False
    memory_limit: int | None = None
    timeout: float | None = None
    providers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be at least 1 or None, found {self.threads}")
        if not self.isolate and (self.memory_limit is not None or self.timeout is not None):
            raise ConfigError("memory_limit and timeout are limits of a child process; they need isolate=True")
        check_limits(self.seconds, self.memory_limit)
        # A name that is wrong is said here, not at the first model.
        provider_names(self.providers)

    @property
    def seconds(self) -> float:
        """The timeout in force."""
        return DEFAULT_TIMEOUT if self.timeout is None else self.timeout

    @property
    def provider_names(self) -> tuple[str, ...]:
        """Onnxruntime's names of the providers in force."""
        return provider_names(self.providers)

    @property
    def maker(self) -> SessionMaker:
        """What makes sessions in this process."""
        return session_maker(self.provider_names, self.threads)

    @property
    def evaluator(self) -> str:
        """The name of the class that was there first."""
        return "nuqconv.evaluators.OnnxRuntimeEvaluator"

    def version(self) -> str:
        """The versions of onnxruntime and onnx."""
        onnx, runtime = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
        return f"{runtime.__version__}, onnx {onnx.__version__}, runs opset {newest_opset()}"

    def load(self, model: Runnable, outputs: Sequence[str] | None = None) -> Loaded:
        """Makes a model ready to run."""
        self.check_takes(model)
        if not self.isolate:
            return load(model.graph, outputs, self.threads, self.maker)
        process = self.process()
        return _InChild(load(model.graph, outputs, self.threads, process.session), process)

    def pool(self) -> ModelPool:
        """Returns a pool whose models keep the last one's session where they differ in numbers only."""
        return _Children(self) if self.isolate else _Here(self)

    def side(self, model: Runnable) -> Side:
        """Returns a model as a comparison needs it: an ONNX model as it is, others through this package's ONNX."""
        if model.format == "onnx":
            return OnnxSide(model.files[0] if model.proto is None else model.proto, create=self.maker)
        return _GraphSide(model.graph, f"{self.title}: {model.label}", partial(_Plain, model.graph, self.maker))

    def exchanging(
        self, graph: Graph, free: Sequence[str], outputs: Sequence[str] | None = None, threads: int | None = None
    ) -> ExchangeSession:
        """Returns a session whose weights can be exchanged."""
        return ExchangeSession(graph, free, outputs=outputs, threads=threads, create=self.maker)

    def process(self) -> OnnxProcess:
        """Starts a child process within the limits."""
        return OnnxProcess(timeout=self.seconds, memory_limit=self.memory_limit, providers=self.provider_names)


class _Plain(Loaded):
    """A graph in a session that has nothing to do with speed."""

    def __init__(self, graph: Graph, maker: SessionMaker, outputs: Sequence[str]) -> None:
        self._graph = graph
        self._session = OnnxSession(graph, outputs=outputs, create=maker)

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        feeds = self._graph.feeds({name: np.asarray(array, np.float32) for name, array in batch.items()})
        return self._session.run(feeds)


class _GraphSide(LoadedSide):
    """A graph in onnxruntime, through the lowering of this package; every state of a blob is a value of its own there."""

    keeps_states = True

    own = True

    def parameters(self, layer: str) -> tuple[Array, ...] | None:
        """The graph's."""
        node = self.graph.node.get(layer)
        return None if node is None else tuple(self.graph.params[name] for name in node.params)


class _InChild(Loaded):
    """A model in a process of its own."""

    def __init__(self, model: LoadedModel, process: OnnxProcess) -> None:
        self._model = model
        self._process = process

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        return self._model.run(batch)

    def close(self) -> None:
        self._process.close()


class _Here(ModelPool):
    """Models in this process."""

    def __init__(self, runtime: OnnxRuntime) -> None:
        self._runtime = runtime
        self._cache = SessionCache(runtime.maker)

    @contextmanager
    def take(self, model: Runnable, outputs: Sequence[str] | None) -> Iterator[Loaded]:
        self._runtime.check_takes(model)
        yield self._cache.load(model, outputs, self._runtime.threads)

    def close(self) -> None:
        """Frees the last model."""
        self._cache.clear()


class _Children(ChildPool["_KeptSessions"], ModelPool):
    """Models in child processes."""

    def __init__(self, runtime: OnnxRuntime) -> None:
        super().__init__(lambda: _KeptSessions(runtime.process()))
        self._runtime = runtime

    @contextmanager
    def take(self, model: Runnable, outputs: Sequence[str] | None) -> Iterator[Loaded]:
        self._runtime.check_takes(model)
        text = model.text
        with self.child(text) as child:
            yield child.load(text, model, outputs, self._runtime.threads)

    def close(self) -> None:
        """Ends the children, also those that evaluate."""
        self.end(busy=True)


class _KeptSessions:
    """Models in an onnxruntime process of their own, which keeps the last one; not for several threads at once."""

    def __init__(self, process: OnnxProcess) -> None:
        self.process = process
        self.text = b""
        self._cache = SessionCache(process.session)

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self.process.alive

    def load(self, text: bytes, model: Runnable, outputs: Sequence[str] | None, threads: int | None) -> LoadedModel:
        """Returns a model; see `SessionCache.load`. By ``text`` a further model of the same net comes to this child."""
        self.text = text
        return self._cache.load(model, outputs, threads)

    def forget(self) -> None:
        """Frees the model."""
        self.text = b""
        self._cache.clear()

    def close(self) -> None:
        """Ends the child."""
        self._cache.clear()
        self.process.close()
