"""Data sets of whole arrays: in memory, in a .npz or in a .npy; files are read batch by batch."""

from __future__ import annotations

import copy
import hashlib
import math
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nuqconv.data.base import Batch, DataSet, shown
from nuqconv.data.datafile import (
    LABELS,
    NUMBERS,
    SCALE,
    ArrayHeader,
    check_npy,
    data_problems,
    read_arrays,
    read_headers,
    read_rows,
)
from nuqconv.data.labels import label_bytes, read_labels
from nuqconv.data.preparation import Preparation, read_preparation
from nuqconv.data.samples import stacked_labels
from nuqconv.errors import ConfigError, FormatError
from nuqconv.ir import Array

__all__ = ["Arrays", "NpyFile", "NpzFile", "read_npy"]

_UNNAMED = "data"
_BLOCK = 256


class _ArraySet(DataSet):
    """Arrays with one entry for each sample.

    A preparation of crop, mean and scale is done sample by sample; only uint8 gets another size. Channels are taken to be in the net's order.
    """

    def __init__(self, source: str, prep: str | Path | Preparation | None, labels: Any) -> None:
        self.source = source
        self.prep = read_preparation(prep)
        self.notes: tuple[str, ...] = self.prep.notes
        self.labels = labels
        self.names: tuple[str, ...] = ()
        self._digest: str | None = None

    @property
    @abstractmethod
    def headers(self) -> Mapping[str, ArrayHeader]:
        """Shape and type of each input's array."""

    @abstractmethod
    def rows(self, count: int, limit: int) -> Iterator[dict[str, Array]]:
        """Yields the first entries of the inputs' arrays, float32 or as stored, ``count`` at once."""

    def __len__(self) -> int:
        return next(iter(self.headers.values())).shape[0]

    @property
    def preparation(self) -> str | None:
        """The canonical text of what is done with the samples; None for nothing."""
        return None if self.prep.is_empty else str(self.prep)

    def with_preparation(self, prep: str | Path | Preparation) -> _ArraySet:
        """Returns the same samples, prepared in another way."""
        found = copy.copy(self)
        found.prep, found._digest = read_preparation(prep), None  # noqa: SLF001
        return found

    def has_labels(self) -> bool:
        """Says whether the samples have labels."""
        return self.labels is not None

    def batches(self, batch_size: int, limit: int | None = None) -> Iterator[Batch]:
        """Yields the samples in order; see `DataSet.batches`."""
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}, expected at least 1")
        size = len(self) if limit is None else min(limit, len(self))
        start = 0
        for arrays in self.rows(batch_size, size):
            count = len(next(iter(arrays.values())))
            ids = tuple(f"{self.source}[{number}]" for number in range(start, start + count))
            inputs = {name: self._prepared(name, array, start) for name, array in arrays.items()}
            labels = None if self.labels is None else _labels(self.labels[start : start + count])
            yield Batch(inputs, labels, ids)
            start += count

    def _prepared(self, name: str, array: Array, start: int) -> Array:
        if self.prep.is_empty:
            found: Array = array.astype(np.float32, copy=False)
        else:
            try:
                found = np.stack([self.prep.array(np.asarray(sample), ordered=True) for sample in array])
            except FormatError as error:
                raise FormatError(f"{self.source}: array '{name}': {error}") from error
        if not np.isfinite(found).all():
            bad = start + int(np.argmin(np.isfinite(found.reshape(len(found), -1)).all(axis=1)))
            raise FormatError(f"{self.source}: array '{name}', sample {bad}: numbers are NaN or infinite as float32")
        return found

    def digest(self) -> str:
        """Returns a hash of samples, labels and preparation."""
        if self._digest is None:
            found = hashlib.sha256(f"{self.prep.digest()} {self.names} {len(self)};".encode())
            parts = {name: hashlib.sha256() for name in self.names}
            for arrays in self.rows(_BLOCK, len(self)):
                for name, array in arrays.items():
                    parts[name].update(np.ascontiguousarray(array).tobytes())
            for name, header in self.headers.items():
                found.update(f"{header.shape} {header.dtype.str} {parts[name].hexdigest()};".encode())
            found.update(label_bytes(self.labels))
            self._digest = found.hexdigest()
        return self._digest

    def describe(self) -> str:
        """Returns what the set is in a few words."""
        shapes = ", ".join(
            shown(shape) if len(self.names) == 1 else f"{name} {shown(shape)}" for name, shape in self.shapes().items()
        )
        colour = self.prep.colour
        order = "" if colour in (None, "native") else f", {'gray' if colour == 'gray' else str(colour).upper()}"
        return f"{len(self)} x {shapes} from {self.source}{order}"


def _labels(labels: Any) -> Any:
    """Returns the labels of a batch: whole numbers (n,), other numbers as they are, or a tuple of n truths."""
    if isinstance(labels, np.ndarray) and labels.dtype.kind in NUMBERS:
        whole = math.prod(labels.shape[1:]) == 1 and np.array_equal(labels, np.trunc(labels))
        return labels.reshape(-1).astype(np.int64) if whole else labels
    return stacked_labels(list(labels))


class Arrays(_ArraySet):
    """Arrays in memory.

    Args:
        inputs: For each input blob numbers (N, ...), ready for the net; all N are equal.
        labels: One entry for each sample: whole numbers (N,), or a sequence of truths; None for none.
        prep: What is still to be done with a sample.
        name: What messages call them.

    Raises:
        ConfigError: They are no numbers, there are no samples, or their numbers differ; all faults are listed.
    """

    def __init__(
        self,
        inputs: Mapping[str, Array],
        labels: Any = None,
        prep: str | Path | Preparation | None = None,
        *,
        name: str = "arrays",
    ) -> None:
        super().__init__(name, prep, labels)
        self.arrays = {blob: np.asarray(array) for blob, array in inputs.items()}
        self.names = tuple(self.arrays)
        problems = [
            f"'{blob}' holds {array.dtype} of shape {array.shape}, expected numbers, one entry for each sample"
            for blob, array in self.arrays.items()
            if array.dtype.kind not in NUMBERS or not array.ndim
        ]
        sizes = {blob: len(array) for blob, array in self.arrays.items() if array.ndim}
        if len(set(sizes.values())) != 1 or 0 in sizes.values():
            problems.append(f"the inputs must have one number of samples, at least 1; found {sizes}")
        elif labels is not None and len(labels) != next(iter(sizes.values())):
            problems.append(f"there are {len(labels)} labels for {next(iter(sizes.values()))} samples")
        if problems:
            raise ConfigError(f"{name}: these are no data", problems)

    @property
    def headers(self) -> Mapping[str, ArrayHeader]:
        """Shape and type of each input's array."""
        return {blob: ArrayHeader(array.shape, array.dtype, by_columns=False) for blob, array in self.arrays.items()}

    def rows(self, count: int, limit: int) -> Iterator[dict[str, Array]]:
        """Yields slices."""
        for start in range(0, limit, count):
            yield {blob: array[start : min(start + count, limit)] for blob, array in self.arrays.items()}


class NpzFile(_ArraySet):
    """A .npz with one array for each input blob, and ``label`` (or ``labels``) and a number ``scale`` if needed.

    The inputs are multiplied by ``scale`` after conversion to float32. The file is read batch by batch.

    Args:
        path: The file.
        prep: What is still to be done with a sample.
        labels: Labels instead of the file's: a file (see `nuqconv.data.labels.read_labels`) or one for each sample.

    Raises:
        FormatError: It cannot be read.
    """

    def __init__(
        self, path: str | os.PathLike[str], prep: str | Path | Preparation | None = None, *, labels: Any = None
    ) -> None:
        super().__init__(os.fspath(path), prep, None)
        self.all_headers = read_headers(path)
        self.small = read_arrays(path, [name for name in (*LABELS, SCALE) if name in self.all_headers])
        self.names = tuple(name for name in self.all_headers if name not in (*LABELS, SCALE))
        self._whole = False
        self.scale = np.float32(self.small.get(SCALE, 1))
        self.labels = next((self.small[name] for name in LABELS if name in self.small), None)
        if labels is not None:
            if self.labels is not None:
                raise ConfigError(f"{self.source}: holds labels, and others are given; leave one of them out")
            self.labels = _given_labels(labels, self.source, len(self))

    @property
    def headers(self) -> Mapping[str, ArrayHeader]:
        """Shape and type of each input's array; without a net, all arrays but labels and scale are inputs."""
        if not self._whole:
            self._check(self.names)
            self._whole = True
        return {name: self.all_headers[name] for name in self.names}

    def rows(self, count: int, limit: int) -> Iterator[dict[str, Array]]:
        """Yields entries as they come from the file, multiplied by its scale."""
        for arrays in read_rows(self.source, self.names, count, limit):
            if self.scale == 1:
                yield arrays
            else:
                with np.errstate(over="ignore", invalid="ignore"):
                    yield {name: array.astype(np.float32) * self.scale for name, array in arrays.items()}

    def for_net(self, inputs: Mapping[str, Sequence[int | None]]) -> DataSet:
        """Returns the set for a net; arrays that nobody uses are refused."""
        self._check(tuple(inputs))
        found = copy.copy(self)
        found.names, found._digest, found._whole = tuple(inputs), None, True  # noqa: SLF001
        return DataSet.for_net(found, inputs)

    def _check(self, names: Sequence[str]) -> None:
        problems = data_problems(names, self.all_headers, self.small)
        if not names:
            problems.append("there is no array for an input")
        if problems:
            raise FormatError(
                f"{self.source}: does not fit the net; it holds {', '.join(self.all_headers) or 'nothing'}", problems
            )


class NpyFile(_ArraySet):
    """A .npy with one entry for each sample, for a net of one input.

    Args:
        path: The file.
        prep: What is still to be done with a sample.
        labels: A file (see `nuqconv.data.labels.read_labels`) or one for each sample.
        inputs: Name of the input blob; by default that of the net.

    Raises:
        FormatError: It cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        prep: str | Path | Preparation | None = None,
        *,
        labels: Any = None,
        inputs: str | None = None,
    ) -> None:
        super().__init__(os.fspath(path), prep, None)
        self.given = inputs
        self.names = (inputs or _UNNAMED,)
        array = read_npy(path)
        if array.dtype.kind not in NUMBERS or not array.ndim or not len(array):
            raise FormatError(
                f"{path}: holds {array.dtype} of shape {array.shape}, expected numbers, one entry for each sample"
            )
        self.header = ArrayHeader(array.shape, array.dtype, by_columns=False)
        self.labels = None if labels is None else _given_labels(labels, self.source, len(array))

    @property
    def headers(self) -> Mapping[str, ArrayHeader]:
        """Shape and type of the array."""
        return {self.names[0]: self.header}

    def rows(self, count: int, limit: int) -> Iterator[dict[str, Array]]:
        """Yields slices of the file."""
        array = read_npy(self.source)
        for start in range(0, limit, count):
            yield {self.names[0]: np.array(array[start : min(start + count, limit)])}

    def for_net(self, inputs: Mapping[str, Sequence[int | None]]) -> DataSet:
        """Returns the set with the name of the net's input."""
        if len(inputs) != 1 and self.given is None:
            raise ConfigError(
                f"{self.source}: is one array, but the net has the inputs {', '.join(inputs)}; a .npz holds several"
            )
        found = copy.copy(self)
        found.names = (self.given or next(iter(inputs)),)
        found._digest = None  # noqa: SLF001
        return DataSet.for_net(found, inputs)


def _given_labels(labels: Any, source: str, count: int) -> Any:
    if isinstance(labels, str | Path):
        return read_labels(labels, [f"{source}[{number}]" for number in range(count)])
    if len(labels) != count:
        raise ConfigError(f"{source}: there are {len(labels)} labels for {count} samples")
    return labels


def read_npy(path: str | os.PathLike[str]) -> Array:
    """Returns the array of a .npy; its numbers are read when they are used.

    Raises:
        FormatError: It cannot be read, or is no file of a plain array.
    """
    check_npy(path)
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
