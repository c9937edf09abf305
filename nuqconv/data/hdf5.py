"""HDF5 files as Caffe's HDF5Data reads them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nuqconv.data.extras import h5py
from nuqconv.data.labels import label_bytes, read_labels, read_lines
from nuqconv.data.preparation import Preparation
from nuqconv.data.samples import Reader, Sample, SampleSet
from nuqconv.errors import ConfigError, FormatError
from nuqconv.ir import Array

__all__ = ["SUFFIXES", "Hdf5"]

SUFFIXES = frozenset((".h5", ".hdf5", ".hdf"))
_LABELS = ("label", "labels")
_BLOCK = 64


class Hdf5(SampleSet):
    """HDF5 files with one data set for each input blob, and ``label`` (or ``labels``) if needed.

    Args:
        path: A list of files, one a line, as the source of HDF5Data; or one .h5 file. Paths are relative to the working directory, or to the
            list's folder where the first one is not there.
        prep: What is still to be done with a sample; Caffe does nothing here.
        labels: Labels instead of those of the files: a file (see `nuqconv.data.labels.read_labels`), or one for each sample.
        inputs: Names of the data sets that the net takes; by default all but the labels.

    Raises:
        FormatError: Files cannot be read, or their data sets do not fit each other; all faults are listed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        prep: str | Path | Preparation | None = None,
        *,
        labels: Any = None,
        inputs: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(os.fspath(path), prep=prep, inputs=inputs)
        self.files = _files(Path(path))
        self.sizes: list[int] = []
        self.stored: dict[str, tuple[int, ...]] = {}
        self._look()
        if self.inputs is None:
            self.inputs = tuple(name for name in self.stored if name not in _LABELS)
        missing = [
            f"data set '{name}' is missing; there are {', '.join(self.stored)}"
            for name in self.inputs
            if name not in self.stored
        ]
        if missing or not self.inputs:
            raise FormatError(f"{self.source}: does not fit", missing or ["there is no data set for an input"])
        self.label = next((name for name in _LABELS if name in self.stored and name not in self.inputs), None)
        self.labels: Any = (
            read_labels(labels, [f"{number}" for number in range(len(self))])
            if isinstance(labels, str | Path)
            else labels
        )
        if self.labels is not None and len(self.labels) != len(self):
            raise ConfigError(f"{self.source}: there are {len(self.labels)} labels for {len(self)} samples")

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def width(self) -> int:
        """Number of arrays in a sample."""
        return len(self.names)

    def has_pictures(self) -> bool:
        """Whether samples are pictures: they are numbers."""
        return False

    def for_net(self, inputs: Mapping[str, Sequence[int | None]]) -> Any:
        """Returns the set for a net; data sets that nobody uses are refused."""
        found = self._changed(inputs=tuple(name for name in inputs if name in self.names) or self.names)
        unused = [name for name in self.names if name not in inputs]
        if unused:
            known = ", ".join((*inputs, *_LABELS[:1]))
            raise ConfigError(
                f"{self.source}: these data do not fit the net",
                [f"'{name}' is not used; known are {known}" for name in unused],
            )
        return super(Hdf5, found).for_net(inputs)

    def readers(self) -> Iterator[tuple[str, Reader]]:
        """Yields for each sample its file and place, and what reads it."""
        names = [*self.names, *([self.label] if self.label is not None else [])]
        done = 0
        for path, size in zip(self.files, self.sizes, strict=True):
            with _opened(path) as file:
                for start in range(0, size, _BLOCK):
                    parts = {name: np.asarray(file[name][start : start + _BLOCK]) for name in names}
                    for row in range(min(_BLOCK, size - start)):
                        name = f"{path}[{start + row}]"
                        yield (
                            name,
                            partial(
                                self._read, {key: part[row] for key, part in parts.items()}, name, done + start + row
                            ),
                        )
            done += size

    def contents(self) -> Iterator[bytes]:
        """Yields the numbers of the files."""
        for path, size in zip(self.files, self.sizes, strict=True):
            with _opened(path) as file:
                for name in (*self.names, *([self.label] if self.label is not None else [])):
                    found = hashlib.sha256()
                    for start in range(0, size, _BLOCK):
                        found.update(np.ascontiguousarray(file[name][start : start + _BLOCK]).tobytes())
                    yield name.encode()
                    yield found.digest()
        yield label_bytes(self.labels)

    def _read(self, parts: Mapping[str, Array], name: str, place: int) -> Sample:
        try:
            arrays = tuple(self.prep.array(_finite(parts[blob], blob), ordered=True) for blob in self.names)
        except FormatError as error:
            raise FormatError(f"{name}: {error}") from error
        if self.labels is not None:
            return arrays, self.labels[place]
        return arrays, None if self.label is None else _label(parts[self.label])

    def _look(self) -> None:
        problems: list[str] = []
        for path in self.files:
            with _opened(path) as file:
                shapes = {
                    str(name): tuple(item.shape)
                    for name, item in file.items()
                    if hasattr(item, "dtype") and item.dtype.kind in "fiu" and item.shape
                }
            lengths = {name: shape[0] for name, shape in shapes.items()}
            if len(set(lengths.values())) != 1 or 0 in lengths.values():
                problems.append(
                    f"{path}: its data sets must have one number of samples, at least 1; found {lengths or 'none'}"
                )
                continue
            self.sizes.append(next(iter(lengths.values())))
            samples = {name: shape[1:] for name, shape in shapes.items()}
            if not self.stored:
                self.stored = samples
            elif samples != self.stored:
                problems.append(f"{path}: holds {samples}, but the first file {self.stored}")
        if problems:
            raise FormatError(f"{self.source}: the files do not fit each other", problems)


def _finite(values: Array, name: str) -> Array:
    found = values.astype(np.float32)
    if not np.isfinite(found).all():
        raise FormatError(f"'{name}' holds NaN or infinity")
    return found


def _label(values: Array) -> Any:
    """Returns a class where it is one whole number, else the numbers."""
    if values.size == 1 and float(values.reshape(-1)[0]).is_integer():
        return int(values.reshape(-1)[0])
    return values


def _files(path: Path) -> list[Path]:
    if path.suffix.lower() in SUFFIXES:
        return [path]
    lines = read_lines(path)
    if not lines:
        raise FormatError(f"{path}: is empty; expected the path of an HDF5 file on each line")
    beside = not Path(lines[0][1].strip()).is_file()
    files = [(number, path.parent / line.strip() if beside else Path(line.strip())) for number, line in lines]
    problems = [f"{path}:{number}: {file}: there is no such file" for number, file in files if not file.is_file()]
    if problems:
        raise FormatError(f"{path}: the list cannot be used", problems)
    return [file for _, file in files]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    module = h5py()
    try:
        with module.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise FormatError(f"{path}: is no HDF5 file that can be read: {error}") from error
