"""The kinds of data sets, in one table: a source is recognized by what it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuqconv.data.arrays import Arrays, NpyFile, NpzFile
from nuqconv.data.base import DataSet
from nuqconv.data.database import Lmdb, is_lmdb
from nuqconv.data.files import ImageList, Images
from nuqconv.data.hdf5 import SUFFIXES, Hdf5
from nuqconv.data.labels import read_lines
from nuqconv.data.pictures import SUFFIXES as PICTURES
from nuqconv.data.preparation import DataLayer, Preparation, read_data_layer
from nuqconv.data.streams import Batches
from nuqconv.errors import ConfigError, FormatError

__all__ = ["SOURCES", "Source", "open_data"]

_Prep = str | Path | Preparation | None


@dataclass(frozen=True)
class Source:
    """A kind of data set in files.

    Attributes:
        name: What it is, in two or three words.
        holds: What is read of it, in a line for users.
        is_one: Says whether a path is one.
        opens: Makes the set of a path, a preparation and labels.
    """

    name: str
    holds: str
    is_one: Callable[[Path], bool]
    opens: Callable[[Path, _Prep, Any], DataSet]


def _data_layer(path: Path, prep: _Prep, labels: Any) -> DataSet:
    layer = read_data_layer(path)
    found: Images | ImageList | Hdf5 | Lmdb = _of_layer(layer, layer.preparation if prep is None else prep, labels)
    found.notes += tuple(note for note in layer.preparation.notes if note not in found.notes)
    return found


def _of_layer(layer: DataLayer, prep: _Prep, labels: Any) -> Any:
    if layer.kind == "ImageData":
        return ImageList(layer.source, prep, root=layer.root, labels=labels)
    if layer.kind == "HDF5Data":
        return Hdf5(
            layer.source, prep, labels=labels, inputs=[top for top in layer.tops if top not in ("label", "labels")]
        )
    return Lmdb(layer.source, prep, labels=labels)


def _first_line_ends(path: Path, suffixes: Iterable[str]) -> bool:
    try:
        lines = read_lines(path)
    except FormatError:
        return False
    return bool(lines) and Path(lines[0][1].strip()).suffix.lower() in suffixes


SOURCES: tuple[Source, ...] = (
    Source(
        "train_val.prototxt",
        "a net whose data layer (Data, ImageData, HDF5Data, AnnotatedData) says source and preparation",
        lambda path: path.suffix.lower() == ".prototxt",
        _data_layer,
    ),
    Source(
        ".npz",
        "an array (N, ...) for each input blob, 'label' and 'scale' if needed",
        lambda path: path.suffix.lower() == ".npz",
        lambda path, prep, labels: NpzFile(path, prep, labels=labels),
    ),
    Source(
        ".npy",
        "one array (N, ...)",
        lambda path: path.suffix.lower() == ".npy",
        lambda path, prep, labels: NpyFile(path, prep, labels=labels),
    ),
    Source(
        "LMDB",
        "Caffe's database of Datum or AnnotatedDatum",
        is_lmdb,
        lambda path, prep, labels: Lmdb(path, prep, labels=labels),
    ),
    Source(
        "picture folder",
        "pictures; the names of subfolders are the classes",
        Path.is_dir,
        lambda path, prep, labels: Images(path, prep, labels=labels),
    ),
    Source(
        "HDF5",
        "an .h5 file, or a list of them, with a data set for each input blob and 'label'",
        lambda path: path.suffix.lower() in SUFFIXES or _first_line_ends(path, SUFFIXES),
        lambda path, prep, labels: Hdf5(path, prep, labels=labels),
    ),
    Source(
        "list file",
        "'path label', a path, or a path for each input on each line; pictures, .npy or raw .bin",
        lambda path: path.suffix.lower() not in PICTURES and _is_text(path),
        lambda path, prep, labels: ImageList(path, prep, labels=labels),
    ),
)
"""The first kind that a path is of counts."""


def _is_text(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"\0" not in file.read(1024)
    except OSError:
        return False


def open_data(data: Any, prep: _Prep = None, labels: Any = None) -> DataSet:
    """Returns a data set of whatever holds samples.

    Args:
        data: A path (`SOURCES`), a `DataSet`, a mapping from input blobs to arrays (N, ...), an iterable of batches, or an object with
            onnxruntime's ``get_next()``.
        prep: What is done with a sample before the net sees it; see `nuqconv.data.preparation.read_preparation`.
        labels: Labels that stand apart: a file, or one for each sample.

    Raises:
        FormatError: A file cannot be read, or is of no kind that is known.
        ConfigError: Preparation or labels do not go with the data.
    """
    if isinstance(data, str | os.PathLike):
        return _open_path(Path(data), prep, labels)
    if isinstance(data, DataSet):
        if labels is not None:
            raise ConfigError(f"{data.describe()}: give the labels where the data set is made")
        return data if prep is None else _prepared(data, prep)
    if isinstance(data, Mapping):
        given = labels if not isinstance(labels, str | Path) else None
        if given is not labels:
            raise ConfigError("labels in a file go with data in files; give one for each sample")
        return Arrays(data, labels, prep)
    if not (isinstance(data, Iterable) or callable(data) or hasattr(data, "get_next")):
        raise ConfigError(
            f"{type(data).__name__} holds no data: expected a path, a data set, arrays by input blob, or an iterable of batches"
        )
    if prep is not None or labels is not None:
        raise ConfigError(f"{type(data).__name__}: batches of a program are taken as they are, with their own labels")
    return Batches(data)


def _prepared(data: DataSet, prep: _Prep) -> DataSet:
    again = getattr(data, "with_preparation", None)
    if again is None:
        raise ConfigError(f"{data.describe()}: these are taken as they are; no preparation can be given")
    found: DataSet = again(prep)
    return found


def _open_path(path: Path, prep: _Prep, labels: Any) -> DataSet:
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        raise FormatError(f"{str(path)!r}: no file can have this name ({error})") from error
    if not there:
        raise FormatError(f"{path}: there is no such file or folder")
    for source in SOURCES:
        if source.is_one(path):
            return source.opens(path, prep, labels)
    known = [f"{source.name}: {source.holds}" for source in SOURCES]
    raise FormatError(f"{path}: is no data set that is known", known)
