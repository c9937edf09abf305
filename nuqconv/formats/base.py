"""What a format of model files says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nuqconv.errors import ConfigError
from nuqconv.formats.form import Form, WriteOptions
from nuqconv.formats.source import ModelFiles
from nuqconv.frontends.options import AS_THEY_ARE, ReadOptions
from nuqconv.ir import Graph

__all__ = ["FileKind", "Format"]


@dataclass(frozen=True)
class FileKind:
    """One of the files of a format.

    Attributes:
        name: What it is, for people.
        suffixes: What its name ends in, in lower case; the first one is given to files that are written.
        recognizes: Whether a file holds one, recognized by its content; False for what cannot be read.
    """

    name: str
    suffixes: tuple[str, ...]
    recognizes: Callable[[Path], bool]

    def named(self, path: Path) -> bool:
        """Whether a file is named like one."""
        return self.suffix(path) is not None

    def suffix(self, path: Path) -> str | None:
        """Returns what the name of a file ends in, as it is there; None where it is not named like one."""
        found = [len(suffix) for suffix in self.suffixes if path.name.lower().endswith(suffix)]
        return path.name[-max(found) :] if found else None


class Format(ABC):
    """A format of model files.

    Attributes:
        name: What users call it.
        kinds: What its files are, in the order in which they are given; the first is the one that names the model.
        forms: How it writes graphs.
        trial: The form that an evaluator is given in a search.
        open_sizes: Whether its files can leave sizes of inputs open, which are then those of the data.
        runs_in_caffe: Whether real Caffe runs its files.
        incomplete: What to say where some of its files are missing.
    """

    name: str
    kinds: tuple[FileKind, ...]
    forms: tuple[Form, ...]
    trial: Form
    open_sizes: bool
    runs_in_caffe: bool
    incomplete: str = ""

    def __repr__(self) -> str:
        return f"<format {self.name}>"

    def __reduce__(self) -> str:
        # Each is a constant of its module, by this name.
        return self.name.upper()

    @abstractmethod
    def open(self, paths: tuple[Path, ...], options: ReadOptions = AS_THEY_ARE) -> ModelFiles:
        """Returns the files of a model, not read yet; the options hold whoever reads them."""

    @abstractmethod
    def form(self, graph: Graph, *, integer: bool = False) -> Form:
        """Returns the form in which a graph is converted.

        Args:
            graph: The graph.
            integer: Whether quantized layers are to compute on integers.
        """

    @abstractmethod
    def problems(self, graph: Graph) -> tuple[str, ...]:
        """Returns a line for each layer that has no form in this format."""

    @abstractmethod
    def foreign(self, paths: Sequence[Path]) -> tuple[Path, ...]:
        """Returns those of a model's files that are there and of which nothing says that nuqconv wrote them.

        Raises:
            OSError: A file cannot be read.
        """

    @abstractmethod
    def chosen(self, options: WriteOptions, target: Path, *, integer: bool = False) -> WriteOptions:
        """Returns options with this format's own choice for what is left open.

        Args:
            options: What the user chose.
            target: The first file to write, for messages.
            integer: Whether quantized layers are to compute on integers.

        Raises:
            ConfigError: The format does not have what was chosen.
        """

    def form_named(self, name: str) -> Form:
        """Returns a form.

        Raises:
            ConfigError: There is none of this name.
        """
        for form in self.forms:
            if form.name == name:
                return form
        raise ConfigError(
            f"'{name}' is no form of {self.name}; there are {', '.join(form.name for form in self.forms)}"
        )

    def files(self, given: Sequence[Path]) -> tuple[Path, ...]:
        """Returns the files of a model that was given; where a format has one file it may be given several times.

        Raises:
            ConfigError: There are too many or too few.
        """
        first, *others = given
        if len(self.kinds) == 1:
            wrong = [str(path) for path in others if path != first]
            if wrong:
                raise ConfigError(
                    f"{first}: an {self.kinds[0].name} holds its weights; {', '.join(wrong)} does not go with it"
                )
            return (first,)
        if len(given) != len(self.kinds):
            raise ConfigError(f"{first}: {self.incomplete}")
        return tuple(given)

    def targets(self, given: Sequence[Path]) -> tuple[Path, ...] | None:
        """Returns the files to write, recognized by their names, since they need not exist; None if they are no files of this format.

        A file that is not given has the name of the first one, with an ending of its own.
        """
        if len(given) > len(self.kinds):
            return None
        ending = self.kinds[0].suffix(given[0])
        if ending is None or not all(kind.named(path) for kind, path in zip(self.kinds, given, strict=False)):
            return None
        stem = given[0].name[: -len(ending)]
        return (*given, *(given[0].with_name(stem + kind.suffixes[0]) for kind in self.kinds[len(given) :]))
