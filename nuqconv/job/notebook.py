"""What a journal holds for its report, besides what the search needs: what was asked, the network, and the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

from nuqconv.errors import FormatError, JournalError, NuqconvError
from nuqconv.files.safe_json import parse
from nuqconv.job.about import About
from nuqconv.job.network_facts import NetworkFacts
from nuqconv.report.document import Document
from nuqconv.search.journal import Journal

__all__ = ["note_network", "note_result", "note_run", "noted_network", "noted_picture", "noted_result", "noted_run"]

_T = TypeVar("_T")
_RUN, _PICTURE, _NETWORK, _RESULT = "run", "picture", "network", "result"


def note_run(journal: Journal | None, about: About, picture: bytes | None) -> bytes | None:
    """Notes what a run is asked for and a picture of its data, and returns the picture; an earlier result is no longer that of this journal."""
    if journal is not None:
        digest = None if picture is None else hashlib.sha256(picture).hexdigest()
        assets = {} if picture is None or digest is None else {digest: picture}
        journal.set_facts({_RUN: about.to_json(), _PICTURE: digest, _RESULT: None}, assets)
    return picture


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
