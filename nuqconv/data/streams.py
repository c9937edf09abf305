"""Batches that a program makes: iterables of mappings, and readers of calibration data with ``get_next``."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import IO, Any

import numpy as np

from nuqconv.data.base import Batch, DataSet, shown
from nuqconv.data.labels import label_bytes
from nuqconv.data.samples import stacked_labels
from nuqconv.errors import ConfigError, FormatError
from nuqconv.ir import Array

__all__ = ["Batches"]

Item = tuple[dict[str, Array], Any]


class Batches(DataSet):
    """Batches of arrays from an iterable.

    What can be iterated again (a list, an object with ``__iter__`` that starts again, a function that returns an iterator) is; what can be
    read only once (a generator, an object with ``get_next``) is kept in a temporary file, a batch at a time.

    Args:
        source: Yields for each batch a mapping from input blobs to arrays (n, ...), or a pair of it and the labels (n,); or has onnxruntime's
            ``get_next()``, which returns such a mapping, and None at the end.
        name: What messages call it.

    Raises:
        FormatError: A batch is no such mapping, or batches do not fit each other.
    """

    def __init__(self, source: Any, name: str | None = None) -> None:
        self.source = name or type(source).__name__
        self._again: Callable[[], Iterator[Any]] | None = None
        self._file: IO[bytes] | None = None
        self._kept: list[tuple[int, dict[str, tuple[str, tuple[int, ...]]], Any]] = []
        if callable(source) and not hasattr(source, "get_next"):
            self._again = source
        elif not hasattr(source, "get_next") and iter(source) is not source:
            self._again = source.__iter__
        else:
            self._keep(_drained(source) if hasattr(source, "get_next") else source)
        self._digest: str | None = None
        self._size, self._sizes = self._count()
        if not self._size:
            raise FormatError(f"{self.source}: yields no batch")
        self.notes: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self._file is not None:
            # A file that is open cannot go elsewhere: what it holds does.
            state["_file"] = None
            state["_again"] = list(self._items()).__iter__
        return state

    def __len__(self) -> int:
        return self._size

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the sizes of one sample of each input."""
        return dict(self._sizes)

    def batches(self, batch_size: int, limit: int | None = None) -> Iterator[Batch]:
        """Yields the samples in batches of the wanted size, whatever sizes the source's have."""
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}, expected at least 1")
        return _regrouped(self._samples(limit), batch_size, self.source)

    def digest(self) -> str:
        """Returns a hash of the samples."""
        if self._digest is None:
            found = hashlib.sha256()
            for inputs, label, _ in self._samples(None):
                for name, array in inputs.items():
                    found.update(f"{name} {array.shape} {array.dtype.str};".encode())
                    found.update(np.ascontiguousarray(array).tobytes())
                found.update(label_bytes(label))
            self._digest = found.hexdigest()
        return self._digest

    def describe(self) -> str:
        """Returns what the set is in a few words."""
        shapes = ", ".join(
            shown(shape) if len(self._sizes) == 1 else f"{name} {shown(shape)}" for name, shape in self._sizes.items()
        )
        return f"{self._size} x {shapes} from {self.source}"

    def _samples(self, limit: int | None) -> Iterator[tuple[dict[str, Array], Any, str]]:
        def every() -> Iterator[tuple[dict[str, Array], Any, str]]:
            for number, (inputs, labels) in enumerate(self._items()):
                for row in range(len(next(iter(inputs.values())))):
                    label = None if labels is None else labels[row]
                    yield (
                        {name: array[row] for name, array in inputs.items()},
                        label,
                        f"{self.source}, batch {number}, sample {row}",
                    )

        return islice(every(), limit)

    def _items(self) -> Iterator[Item]:
        if self._again is not None:
            for number, item in enumerate(self._again()):
                yield _checked(item, f"{self.source}, batch {number}")
            return
        assert self._file is not None  # noqa: S101  (the one or the other is there)
        for start, arrays, labels in self._kept:
            place, inputs = start, {}
            for name, (dtype, shape) in arrays.items():
                count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
                self._file.seek(place)
                inputs[name] = np.frombuffer(self._file.read(count), dtype).reshape(shape)
                place += count
            yield inputs, labels

    def _keep(self, source: Iterable[Any]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the set)
        for number, item in enumerate(source):
            inputs, labels = _checked(item, f"{self.source}, batch {number}")
            start = self._file.tell()
            for array in inputs.values():
                self._file.write(np.ascontiguousarray(array).tobytes())
            self._kept.append((start, {name: (array.dtype.str, array.shape) for name, array in inputs.items()}, labels))

    def _count(self) -> tuple[int, dict[str, tuple[int, ...]]]:
        sizes: dict[str, tuple[int, ...]] = {}
        size, labelled = 0, None
        for number, (inputs, labels) in enumerate(self._items()):
            found = {name: array.shape[1:] for name, array in inputs.items()}
            if number and (found.keys() != sizes.keys() or (labels is None) == labelled):
                raise FormatError(
                    f"{self.source}, batch {number}: has other inputs or labels than the first one: {', '.join(found)}"
                )
            sizes, labelled = sizes or found, labels is not None
            size += len(next(iter(inputs.values())))
        return size, sizes


def _drained(source: Any) -> Iterator[Any]:
    while (item := source.get_next()) is not None:
        yield item


def _checked(item: Any, where: str) -> Item:
    labels = None
    if isinstance(item, tuple) and len(item) == 2:
        item, labels = item
    if not isinstance(item, Mapping) or not item:
        raise FormatError(
            f"{where}: is {type(item).__name__}, expected a mapping from input blobs to arrays, or a pair of it and labels"
        )
    inputs = {str(name): np.asarray(value) for name, value in item.items()}
    problems = [
        f"'{name}' holds {array.dtype} of shape {array.shape}, expected finite numbers, one entry for each sample"
        for name, array in inputs.items()
        if array.dtype.kind not in "fiub" or not array.ndim or not array.size or not np.isfinite(array).all()
    ]
    sizes = {name: len(array) for name, array in inputs.items() if array.ndim}
    if len(set(sizes.values())) > 1:
        problems.append(f"the inputs have different numbers of samples: {sizes}")
    elif labels is not None and sizes and len(labels) != next(iter(sizes.values())):
        problems.append(f"there are {len(labels)} labels for {next(iter(sizes.values()))} samples")
    if problems:
        raise FormatError(f"{where}: is no batch", problems)
    return inputs, labels


def _regrouped(samples: Iterable[tuple[dict[str, Array], Any, str]], size: int, source: str) -> Iterator[Batch]:
    samples = iter(samples)
    while waiting := list(islice(samples, size)):
        first = waiting[0][0]
        uneven = next(
            (name for inputs, _, name in waiting for blob in first if inputs[blob].shape != first[blob].shape), None
        )
        if uneven is not None:
            raise FormatError(f"{source}: {uneven} has another size than {waiting[0][2]}; take batches of 1")
        arrays = {blob: np.stack([inputs[blob] for inputs, _, _ in waiting]).astype(np.float32) for blob in first}
        yield Batch(arrays, stacked_labels([label for _, label, _ in waiting]), tuple(name for _, _, name in waiting))
