"""A model's files, and what was read from them."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nuqconv.errors import ConfigError
from nuqconv.frontends.options import AS_THEY_ARE, ReadGraph, ReadOptions
from nuqconv.ir import Graph

if TYPE_CHECKING:
    from nuqconv.formats.base import Format

__all__ = ["ModelFiles", "SourceModel", "StrPath"]

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class SourceModel:
    """A network that was read.

    Attributes:
        graph: The verified graph.
        notes: What the reader chose or changed, in words.
        files: The files read: .prototxt and .caffemodel, or .onnx.
        format: Their format.
        own_batch: The batch that the files fix, where their format can leave it open; else None.
    """

    graph: Graph
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    format: Format
    own_batch: int | None = None


class ModelFiles(ABC):
    """The files of a model. They are read once, however often the model is asked for; may be used from several threads.

    Args:
        format: Their format.
        paths: The files, in its order.
        options: How whoever names the model wants it read; what a reader chooses besides is added.
    """

    def __init__(self, format: Format, paths: tuple[Path, ...], options: ReadOptions = AS_THEY_ARE) -> None:  # noqa: A002
        self.format = format
        self.paths = paths
        self.options = options
        self._lock = threading.RLock()
        self._last: tuple[ReadOptions, SourceModel] | None = None

    def __repr__(self) -> str:
        return f"<{self.format.name} model {self}>"

    def __str__(self) -> str:
        return " with ".join(map(str, self.paths))

    @property
    def model(self) -> Path:
        """The file that names the model.

        Raises:
            ConfigError: The model is a graph, which has no files.
        """
        return self._path(0)

    @property
    def weights(self) -> Path:
        """The file with its weights; the same one where a format has one.

        Raises:
            ConfigError: The model is a graph, which has no files.
        """
        return self._path(-1)

    def is_at(self, *paths: Path) -> bool:
        """Whether these are the files at some paths; where a format has one file it may be given several times."""
        return bool(self.paths) and (paths == self.paths or set(paths) == set(self.paths) == {self.model})

    def read(self, options: ReadOptions = AS_THEY_ARE) -> SourceModel:
        """Returns the model: what was read before, if the options are the same.

        Args:
            options: What is chosen besides the model's own options.

        Raises:
            FormatError, ModelError, UnsupportedError: The model cannot be read or is wrong; all faults are listed.
        """
        options = self.options.beside(options)
        with self._lock:
            if self._last is None or self._last[0] != options:
                own = self.own_batch()
                found = self._read(options)
                self._last = (options, SourceModel(found.graph, found.notes, self.paths, self.format, own))
            return self._last[1]

    @abstractmethod
    def inputs(self) -> dict[str, tuple[int | None, ...]]:
        """Returns the inputs by the names that data have for them, with their shapes; None for a size that the files leave open.

        Raises:
            FormatError, ModelError, UnsupportedError: As in `read`.
        """

    def own_batch(self) -> int | None:
        """Returns the samples of one run, where the format can leave them open and these files do not; data are run in batches of it.

        Raises:
            FormatError, ModelError, UnsupportedError: As in `read`.
        """
        if not self.format.open_sizes:
            return None
        first = {shape[0] for shape in self.inputs().values() if shape}
        return first.pop() if len(first) == 1 else None

    def sizes_for(self, samples: Mapping[str, Sequence[int]], batch_size: int) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of inputs for a run on data: the files' own sizes, and for open ones those of the data.

        Args:
            samples: Sizes of one sample by input.
            batch_size: Samples of a run, where the batch is open.
        """
        if not self.format.open_sizes:
            return {}
        found = {}
        for name, own in self.inputs().items():
            wanted = (batch_size, *samples.get(name, ()))
            if name in samples and len(own) == len(wanted):
                found[name] = tuple(size if fixed is None else fixed for fixed, size in zip(own, wanted, strict=True))
        return found

    def input_names(self) -> tuple[str, ...]:
        """Returns the names that data have for the inputs; they are known before open sizes are."""
        return tuple(self.inputs())

    def forget(self) -> None:
        """Gives up what was read, so that its memory is free when nobody else uses it; the files can be read again."""
        with self._lock:
            self._last = None

    def _path(self, number: int) -> Path:
        if not self.paths:
            raise ConfigError(f"{self} has no files, which are needed here; write it with nuqconv.save first")
        return self.paths[number]

    @abstractmethod
    def _read(self, options: ReadOptions) -> ReadGraph:
        """Reads the files."""
