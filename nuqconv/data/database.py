"""LMDB with Caffe's records: Datum (raw, encoded, float_data) and SSD's AnnotatedDatum."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nuqconv.data.extras import lmdb
from nuqconv.data.labels import label_bytes, read_labels
from nuqconv.data.pictures import Channels, decode
from nuqconv.data.preparation import Preparation
from nuqconv.data.samples import Reader, Sample, SampleSet
from nuqconv.errors import ConfigError, EvaluatorError, FormatError
from nuqconv.frontends.caffe.schema import message_class
from nuqconv.ir import Array
from nuqconv.search.metrics.truth import Boxes

__all__ = ["Lmdb", "is_lmdb", "read_datum"]

_DATUM: Any = message_class("Datum")
_ANNOTATED: Any = message_class("AnnotatedDatum")


def is_lmdb(path: Path) -> bool:
    """Says whether a path is a database."""
    return (path / "data.mdb").is_file() or path.suffix.lower() == ".mdb"


class Lmdb(SampleSet):
    """An LMDB with Caffe's records, in the order of their keys, as Caffe's Data layer reads it.

    The label of a Datum is its class; an AnnotatedDatum has boxes (`Boxes`).

    Args:
        path: The folder of the database, or its .mdb file.
        prep: What is done with a sample: a text, a file or a `Preparation`. Colours of records that are not encoded are taken as they are stored,
            as Caffe does.
        labels: Labels instead of those of the records: a file (see `nuqconv.data.labels.read_labels`), or one for each record.
        inputs: Name of the input blob; by default that of the net.

    Raises:
        FormatError: It cannot be read, or is empty.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        prep: str | Path | Preparation | None = None,
        *,
        labels: Any = None,
        inputs: str | None = None,
    ) -> None:
        super().__init__(os.fspath(path), prep=prep, inputs=inputs)
        with _opened(self.source) as environment, environment.begin() as transaction:
            self.entries = int(transaction.stat()["entries"])
            keys = [] if labels is None else [_shown(key) for key in transaction.cursor().iternext(values=False)]
        if not self.entries:
            raise FormatError(f"{self.source}: the database is empty")
        self.labels: Any = read_labels(labels, keys) if isinstance(labels, str | Path) else labels
        if self.labels is not None and len(self.labels) != self.entries:
            raise ConfigError(f"{self.source}: there are {len(self.labels)} labels for {self.entries} records")

    def __len__(self) -> int:
        return self.entries

    @property
    def width(self) -> int:
        """One: a record holds one picture."""
        return 1

    def readers(self) -> Iterator[tuple[str, Reader]]:
        """Yields for each record its key and what reads it."""
        for place, (key, value) in enumerate(self._records()):
            name = f"{self.source}:{_shown(key)}"
            yield name, partial(self._read, value, name, place)

    def contents(self) -> Iterator[bytes]:
        """Yields the records."""
        for key, value in self._records():
            yield key
            yield value
        yield label_bytes(self.labels)

    def _records(self) -> Iterator[tuple[bytes, bytes]]:
        with _opened(self.source) as environment, environment.begin() as transaction:
            yield from transaction.cursor()

    def _read(self, value: bytes, name: str, place: int) -> Sample:
        array, label = read_datum(value, name, self.prep, labelled=self.labels is not None)
        return (array,), self._checked_boxes(label, name) if self.labels is None else self.labels[place]


def read_datum(value: bytes, name: str, prep: Preparation, *, labelled: bool = False) -> tuple[Array, Any]:
    """Reads one record.

    Args:
        value: Its bytes, a Datum or an AnnotatedDatum.
        name: What messages call it.
        prep: What is done with its picture.
        labelled: Whether there is a label already, so that its own one is not read.

    Returns:
        float32 (C, H, W), and its class or boxes; None where it has no label.

    Raises:
        FormatError: It is no record, or holds what is none.
    """
    datum, groups = _parsed(value, name)
    try:
        if datum.encoded:
            pixels = decode(datum.data, Channels.NATIVE if prep.colour is None else prep.reading, name)
            size: tuple[int, int] | None = (pixels.shape[0], pixels.shape[1])
            array = prep.picture(pixels)
        else:
            values = _raw(datum)
            size = (values.shape[1], values.shape[2])
            array = prep.array(values)
    except FormatError as error:
        where = "" if str(error).startswith(name) else f"{name}: "
        raise FormatError(f"{where}{error}") from error
    if labelled:
        return array, None
    if groups is not None:
        return array, _boxes(groups, size, name)
    return array, int(datum.label) if datum.HasField("label") else None


def _shown(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")


def _parsed(value: bytes, name: str) -> tuple[Any, Any | None]:
    """Returns the Datum of a record, and its objects where it is an AnnotatedDatum."""
    try:
        # The first field of an AnnotatedDatum is a message, that of a Datum a number.
        annotated = _ANNOTATED.FromString(value)
        if annotated.HasField("datum"):
            return annotated.datum, annotated.annotation_group
        return _DATUM.FromString(value), None
    except Exception as error:  # protobuf's own class differs with its implementation
        if type(error).__name__ != "DecodeError":
            raise
        raise FormatError(f"{name}: is no Datum and no AnnotatedDatum") from error


def _raw(datum: Any) -> Array:
    shape = (datum.channels, datum.height, datum.width)
    count = shape[0] * shape[1] * shape[2]
    values: Array = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    if min(shape) < 1 or values.size != count:
        kind = "bytes" if datum.data else "numbers"
        raise FormatError(
            f"the record has {values.size} {kind}, but its shape {'x'.join(map(str, shape))} takes {max(count, 0)}"
        )
    if values.dtype != np.uint8 and not np.isfinite(values).all():
        raise FormatError("the record holds NaN or infinity")
    return values.reshape(shape)


def _boxes(groups: Any, size: tuple[int, int] | None, name: str) -> Boxes:
    found = [(int(group.group_label), item.bbox) for group in groups for item in group.annotation]
    sides = [[box.xmin, box.ymin, box.xmax, box.ymax] for _, box in found]
    try:
        return Boxes(
            np.array([label for label, _ in found], np.int64),
            np.array(sides, np.float64).reshape(-1, 4),
            np.array([box.difficult for _, box in found], bool),
            size=size,
        )
    except EvaluatorError as error:
        raise FormatError(f"{name}: its annotation is wrong: {'; '.join(error.problems)}") from error


_SHARED: dict[tuple[str, int], tuple[Any, int]] = {}
_LOCK = threading.Lock()


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """Opens a database for reading; a process may have each only once, so that those who read it at the same time share it."""
    module = lmdb()
    key = (os.path.realpath(path), os.getpid())
    try:
        with _LOCK:
            environment, users = _SHARED.get(key) or (_environment(module, path), 0)
            _SHARED[key] = (environment, users + 1)
        try:
            yield environment
        finally:
            with _LOCK:
                environment, users = _SHARED.pop(key)
                if users > 1:
                    _SHARED[key] = (environment, users - 1)
                else:
                    environment.close()
    except module.Error as error:
        raise FormatError(f"{path}: is no LMDB that can be read: {error}") from error


def _environment(module: Any, path: str) -> Any:
    if not is_lmdb(Path(path)):
        raise FormatError(f"{path}: is no LMDB; expected a folder with data.mdb, or an .mdb file")
    # Without a lock nothing is written beside the data.
    return module.open(
        path, readonly=True, lock=False, readahead=False, meminit=False, subdir=Path(path).is_dir(), max_dbs=0
    )
