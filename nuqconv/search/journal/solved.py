"""Solved layers in a journal: each is kept when it is done, under a key that says all that it depends on.

They do not depend on what the search is of beyond that key, so another search takes them over: one that begins in the same file, and one whose
journal stands beside the one that was moved aside for it.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from nuqconv.errors import JournalError
from nuqconv.search.journal.store import connect, moved_aside, version_of

__all__ = ["INSERT_SOLVED", "carried", "forget_others", "has_solved", "keep_solved_only"]

_LOG = logging.getLogger(__name__)

INSERT_SOLVED = "INSERT OR REPLACE INTO layers VALUES (?, ?, ?)"
_FORMAT = 3
_KINDS = (str, str, str)


def has_solved(connection: sqlite3.Connection) -> bool:
    """Says whether a journal has a table of solved layers."""
    return version_of(connection) >= _FORMAT


def carried(path: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yields statements that put the solved layers of the journal moved aside last into a new one, a layer at a time.

    Args:
        path: The new journal.
    """
    source = moved_aside(path)
    if source is None:
        return
    try:
        with closing(connect(source, writable=False)) as connection:
            if not has_solved(connection):
                return
            for row in connection.execute("SELECT key, value, assets FROM layers ORDER BY key"):
                if all(type(item) is kind for item, kind in zip(row, _KINDS, strict=True)):
                    for digest in row[2].split():
                        found = connection.execute("SELECT digest, size, data FROM assets WHERE digest = ?", (digest,))
                        # What it holds is checked when it is taken.
                        yield from (("INSERT OR IGNORE INTO assets VALUES (?, ?, ?)", asset) for asset in found)
                    yield INSERT_SOLVED, row
    except (JournalError, sqlite3.Error, OSError) as error:
        _LOG.warning("layers solved earlier are not taken from %s: %s", source, error)


def forget_others(connection: sqlite3.Connection, keys: Collection[str]) -> None:
    """Removes all solved layers but some, and what only they refer to.

    Args:
        connection: The journal, in a transaction.
        keys: Those that stay.
    """
    rows = connection.execute("SELECT key, assets FROM layers").fetchall()
    stay = {digest for key, assets in rows if key in keys for digest in str(assets).split()}
    for key, assets in rows:
        if key not in keys:
            connection.execute("DELETE FROM layers WHERE key = ?", (key,))
            gone = set(str(assets).split()) - stay
            connection.executemany("DELETE FROM assets WHERE digest = ?", ((digest,) for digest in gone))


def keep_solved_only(connection: sqlite3.Connection) -> None:
    """Empties a journal but for its solved layers and what they refer to; a search can begin in it.

    Args:
        connection: The journal, in a transaction.
    """
    for table in ("identity", "facts", "trials"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608
    connection.execute("UPDATE search SET original = NULL, float_bytes = NULL, space = NULL")
    named = {digest for (assets,) in connection.execute("SELECT assets FROM layers") for digest in str(assets).split()}
    there = [digest for (digest,) in connection.execute("SELECT digest FROM assets")]
    connection.executemany("DELETE FROM assets WHERE digest = ?", ((item,) for item in there if item not in named))
