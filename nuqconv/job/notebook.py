"""What a journal holds for its report, besides what the search needs: what was asked, the network, and the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nuqconv.errors import FormatError, JournalError, NuqconvError
from nuqconv.files.digest import file_digest
from nuqconv.files.json_model import JsonModel, Text, read_object
from nuqconv.files.safe_json import parse
from nuqconv.job.about import About
from nuqconv.job.network_facts import NetworkFacts
from nuqconv.report.document import Document
from nuqconv.search.journal import Journal

__all__ = [
    "note_network",
    "note_result",
    "note_run",
    "note_source",
    "noted_network",
    "noted_picture",
    "noted_result",
    "noted_run",
    "noted_source",
]

_T = TypeVar("_T")
_RUN, _PICTURE, _NETWORK, _RESULT, _SOURCE = "run", "picture", "network", "result", "source"


def note_run(journal: Journal | None, about: About, picture: bytes | None) -> bytes | None:
    """Notes what a run is asked for and a picture of its data, and returns the picture; an earlier result is no longer that of this journal."""
    if journal is not None:
        digest = None if picture is None else hashlib.sha256(picture).hexdigest()
        assets = {} if picture is None or digest is None else {digest: picture}
        journal.set_facts({_RUN: about.to_json(), _PICTURE: digest, _RESULT: None}, assets)
    return picture


@dataclass(frozen=True)
class NotedSource:
    """What a search was made of, as far as its files are to be made again.

    Attributes:
        files: The model's files with their SHA-256, in the order of its format.
        configuration: The text of the quantization configuration.
        input_shapes: Shapes for inputs by name, instead of the file's.
        onnx: Whether ONNX models were written.
    """

    files: Mapping[Path, str]
    configuration: str
    input_shapes: Mapping[str, tuple[int, ...]]
    onnx: bool


class _SourceJson(JsonModel):
    files: dict[Text, Text]
    configuration: str
    input_shapes: dict[Text, list[int]]
    onnx: bool


def note_source(
    journal: Journal | None,
    files: Sequence[Path],
    configuration: bytes,
    input_shapes: Mapping[str, Sequence[int]],
    *,
    onnx: bool,
) -> None:
    """Notes what the files of a trial can be made of later."""
    if journal is not None:
        digest = hashlib.sha256(configuration).hexdigest()
        content = {
            "files": {str(path.absolute()): file_digest(path) for path in files},
            "configuration": digest,
            "input_shapes": {name: list(shape) for name, shape in input_shapes.items()},
            "onnx": onnx,
        }
        journal.set_facts({_SOURCE: json.dumps(content)}, {digest: configuration})


def noted_source(journal: Journal) -> NotedSource | None:
    """Returns what the files of a trial can be made of, or None if the journal does not tell.

    Raises:
        JournalError: The journal is damaged.
    """
    text = journal.fact(_SOURCE)
    return None if text is None else _read(journal, lambda: _source(journal, text))


def _source(journal: Journal, text: str) -> NotedSource:
    problems: list[str] = []
    try:
        found = read_object(_SourceJson, parse(text), (), problems)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the account of the model is no JSON: {error}") from error
    if found is None:
        raise FormatError("the account of the model is damaged", problems)
    shapes = {name: tuple(shape) for name, shape in found.input_shapes.items()}
    configuration = journal.asset(found.configuration).decode("utf-8-sig")
    files = {Path(path): digest for path, digest in found.files.items()}
    return NotedSource(files, configuration, shapes, found.onnx)


def note_network(journal: Journal | None, network: NetworkFacts) -> NetworkFacts:
    """Notes what the network was, and returns it."""
    if journal is not None:
        journal.set_facts({_NETWORK: network.to_json()})
    return network


def note_result(journal: Journal | None, document: Document) -> None:
    """Notes what was found."""
    if journal is not None:
        text = json.dumps(document.to_object(), allow_nan=False, separators=(",", ":"))
        journal.set_facts({_RESULT: text})


def noted_run(journal: Journal) -> About | None:
    """Returns what the last run was asked for, or None if the journal does not tell.

    Raises:
        JournalError: The journal is damaged.
    """
    text = journal.fact(_RUN)
    return None if text is None else _read(journal, lambda: About.from_json(text))


def noted_picture(journal: Journal) -> bytes | None:
    """Returns the picture of the data, or None if there is none.

    Raises:
        JournalError: The journal is damaged.
    """
    digest = journal.fact(_PICTURE)
    return None if digest is None else journal.asset(digest)


def noted_network(journal: Journal) -> NetworkFacts | None:
    """Returns what the network was, or None if the journal does not tell.

    Raises:
        JournalError: The journal is damaged.
    """
    text = journal.fact(_NETWORK)
    return None if text is None else _read(journal, lambda: NetworkFacts.from_json(text))


def noted_result(journal: Journal) -> Document | None:
    """Returns what was found, or None if the search has not come to its end.

    Raises:
        JournalError: The journal is damaged.
    """
    text = journal.fact(_RESULT)
    return None if text is None else _read(journal, lambda: _document(text))


def _document(text: str) -> Document:
    try:
        value: Any = parse(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the account of the search is no JSON: {error}") from error
    return Document.from_object(value)


def _read(journal: Journal, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except NuqconvError as error:
        raise JournalError(f"{journal.path}: the journal is damaged: {error}") from error
