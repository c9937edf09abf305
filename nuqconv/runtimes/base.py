"""What a runtime is: how it is looked for, which models it takes, and how it runs them.

A runtime is one class in one module, and one entry in the table (`nuqconv.runtimes.table`). Its fields are its options.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from nuqconv.errors import ConfigError, NuqconvError, RuntimeMissingError, UnsupportedError
from nuqconv.ir import Array, Graph
from nuqconv.runtimes.loaded import Loaded, LoadedSide, Side, runnable_values

if TYPE_CHECKING:
    from typing_extensions import Self

    from nuqconv.runtimes.model import Runnable

__all__ = ["Check", "Exchanging", "Loaded", "ModelPool", "Runtime", "in_one_line"]


@dataclass(frozen=True)
class Check:
    """One thing that ``nuqconv doctor`` looked at.

    Attributes:
        name: What.
        ok: Whether it works.
        required: Whether nuqconv cannot do its main job without it.
        found: What was found.
        remedy: How to get it, or an empty text.
    """

    name: str
    ok: bool
    required: bool
    found: str
    remedy: str = ""


class ModelPool(ABC):
    """The models of a search, one after the other, and from several threads at once.

    What a model needs of the last one can stay, so that one that differs in numbers only costs less.
    """

    @abstractmethod
    def take(self, model: Runnable, outputs: Sequence[str] | None) -> AbstractContextManager[Loaded]:
        """Returns a model for the time of a ``with``.

        Args:
            model: The model.
            outputs: Names of the values to compute, or None for the network's own.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """Ends what is running and frees what is kept; the pool can be used again."""


class Exchanging(Protocol):
    """A graph that is ready to run, of which parameters can be others in single runs."""

    def run(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        weights: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Runs it once with the graph's own parameters, but for those in ``weights``."""


@dataclass(frozen=True)
class Runtime(ABC):
    """A place where models run. It can be pickled, and compared by its options.

    A class of it has to write `version` and `load`; the rest follows from these, and is written where more is known.

    Attributes:
        name: What users write.
        title: What messages and ``nuqconv doctor`` call it.
        takes: The formats of `Runnable` that it runs.
        remedy: How to get it.
        required: Whether nuqconv cannot do its main job without it.
        own_of: The formats that it is the first judge of: ``auto`` takes it for them where it is there.
        isolation: Whether models run in another process, for messages.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    takes: ClassVar[frozenset[str]]
    remedy: ClassVar[str]
    required: ClassVar[bool] = False
    own_of: ClassVar[frozenset[str]] = frozenset()
    isolation: ClassVar[str] = "always runs in this process"

    @property
    def evaluator(self) -> str:
        """What journals of searches call a ready-made evaluator that runs here."""
        return f"nuqconv.evaluators.BatchEvaluator in {self.name}"

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """Returns the names of its options."""
        return tuple(item.name for item in fields(cls))

    def with_options(self, **options: Any) -> Self:
        """Returns the runtime with other options.

        Raises:
            ConfigError: It has no such option, or a value is wrong.
        """
        unknown = [name for name in options if name not in self.options()]
        if unknown:
            known = ", ".join(self.options()) or "none"
            raise ConfigError(
                f"runtime '{self.name}' has no option {', '.join(map(repr, unknown))}; its options are: {known}"
            )
        return replace(self, **options)

    @abstractmethod
    def version(self) -> str:
        """Really starts it and returns what was found, for ``nuqconv doctor``.

        Raises:
            Exception: It does not work; the message says what was found instead.
        """

    def check(self) -> Check:
        """Returns what ``nuqconv doctor`` says of it."""
        try:
            return Check(self.title, True, self.required, self.version())
        except Exception as error:  # noqa: BLE001
            # A broken native library can raise anything while it is imported; the doctor reports it.
            return Check(self.title, False, self.required, in_one_line(error), self.remedy)

    def is_there(self) -> bool:
        """Whether it is installed."""
        try:
            self.version()
        except (ImportError, RuntimeMissingError):
            return False
        return True

    def shared(self, stack: ExitStack) -> Self:
        """Returns the runtime with what several models can share started, which ``stack`` ends; by default there is nothing."""
        del stack
        return self

    def lacks(self, model: Runnable) -> tuple[str, ...]:
        """Returns what it is known to lack for a model without loading it, such as types of layers."""
        del model
        return ()

    def refusal(self, model: Runnable) -> str:
        """Returns why it does not run models of this format, or an empty text."""
        if model.format in self.takes:
            return ""
        word = model.words[model.format]
        return f"{model.label}: {self.title} runs no {word}; leave the runtime at its default, which runs every format"

    def check_takes(self, model: Runnable) -> None:
        """Checks that a model's format is one that it runs.

        Raises:
            UnsupportedError: It is not.
        """
        refusal = self.refusal(model)
        if refusal:
            raise UnsupportedError(refusal)

    @abstractmethod
    def load(self, model: Runnable, outputs: Sequence[str] | None = None) -> Loaded:
        """Makes a model ready to run.

        Args:
            model: The model, of a format in ``takes``.
            outputs: Names of the values to compute, or None for the network's own.

        Raises:
            RuntimeMissingError: It is not installed.
            FormatError, ModelError, UnsupportedError: It cannot run the model.
        """

    def pool(self) -> ModelPool:
        """Returns a new pool, in which nothing runs yet; by default each model is loaded again."""
        return _FreshModels(self)

    def side(self, model: Runnable) -> Side:
        """Returns a model as `nuqconv.compare` needs it.

        By default each set of blobs is a model loaded again. What runs graphs is asked for every value, and what runs files not for earlier states
        of blobs that layers change in place, of which it holds the last one only.

        Raises:
            RuntimeMissingError, FormatError, ModelError, UnsupportedError: As `load`.
        """
        graph = model.graph
        names = runnable_values(graph)
        if "graph" not in self.takes:
            names = [name for name in names if name not in graph.storage]
        side = LoadedSide(graph, f"{self.title}: {model.label}", partial(self.load, model), names)
        side.own = "graph" in self.takes
        return side

    def exchanging(
        self, graph: Graph, free: Sequence[str], outputs: Sequence[str] | None = None, threads: int | None = None
    ) -> Exchanging:
        """Makes a graph ready to run with parameters that can be others in single runs.

        Args:
            graph: The graph.
            free: Names of the parameters.
            outputs: Names of the values to compute, or None for the network's own.
            threads: Number of threads, or None for the runtime's choice.

        Raises:
            UnsupportedError: The runtime, or one of the parameters, cannot do that.
            ModelError: A parameter or an output does not exist.
        """
        del graph, free, outputs, threads
        raise UnsupportedError(f"{self.title} cannot exchange parameters from run to run; onnxruntime can")


class _FreshModels(ModelPool):
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @contextmanager
    def take(self, model: Runnable, outputs: Sequence[str] | None) -> Iterator[Loaded]:
        with self._runtime.load(model, outputs) as loaded:
            yield loaded


def in_one_line(error: Exception) -> str:
    """Says what an error says, in one line."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    problems = error.problems if isinstance(error, NuqconvError) else ()
    return f"{first} ({problems[0]})" if problems else first
