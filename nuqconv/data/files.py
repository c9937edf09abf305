"""Pictures and arrays in files of their own: a folder of them, or a list."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nuqconv.data.labels import (
    as_labels,
    label_bytes,
    label_files,
    read_class_map,
    read_classes,
    read_labels,
    read_lines,
    read_voc,
)
from nuqconv.data.pictures import SUFFIXES, read_picture
from nuqconv.data.preparation import Preparation
from nuqconv.data.samples import Reader, Sample, SampleSet
from nuqconv.errors import ConfigError, FormatError, some_of
from nuqconv.files.bounded import MOST_BINARY, read_bounded
from nuqconv.ir import Array

__all__ = ["ImageList", "Images"]

_ARRAYS = (".bin", ".npy")
_KNOWN = "|".join(sorted(suffix[1:] for suffix in (*SUFFIXES, *_ARRAYS, ".xml")))
_LEADING_PATH = re.compile(rf"(\S.*?\.(?:{_KNOWN}))(?:[ \t]+|$)", re.IGNORECASE)


class _Files(SampleSet):
    """Samples whose arrays are files: rows of paths, one path for each input, and truths."""

    def __init__(self, source: str, **options: Any) -> None:
        super().__init__(source, **options)
        self.rows: list[tuple[Path, ...]] = []
        self.truths: list[Any] | None = None
        """Labels, or the files that hold them."""
        self.ids: list[str] = []
        self.classes: Mapping[str, int] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """Number of arrays in a sample."""
        return len(self.rows[0])

    def has_labels(self) -> bool:
        """Says whether the samples have labels."""
        return self.truths is not None

    def has_pictures(self) -> bool:
        """Whether the files are pictures."""
        return self.rows[0][0].suffix.lower() not in _ARRAYS

    def readers(self) -> Iterator[tuple[str, Reader]]:
        """Yields for each sample its name and what reads it."""
        for place, row in enumerate(self.rows):
            truth = None if self.truths is None else self.truths[place]
            yield self.ids[place], partial(self._read, row, truth, self.ids[place])

    def contents(self) -> Iterator[bytes]:
        """Yields hashes of the files, and the labels."""
        for place, row in enumerate(self.rows):
            truth = None if self.truths is None else self.truths[place]
            for path in (*row, *([truth] if isinstance(truth, Path) else [])):
                try:
                    yield hashlib.sha256(read_bounded(path, MOST_BINARY)).digest()
                except OSError as error:
                    raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
            if not isinstance(truth, Path):
                yield label_bytes(truth)
        yield label_bytes(sorted(self.classes.items()))

    def _read(self, row: Sequence[Path], truth: Any, name: str) -> Sample:
        try:
            arrays = tuple(self._array(path, blob) for path, blob in zip(row, self.names, strict=True))
            return arrays, self._truth(truth, name)
        except FormatError as error:
            where = "" if str(error).startswith(name) else f"{name}: "
            raise FormatError(f"{where}{error}") from error

    def _array(self, path: Path, blob: str) -> Array:
        try:
            if path.suffix.lower() == ".bin":
                return self.prep.array(_raw(path, self.wanted.get(blob)), ordered=True)
            if path.suffix.lower() == ".npy":
                from nuqconv.data.arrays import read_npy  # noqa: PLC0415  (it builds on this)

                return self.prep.array(read_npy(path), ordered=True)
            return self.prep.picture(read_picture(path, self.prep.reading))
        except FormatError as error:
            where = "" if str(error).startswith(str(path)) else f"{path}: "
            raise FormatError(f"{where}{error}") from error

    def _truth(self, truth: Any, name: str) -> Any:
        if not isinstance(truth, Path):
            return truth
        if truth.suffix.lower() == ".xml":
            return self._checked_boxes(read_voc(truth, self.classes), name)
        return self.prep.label_map(read_class_map(truth))

    def _set_labels(self, labels: str | Path | Sequence[Any] | None) -> None:
        """Takes labels that stand apart: a file or folder, or one for each sample."""
        if labels is None:
            return
        names = [str(row[0]) for row in self.rows]
        if self.truths is not None and all(isinstance(truth, Path) for truth in self.truths):
            if not isinstance(labels, str | Path):
                raise ConfigError(f"{self.source}: labels= must be the file with the names of the classes")
            self.classes = read_classes(labels)
        elif isinstance(labels, str | Path):
            self.truths = list(
                label_files(Path(labels), names) if Path(labels).is_dir() else read_labels(labels, names)
            )
        elif len(labels) != len(self.rows):
            raise ConfigError(f"{self.source}: there are {len(labels)} labels for {len(self.rows)} samples")
        else:
            self.truths = [int(label) if isinstance(label, np.integer) else label for label in labels]

    def _check_classes(self) -> None:
        xml = self.truths is not None and any(
            isinstance(truth, Path) and truth.suffix.lower() == ".xml" for truth in self.truths
        )
        if xml and not self.classes:
            raise ConfigError(
                f"{self.source}: annotations name their classes; say which number each has, in a labelmap.prototxt or a text with one name a line "
                "(classes=, --labels)"
            )


def _raw(path: Path, wanted: Sequence[int | None] | None) -> Array:
    """Returns raw float32 or uint8 numbers in the shape that the net takes."""
    if wanted is None or None in wanted:
        raise FormatError(
            f"{path}: raw numbers have no shape of their own; it is that of the net's input, which is not known here"
        )
    try:
        data = read_bounded(path, MOST_BINARY)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    sizes = tuple(size for size in wanted if size is not None)
    count = int(np.prod(sizes, dtype=np.int64))
    for dtype in (np.dtype("<f4"), np.dtype(np.uint8)):
        if len(data) == count * dtype.itemsize:
            values: Array = np.frombuffer(data, dtype).reshape(sizes)
            if not np.isfinite(values).all():
                raise FormatError(f"{path}: holds NaN or infinity")
            return values
    raise FormatError(
        f"{path}: has {len(data)} bytes; the net's {'x'.join(map(str, sizes))} numbers take {4 * count} as float32 or {count} as uint8"
    )


class Images(_Files):
    """A folder of pictures; the names of its subfolders are the classes.

    The classes are numbered in the order of their sorted names, or by the names themselves where all of them are numbers. Hidden files and files
    that are no pictures are left out.

    Args:
        folder: The folder.
        prep: What is done with a picture: a text, a file or a `Preparation`.
        labels: Labels instead of those of subfolders: a file (see `nuqconv.data.labels.read_labels`), a folder of VOC's XML or of maps of
            classes with the pictures' names, or one label for each picture in the sorted order of their paths.
        classes: For XML: the file with the names of the classes.
        inputs: Name of the input blob; by default that of the net.

    Raises:
        FormatError: There are no pictures, or some have no label; all faults are listed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        prep: str | Path | Preparation | None = None,
        *,
        labels: str | Path | Sequence[Any] | None = None,
        classes: str | Path | None = None,
        inputs: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(f"{os.fspath(folder).rstrip('/')}/", prep=prep, inputs=inputs)
        self.folder = Path(folder)
        paths, others = _pictures(self.folder)
        self.rows = [(path,) for path in paths]
        self.ids = [str(path) for path in paths]
        self.class_names: tuple[str, ...] = ()
        if others:
            self.notes += (f"{len(others)} files that are no pictures are left out: {some_of(others, 3)}",)
        if labels is None:
            self._number_classes(paths)
        self._set_labels(labels)
        if classes is not None:
            self.classes = read_classes(classes)
        self._check_classes()

    def describe(self) -> str:
        """Returns what the set is in a few words."""
        names = self.class_names
        if not names:
            return super().describe()
        shown = ", ".join(names if len(names) <= 4 else (*names[:2], "...", names[-1]))
        return f"{super().describe()}, {len(names)} classes ({shown})"

    def _number_classes(self, paths: Sequence[Path]) -> None:
        folders = [path.relative_to(self.folder).parts[0] if path.parent != self.folder else "" for path in paths]
        if not any(folders):
            return
        loose = [str(path) for path, name in zip(paths, folders, strict=True) if not name]
        if loose:
            raise FormatError(
                f"{self.source}: pictures of classes lie in subfolders, but these do not",
                [f"{name} has no label" for name in loose],
            )
        names = sorted(set(folders))
        numbers = as_labels(names)
        if all(isinstance(number, int) for number in numbers):
            self.class_names = tuple(sorted(names, key=int))
            self.truths = [int(name) for name in folders]
        else:
            self.class_names = tuple(names)
            self.truths = [names.index(name) for name in folders]


def _pictures(folder: Path) -> tuple[list[Path], list[str]]:
    """Returns the pictures below a folder in sorted order, and the names of other files."""
    if not folder.is_dir():
        raise FormatError(f"{folder}: is no folder")
    found: list[Path] = []
    others: list[Path] = []
    try:
        for place, folders, names in os.walk(folder, followlinks=False):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in names:
                if not name.startswith("."):
                    path = Path(place, name)
                    (found if path.suffix.lower() in SUFFIXES else others).append(path)
    except OSError as error:
        raise FormatError(f"{folder}: cannot be read: {error.strerror or error}") from error
    if not found:
        kinds = f"; it has {len(others)} other files" if others else ""
        raise FormatError(f"{folder}: has no pictures ({', '.join(sorted(SUFFIXES))}){kinds}")
    return sorted(found), sorted(str(path.relative_to(folder)) for path in others)


@dataclass(frozen=True)
class _Line:
    number: int
    paths: tuple[str, ...]
    label: str | None


class ImageList(_Files):
    """A list of files, a sample on each line: a path and a label, as Caffe's ImageData has it; paths alone; or a path for each input.

    The last blank parts the label from the path, so that paths may hold blanks; a tab parts a text with blanks. A last path to an .xml is VOC's
    annotation, and a last path beyond the net's inputs a map of classes. Files are pictures, or .npy, or .bin with raw float32 or uint8 numbers in
    the shape that the net takes.

    Args:
        path: The list.
        prep: What is done with a picture: a text, a file or a `Preparation`.
        root: Put before each path, as root_folder of ImageData. By default paths are relative to the working directory, or to the list's folder
            where the first one is not there.
        labels: A file with labels instead (see `nuqconv.data.labels.read_labels`), a folder of truths, or one label for each line; for XML the
            file with the names of the classes.
        inputs: Names of the input blobs; by default those of the net.

    Raises:
        FormatError: Lines are wrong, or files are not there; all of them are named.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        prep: str | Path | Preparation | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        labels: str | Path | Sequence[Any] | None = None,
        inputs: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(os.fspath(path), prep=prep, inputs=inputs)
        base, lines = _read_list(Path(path), None if root is None else os.fspath(root))
        self.ids = [f"{os.fspath(path)}:{line.number}" for line in lines]
        self.rows = [tuple(base(item) for item in line.paths) for line in lines]
        texts = [line.label for line in lines if line.label is not None]
        if texts:
            self.truths = list(as_labels(texts))
        elif self.rows[0][-1].suffix.lower() == ".xml":
            self._last_is_truth()
        if inputs is not None and self.width == len(self.names) + 1 and self.truths is None:
            self._last_is_truth()
        self._set_labels(labels)
        self._check_classes()

    def for_net(self, inputs: Mapping[str, Sequence[int | None]]) -> Any:
        """Returns the set for a net; a path beyond its inputs is a map of classes."""
        if self.inputs is None and self.truths is None and self.width == len(inputs) + 1:
            found = self._changed()
            found._last_is_truth()  # noqa: SLF001
            return found.for_net(inputs)
        return super().for_net(inputs)

    def _last_is_truth(self) -> None:
        self.truths = [row[-1] for row in self.rows]
        self.rows = [row[:-1] for row in self.rows]
        if not self.rows[0]:
            raise FormatError(f"{self.source}: its lines name truths, but no picture")


def _read_list(path: Path, root: str | None) -> tuple[Any, list[_Line]]:
    """Returns what makes a path of a text of the list, and the lines; every file is there."""
    texts = read_lines(path)
    if not texts:
        raise FormatError(f"{path}: is empty; expected 'path label' or a path on each line")
    base = _base(path, root, texts[0][1])
    lines = [_line(number, text, base) for number, text in texts]
    problems = [
        f"{path}:{line.number}: {problem}"
        for line in lines
        for item in line.paths
        if (problem := _path_problem(item, root, base(item))) is not None
    ]
    if len(problems) == sum(len(line.paths) for line in lines) > 1:
        raise FormatError(
            f"{path}: of {len(problems)} files that its lines name not one is there; if it is a list of 'path label' lines, run in the folder that "
            f"the paths are relative to, or give it as the root",
            problems[:3],
        )
    first = lines[0]
    for line in lines:
        if len(line.paths) != len(first.paths):
            problems.append(
                f"{path}:{line.number}: has {len(line.paths)} paths, line {first.number} has {len(first.paths)}"
            )
        if (line.label is None) != (first.label is None):
            lacking = line if line.label is None else first
            problems.append(f"{path}:{lacking.number}: the label is missing")
    if problems:
        raise FormatError(f"{path}: the list cannot be used", dict.fromkeys(problems))
    return base, lines


def _base(path: Path, root: str | None, text: str) -> Any:
    """Returns what makes a path of a text of the list."""
    if root is not None:
        return lambda item: Path(root + item)  # as Caffe does it: one text behind the other

    def beside(item: str) -> Path:
        return path.parent / item

    found = any(_is_file(Path(item)) for item in _line(0, text, Path).paths)
    return Path if found else beside


def _line(number: int, text: str, base: Any) -> _Line:
    """Reads a line: where the files that are there tell, they decide."""
    text = text.strip()
    before, blank, after = text.rpartition("\t" if "\t" in text else " ")
    if _is_file(base(text)):
        return _Line(number, (text,), None)
    if blank and _is_file(base(before.strip())) and not _is_file(base(after)) and not _LEADING_PATH.fullmatch(after):
        return _Line(number, (before.strip(),), after.strip())
    paths, place = [], 0
    while (found := _LEADING_PATH.match(text, place)) is not None:
        paths.append(found[1])
        place = found.end()
    if paths:
        return _Line(number, tuple(paths), text[place:].strip() or None)
    return _Line(number, (before.strip(),), after.strip()) if blank else _Line(number, (text,), None)


def _path_problem(item: str, root: str | None, path: Path) -> str | None:
    inner = os.path.normpath(item.lstrip("/") if root is not None else item)
    if inner == ".." or inner.startswith(f"..{os.sep}"):
        return f"'{item}' leads outside of {root or 'the folder that it is relative to'}; write it with its whole path"
    return None if _is_file(path) else f"{path}: there is no such file"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
