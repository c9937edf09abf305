"""What a search is of, and how it differs from what a journal is of."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from nuqconv.errors import JournalError
from nuqconv.search.journal.store import connect, move_aside

__all__ = ["LATER", "admit", "checked_identity", "read_identity", "shortened"]

_SHORT = 24
_HASH = re.compile(r"[0-9a-f]{64}")


def checked_identity(identity: Mapping[str, str]) -> dict[str, str]:
    """Returns an identity as a dictionary.

    Raises:
        JournalError: It is empty, or a name or value is no text.
    """
    wrong = [f"{name!r}: {value!r:.60}" for name, value in identity.items() if not (type(name) is type(value) is str)]
    if wrong or not identity:
        raise JournalError("the identity of a search must be texts by name", wrong or ["there are none"])
    return dict(identity)


def read_identity(connection: sqlite3.Connection) -> dict[str, str]:
    """Returns the identity that a journal holds, in the order in which it was given."""
    return {
        str(name): str(value) for name, value in connection.execute("SELECT name, value FROM identity ORDER BY rowid")
    }


LATER = frozenset({"weights file", "own calibration data"})
"""Names that journals begun by an earlier version do not have; such a journal gets them when its search goes on."""


def admit(path: Path, wanted: Mapping[str, str], words: Mapping[str, str], *, restart: bool) -> bool:
    """Compare the identity of the journal that is there with the wanted one; another one's is refused or moved aside.

    Args:
        path: The journal.
        wanted: What the search is of.
        words: What to call the parts of that, for messages.
        restart: Whether another search's journal is moved aside.

    Returns:
        Whether this is the journal of another search that has not evaluated anything, so that the wanted one may begin in it: nothing is lost, and
        whoever corrects a command need not be asked.

    Raises:
        JournalError: It is the journal of another search and not to be restarted; every difference is listed.
    """
    connection = connect(path, writable=False)
    try:
        found = read_identity(connection)
        evaluated = connection.execute("SELECT count(*) FROM trials").fetchone()[0]
    finally:
        connection.close()
    names = list(dict.fromkeys([*found, *wanted]))
    problems = [
        _difference(words.get(name, name), found.get(name), wanted.get(name))
        for name in names
        if found.get(name) != wanted.get(name) and not (name in LATER and name not in found)
    ]
    if not problems:
        return False
    if not restart and not evaluated:
        return True
    if not restart:
        raise JournalError(
            f'{path}: is the journal of another search; --restart (on_mismatch="restart") keeps it under another name and begins a new one, '
            "or choose another file",
            problems,
        )
    move_aside(path)
    return False


def _difference(name: str, old: str | None, new: str | None) -> str:
    if old and new and _HASH.fullmatch(old) and _HASH.fullmatch(new):
        return f"{name} has changed"
    return f"{name}: {_pair(old, new)}"


def _pair(old: str | None, new: str | None) -> str:
    """Show two texts that differ, from where they begin to, if they are long."""
    if old is None or new is None:
        return f"in the journal {_quoted(old)}, now {_quoted(new)}"
    start = 0
    if old[:_SHORT] == new[:_SHORT]:
        start = next((i for i, (a, b) in enumerate(zip(old, new)) if a != b), min(len(old), len(new)))  # noqa: B905
        start = max(0, start - 4)
    lead = "..." if start else ""
    return f"in the journal {_quoted(old[start:], lead)}, now {_quoted(new[start:], lead)}"


def _quoted(text: str | None, lead: str = "") -> str:
    return "not there" if text is None else repr(lead + shortened(text))


def shortened(text: str) -> str:
    """Returns the beginning of a text."""
    return text if len(text) <= _SHORT else text[:_SHORT] + "..."
