"""The SQLite side of the journal: its schema, connections, and errors in words. The format is described in ``docs/formats.md``."""

from __future__ import annotations

import glob
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from nuqconv.errors import JournalError

__all__ = [
    "APPLICATION_ID",
    "SCHEMA_VERSION",
    "connect",
    "create",
    "guarded",
    "has_facts",
    "journal_files",
    "move_aside",
    "moved_aside",
    "remove_unfinished",
    "transaction",
    "version_of",
]

APPLICATION_ID = 0x6E757163
"""``nuqc``, in the header of every journal."""

SCHEMA_VERSION = 3
"""What is written. A journal of format 1 has no table of facts, one of format 2 none of solved layers: it is read as it is, and gets them when it
is written to."""

_SECONDS_TO_WAIT = 5.0

# Columns of numbers have no declared type: in a REAL column SQLite would store -0.0 as 0.
_SEARCH = """CREATE TABLE search (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  created TEXT NOT NULL,
  original CHECK (typeof(original) IN ('real', 'null')),
  float_bytes CHECK (typeof(float_bytes) IN ('real', 'null')),
  space TEXT
)"""
_IDENTITY = "CREATE TABLE identity (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL)"
_ASSETS = "CREATE TABLE assets (digest TEXT PRIMARY KEY NOT NULL, size INTEGER NOT NULL, data BLOB NOT NULL)"
_TRIALS = """CREATE TABLE trials (
  sequence INTEGER PRIMARY KEY,
  number INTEGER NOT NULL,
  step TEXT NOT NULL,
  digest TEXT NOT NULL UNIQUE,
  plan TEXT NOT NULL,
  metric NOT NULL CHECK (typeof(metric) = 'real'),
  accepted INTEGER NOT NULL CHECK (accepted IN (0, 1)),
  bytes NOT NULL CHECK (typeof(bytes) = 'real'),
  float_layers TEXT NOT NULL,
  seconds NOT NULL CHECK (typeof(seconds) = 'real'),
  worker TEXT NOT NULL,
  finished TEXT NOT NULL
)"""
_FACTS = "CREATE TABLE facts (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL)"
_LAYERS = "CREATE TABLE layers (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL, assets TEXT NOT NULL)"
_FIRST, _LATER = (_SEARCH, _IDENTITY, _ASSETS, _TRIALS), (_FACTS, _LAYERS)
_SCHEMAS = {version: (*_FIRST, *_LATER[: version - 1]) for version in range(1, SCHEMA_VERSION + 1)}

_REMEDIES = (
    ("file is not a database", "it is no journal; choose another file"),
    ("Could not decode", "it is damaged; restore it from a copy, or move it away and begin again"),
    ("malformed", "it is damaged; restore it from a copy, or move it away and begin again"),
    ("disk is full", "the disk is full; make room and start again, what was recorded before is kept"),
    ("readonly", "it cannot be written to; choose a folder and a file that can"),
    ("unable to open", "it cannot be opened; its folder must be there, and writable while a search runs"),
    ("locking protocol", "its file system has no locks; put the journal on a local disk"),
    ("locked", "another program has it locked; wait for its end and start again"),
    ("disk I/O", "the disk reports an error, or its file system cannot hold a journal; put it on a local disk"),
    ("too big", "it is larger than SQLite can hold; search without a journal"),
)


def journal_files(path: Path) -> list[Path]:
    """Returns all files that belong to a journal while it is written, whether they are there or not."""
    return [path.with_name(path.name + ending) for ending in ("", "-wal", "-shm", "-journal", ".lock")]


@contextmanager
def guarded(path: Path, doing: str) -> Iterator[None]:
    """Turns every failure of SQLite and of the file system into an error that names file, cause and remedy.

    Raises:
        JournalError: There was one.
    """
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        remedy = next((words for part, words in _REMEDIES if part in text), "choose another file for the journal")
        raise JournalError(f"{path}: {doing} the journal failed: {text}; {remedy}") from error
    except OSError as error:
        raise JournalError(
            f"{path}: {doing} the journal failed: {error.strerror or error}; choose another place for it"
        ) from error
    except (UnicodeError, OverflowError) as error:
        raise JournalError(
            f"{path}: {doing} the journal failed: {error}; it is damaged, or was given what it cannot hold"
        ) from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Makes what is done inside of it happen wholly or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    """Opens a journal that is there, after a look at it that changes nothing.

    Args:
        path: The journal, resolved.
        writable: Whether to write (in WAL mode, every transaction synced to disk) or only to read, also while another process writes.

    Raises:
        JournalError: There is none, it is no journal, damaged, or of a newer schema.
        sqlite3.Error, OSError: As SQLite and the file system report them.
    """
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind):
        raise JournalError(f"{path}: is no file; choose another name for the journal")
    try:
        connection = _checked(path, "ro")
    except sqlite3.OperationalError:
        # A journal that was left in the middle of a change of modes has to be rolled back first, which reading alone cannot do.
        if not _beside(path, "-journal").exists():
            raise
        connection = _checked(path, "rw")
    if not writable:
        connection.execute("PRAGMA query_only = ON")
        return connection
    connection.close()
    connection = _checked(path, "rw", thorough=False)
    try:
        _begin_log(connection)
        _bring_up_to_date(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def create(path: Path, fill: Iterator[tuple[str, tuple[object, ...]]]) -> None:
    """Makes a new journal, which appears whole or not at all, and overwrites nothing.

    Args:
        path: Where; nothing may be there.
        fill: Statements for its first content, with their values.
    """
    left = [str(item) for item in (_beside(path, end) for end in ("-wal", "-shm", "-journal")) if item.exists()]
    if left:
        raise JournalError(
            f"{path}: is not there, but files that belonged to it are: {', '.join(left)}; restore it, or move them away"
        )
    ready = _unfinished(path)
    try:
        with closing(sqlite3.connect(ready, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            with transaction(connection):
                for statement in _SCHEMAS[SCHEMA_VERSION]:
                    connection.execute(statement)
                for statement, values in fill:
                    connection.execute(statement, values)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        _rename(ready, path)
    finally:
        with suppress(OSError):
            ready.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Removes what a search that was killed while it made the journal has left. Whoever holds the lock is alone here."""
    ready = _unfinished(path)
    for left in (ready, _beside(ready, "-journal")):
        left.unlink(missing_ok=True)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.nuqconv-new")


def move_aside(path: Path) -> Path:
    """Gives a journal, which nobody may have open, the first free name of NAME.1, NAME.2 and so on; returns it."""
    with closing(_checked(path, "rw", thorough=False)) as connection:
        # The whole of it has to be in the one file that is renamed.
        if connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0] != "delete":
            raise sqlite3.OperationalError("database is locked")
    number = 1
    while os.path.lexists(target := path.with_name(f"{path.name}.{number}")):
        if os.path.samestat(target.stat(follow_symlinks=False), path.stat()):
            # A search that was killed came half the way.
            path.unlink()
            return target
        number += 1
    _rename(path, target)
    return target


def moved_aside(path: Path) -> Path | None:
    """Returns the journal that was written last of those that `move_aside` has renamed, or None if there are none."""
    ends = (
        item for item in path.parent.glob(f"{glob.escape(path.name)}.*") if item.name[len(path.name) + 1 :].isdecimal()
    )
    return max((item for item in ends if item.is_file()), key=lambda item: item.stat().st_mtime_ns, default=None)


def _checked(path: Path, mode: str, *, thorough: bool = True) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=_SECONDS_TO_WAIT,
        check_same_thread=False,
    )
    try:
        for setting in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
            connection.execute(f"PRAGMA {setting}").close()
        _check(connection, path)
        if thorough:
            _check_pages(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _begin_log(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise sqlite3.OperationalError("locking protocol: no write-ahead log can be kept here")
    connection.execute("PRAGMA synchronous = FULL")
    # Until it has read something the log is not open, and a reader that comes first keeps it from ever being removed.
    connection.execute("SELECT id FROM search").fetchall()


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    missing = _LATER[version_of(connection) - 1 :]
    if missing:
        with transaction(connection):
            for statement in missing:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def has_facts(connection: sqlite3.Connection) -> bool:
    """Says whether a journal has a table of facts."""
    return version_of(connection) > 1


def version_of(connection: sqlite3.Connection) -> int:
    """Returns the format of a journal."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise JournalError(f"{path}: is no journal of nuqconv; choose another file")
    version = version_of(connection)
    if version not in _SCHEMAS:
        raise JournalError(
            f"{path}: is a journal of format {version}, and this version reads formats 1 to {SCHEMA_VERSION}; "
            "use the version of nuqconv that wrote it, or another file"
        )
    found = set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))
    if found != _expected(version):
        names = sorted({str(row[1]) for row in found ^ _expected(version)})
        raise JournalError(
            f"{path}: has another schema than a journal of nuqconv ({', '.join(names)[:200]}); choose another file"
        )


def _check_pages(connection: sqlite3.Connection) -> None:
    faults = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
    if faults != ["ok"]:
        raise sqlite3.DatabaseError(f"malformed: {faults[0]:.200}")


@lru_cache
def _expected(version: int) -> frozenset[tuple[str, str, str, str | None]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in _SCHEMAS[version]:
            connection.execute(statement)
        return frozenset(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _rename(source: Path, target: Path) -> None:
    """Renames a file without ever overwriting another, for good once this has returned."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:
        # The file system has no links.
        if os.path.lexists(target):
            raise
        source.rename(target)
    else:
        try:
            source.unlink()
        except OSError:
            with suppress(OSError):
                target.unlink()
            raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
