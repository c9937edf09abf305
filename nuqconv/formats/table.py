"""The formats there are, and how files are told apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nuqconv.formats.base import FileKind, Format
from nuqconv.formats.caffe import CAFFE
from nuqconv.formats.onnx import ONNX

__all__ = ["FORMATS", "WANTED", "format_of", "kind_of", "target_of"]

FORMATS: tuple[Format, ...] = (CAFFE, ONNX)
"""All formats; the first is that of files which say nothing of themselves."""

WANTED = "a .prototxt followed by its .caffemodel, or an .onnx file"
"""What a model is, for messages."""


def _kinds() -> Iterator[tuple[Format, FileKind]]:
    for entry in FORMATS:
        for kind in entry.kinds:
            yield entry, kind


def kind_of(path: Path) -> tuple[Format, FileKind] | None:
    """Returns what a file is: by its content, and by its name where the content does not tell (it is missing, cut, a pipe); None if neither does."""
    for told in (_recognizes, FileKind.named):
        for entry, kind in _kinds():
            if told(kind, path):
                return entry, kind
    return None


def format_of(path: Path) -> Format:
    """Returns the format of a model whose first file is at a path."""
    found = kind_of(path)
    return FORMATS[0] if found is None else found[0]


def target_of(given: Sequence[Path]) -> tuple[Format, tuple[Path, ...]] | None:
    """Returns the format and the files in which a model is to be written, recognized by their names; see `Format.targets`."""
    for entry in FORMATS:
        paths = entry.targets(given)
        if paths is not None:
            return entry, paths
    return None


def _recognizes(kind: FileKind, path: Path) -> bool:
    return kind.recognizes(path)
