"""What a runtime is: how it is looked for, which models it takes, and how it runs them.

A runtime is one class in one module, and one entry in the table (`nuqconv.runtimes.table`). Its fields are its options.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from nuqconv.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from typing_extensions import Self

    from nuqconv.ir import Array
    from nuqconv.runtimes.model import Runnable

__all__ = ["Loaded", "ModelPool", "Runtime"]


class Loaded(ABC):
    """A model that is ready to run, a context manager."""

    @abstractmethod
    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Runs a batch.

        Args:
            batch: Inputs by the names that they have in the file, float32 (N, ...).

        Returns:
            The outputs that were asked for when it was loaded, by name.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """Frees what it holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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


@dataclass(frozen=True)
class Runtime(ABC):
    """A place where models run. It can be pickled, and compared by its options.

    A class of it states ``name`` (what users write), ``title`` (what messages and ``nuqconv doctor`` call it), ``takes`` (the formats of
    `Runnable` that it runs) and ``remedy`` (how to get it).

    Attributes:
        evaluator: What journals of searches call a ready-made evaluator that runs here.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    takes: ClassVar[frozenset[str]]
    remedy: ClassVar[str]

    @property
    def evaluator(self) -> str:
        """What journals call it."""
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
        """Returns a new pool, in which nothing runs yet; by default each model is loaded anew."""
        return _FreshModels(self)


class _FreshModels(ModelPool):
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @contextmanager
    def take(self, model: Runnable, outputs: Sequence[str] | None) -> Iterator[Loaded]:
        with self._runtime.load(model, outputs) as loaded:
            yield loaded
