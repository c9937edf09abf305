"""The journal of a search: what was found out stays, however the search ends, and need not be found out again.

It is one SQLite file beside the outputs, written with a write-ahead log and synced at every transaction. It holds what the search was
of, the metric of the original model, the integers and the space that calibration led to, and every trial. Format: ``docs/formats.md``.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from itertools import chain
from os import PathLike, fspath
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Literal

from nuqconv.errors import JournalError
from nuqconv.quantize.plan import Plan
from nuqconv.search.journal.assets import packed, unpacked
from nuqconv.search.journal.identity import LATER, admit, checked_identity, read_identity, shortened
from nuqconv.search.journal.lock import JournalLock, lock_holder
from nuqconv.search.journal.record import COLUMNS, JournalRecord, parse_row
from nuqconv.search.journal.solved import INSERT_SOLVED, carried, forget_others, has_solved, keep_solved_only
from nuqconv.search.journal.store import connect, create, guarded, has_facts, remove_unfinished, transaction
from nuqconv.search.trial import Measured

__all__ = ["Journal"]

_NOTHING: Mapping[str, bytes] = MappingProxyType({})
_UNTOUCHED = "untouched bytes"
_INSERT_ASSETS = "INSERT OR REPLACE INTO assets VALUES (?, ?, ?)"


class Journal:
    """The journal of one search; a context manager, made by `open` or `read`.

    Methods may be called from several threads. Whatever is wrong with the file is a `JournalError`, at every call.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: JournalLock | None) -> None:
        self._path = path
        self._connection = connection
        self._lock = lock
        self._guard = threading.RLock()
        self._asked: set[str] = set()

    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        identity: Mapping[str, str],
        *,
        on_mismatch: Literal["refuse", "restart"] = "refuse",
        words: Mapping[str, str] | None = None,
    ) -> Journal:
        """Begin a journal, or go on with the one that is there.

        Args:
            path: The file; its folder is made if it does not exist. A symbolic link is followed.
            identity: What the search is of, texts by name: hashes of model, configuration and data, and so on. Metrics in a journal
                with the same identity are taken as if they had been measured now.
            on_mismatch: What to do with the journal of another search: ``"refuse"`` it, or ``"restart"``: it is kept as NAME.1 (or the
                next free number) and a new one is begun. One that has recorded no evaluation is replaced. Solved layers stay in any case.
            words: What to call the parts of the identity in messages, such as the name of a file.

        Raises:
            JournalError: It belongs to another search (every difference is listed), another search writes it now, it is no journal,
                of another format, damaged, or cannot be written. What is there stays as it is.
        """
        if on_mismatch not in ("refuse", "restart"):
            raise JournalError(f"on_mismatch must be 'refuse' or 'restart', found {on_mismatch!r}")
        place = _resolved(path)
        wanted = checked_identity(identity)
        with guarded(place, "opening"):
            place.parent.mkdir(parents=True, exist_ok=True)
        lock = JournalLock(place)
        try:
            with guarded(place, "opening"):
                remove_unfinished(place)
                fresh = place.exists() and admit(place, wanted, words or {}, restart=on_mismatch == "restart")
                if not place.exists():
                    create(place, chain(_first_content(wanted), carried(place)))
                journal = cls(place, connect(place, writable=True), lock)
                if fresh:
                    journal._begin_again(wanted)
                journal._complete_identity(wanted)
                return journal
        except BaseException:
            lock.release()
            raise

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Journal:
        """Open a journal to look at it, also while a search writes it.

        Raises:
            JournalError: There is none, it is no journal, of another format, or damaged.
        """
        place = _resolved(path)
        if not place.exists():
            raise JournalError(
                f"{path}: there is no such journal; nuqconv auto --save DIR/PREFIX keeps one as DIR/PREFIX_trials.sqlite"
            )
        with guarded(place, "reading"):
            return cls(place, connect(place, writable=False), None)

    def __enter__(self) -> Journal:  # noqa: PYI034  (Self is in typing from Python 3.11 on)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing. After a clean end it is one file, without a log beside it."""
        with self._guard:
            if self._lock is not None:
                # Somebody may be reading: the log then stays, and is as good.
                with suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA busy_timeout = 0")
                    self._connection.execute("PRAGMA journal_mode = DELETE")
            self._connection.close()
            if self._lock is not None:
                self._lock.release()

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def holder(self) -> str | None:
        """Which process writes the journal now, in words, or None."""
        return lock_holder(self._path)

    @property
    def identity(self) -> dict[str, str]:
        """What the search is of, in the order in which it was given."""
        with self._reading():
            return read_identity(self._connection)

    def _begin_again(self, wanted: Mapping[str, str]) -> None:
        with self._writing():
            keep_solved_only(self._connection)
            self._connection.execute("UPDATE search SET created = ?", (_now(),))
            self._connection.executemany("INSERT INTO identity VALUES (?, ?)", wanted.items())

    def _complete_identity(self, wanted: Mapping[str, str]) -> None:
        known = self.identity
        missing = [(name, value) for name, value in wanted.items() if name in LATER and name not in known]
        if missing:
            with self._writing():
                self._connection.executemany("INSERT INTO identity VALUES (?, ?)", missing)

    @property
    def created(self) -> str:
        """When the journal was begun, UTC, ISO 8601."""
        return str(self._fact("created"))

    @property
    def original(self) -> float | None:
        """Metric of the original model, or None if it was not measured yet."""
        return self._number("original")

    @property
    def float_bytes(self) -> float | None:
        """Size of all parameters in float, or None if it was not reported."""
        return self._number("float_bytes")

    @property
    def space_text(self) -> str | None:
        """The search space as it was given to `set_space`, or None."""
        text = self._fact("space")
        if text is not None and not isinstance(text, str):
            raise self._damaged("the search space is no text")
        return text

    def set_original(self, metric: float) -> None:
        """Record the metric of the original model.

        Raises:
            JournalError: It is not finite, or another one is there.
        """
        value = _finite(metric, "the metric of the original model")
        with self._writing():
            before = self.original
            if before is not None and before != value:
                raise JournalError(
                    f"{self._path}: the original model's metric is {before!r} in the journal and {value!r} now: the evaluator "
                    "does not repeat itself; make it repeatable, or begin another journal"
                )
            if before is None:
                self._connection.execute("UPDATE search SET original = ?", (value,))

    def set_space(
        self, text: str, assets: Mapping[str, bytes], *, float_bytes: float | None = None, untouched: float = 0.0
    ) -> None:
        """Record the search space and the bytes that its plans refer to, all or nothing.

        Args:
            text: The space, JSON.
            assets: Contents by their SHA-256 in hexadecimal; asked for one after the other, those that are there already not at all.
            float_bytes: Size of all parameters in float, for those who look at the journal.
            untouched: Size of those among them that no plan changes.

        Raises:
            JournalError: Another space is there already, a name is not the hash of its content, or a content is too large.
        """
        size = None if float_bytes is None else _finite(float_bytes, "the size in float")
        rest = _finite(untouched, _UNTOUCHED)
        with self._writing():
            before = self.space_text
            if before is not None:
                if before != text:
                    raise JournalError(f"{self._path}: holds another search space already; begin another journal")
                return
            there = {digest for (digest,) in self._connection.execute("SELECT digest FROM assets")}
            missing = ((digest, assets[digest]) for digest in assets if digest not in there)
            self._connection.executemany(_INSERT_ASSETS, packed(missing))
            self._connection.execute("UPDATE search SET space = ?, float_bytes = ?", (text, size))
            self._put(_UNTOUCHED, repr(rest))

    def count_untouched(self, untouched: float) -> None:
        """Add the parameters that no plan changes to all sizes, if this is a journal of format 1: there they were left out.

        Args:
            untouched: Their size in bytes.

        Raises:
            JournalError: The size is not finite.
        """
        rest = _finite(untouched, _UNTOUCHED)
        with self._writing():
            if self.fact(_UNTOUCHED) is None:
                self._connection.execute("UPDATE trials SET bytes = bytes + ?", (rest,))
                self._connection.execute("UPDATE search SET float_bytes = float_bytes + ?", (rest,))
                self._put(_UNTOUCHED, repr(rest))

    @property
    def counts_all(self) -> bool:
        """Whether sizes are those of all parameters; in a journal of format 1 they are those of the layers of the space."""
        return self.fact(_UNTOUCHED) is not None

    def fact(self, name: str) -> str | None:
        """Returns a text that was kept under a name for those who look at the journal, or None."""
        with self._reading():
            if not has_facts(self._connection):
                return None
            row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        value: object = None if row is None else row[0]
        if value is not None and not isinstance(value, str):
            raise self._damaged(f"the fact {shortened(name)!r} is no text")
        return value

    def set_facts(self, facts: Mapping[str, str | None], assets: Mapping[str, bytes] = _NOTHING) -> None:
        """Keep texts under names, instead of those that were there, all or nothing; None takes one away.

        Args:
            facts: Texts by name. Nothing that the search does depends on them.
            assets: Contents that they refer to, by their SHA-256 in hexadecimal.

        Raises:
            JournalError: The name of a content is not its hash, or it is too large.
        """
        with self._writing():
            self._connection.executemany(_INSERT_ASSETS, packed(assets.items()))
            for name, value in facts.items():
                self._put(name, value)

    def _put(self, name: str, value: str | None) -> None:
        if value is None:
            self._connection.execute("DELETE FROM facts WHERE name = ?", (name,))
        else:
            self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def asset(self, digest: str) -> bytes:
        """Returns the content of a name.

        Raises:
            JournalError: There is none of this name, or it is not what was stored.
        """
        with self._reading():
            row = self._connection.execute("SELECT size, data FROM assets WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            raise JournalError(f"{self._path}: holds no asset {shortened(digest)}; it is of another search, or damaged")
        try:
            return unpacked(digest, row)
        except ValueError as error:
            raise self._damaged(str(error)) from error

    def solved(self, key: str) -> str | None:
        """Returns what was kept of a solved layer, or None."""
        with self._reading():
            self._asked.add(key)
            if not has_solved(self._connection):
                return None
            row = self._connection.execute("SELECT value FROM layers WHERE key = ?", (key,)).fetchone()
        return row[0] if row is not None and isinstance(row[0], str) else None

    def keep_solved(self, key: str, value: str, assets: Mapping[str, bytes] = _NOTHING) -> None:
        """Keep a solved layer, instead of what was under its key; when this returns it is on the disk.

        Args:
            key: Says all that it depends on, for every search.
            value: What is kept.
            assets: Contents that it refers to, by their SHA-256 in hexadecimal.

        Raises:
            JournalError: The name of a content is not its hash, or it is too large.
        """
        with self._writing():
            self._asked.add(key)
            self._connection.executemany(_INSERT_ASSETS, packed(assets.items()))
            self._connection.execute(INSERT_SOLVED, (key, value, " ".join(assets)))

    def forget_unasked(self) -> None:
        """Forget the solved layers that nobody has asked for or kept since this was opened, and the contents that only they refer to."""
        with self._writing():
            forget_others(self._connection, self._asked)

    def known(self, plan: Plan) -> Measured | None:
        """Returns what the evaluation of a plan gave, or None if it was not recorded.

        Raises:
            JournalError: The record is damaged.
        """
        text = plan.to_json()
        found = self._record(hashlib.sha256(text.encode("ascii")).hexdigest())
        if found is None:
            return None
        if found.plan_json != text:
            raise self._damaged(f"trial {found.sequence} has another plan than its hash says")
        return Measured(found.metric, found.seconds, found.worker)

    def record(
        self,
        plan: Plan,
        measured: Measured,
        number: int,
        step: str,
        bytes: float,  # noqa: A002  (the name that trials give it)
        accepted: bool,
        float_layers: Sequence[str] = (),
    ) -> None:
        """Record a finished evaluation; when this returns it is on the disk.

        A plan that is known with the same metric gets the new number, step and verdict: a search with another demand has taken it over.

        Args:
            plan: What was evaluated.
            measured: What that gave.
            number: Number of the trial in the search, from 1.
            step: What was tried, in words.
            bytes: Size of all parameters of the model in the plan.
            accepted: Whether the metric satisfies the evaluator.
            float_layers: Layers that the plan leaves in float.

        Raises:
            JournalError: A number is not finite, the plan is known with another metric, or the file cannot be written.
        """
        text = plan.to_json()
        digest = hashlib.sha256(text.encode("ascii")).hexdigest()
        metric = _finite(measured.metric, f"the metric of trial {number}")
        size = _finite(bytes, f"the size of trial {number}")
        seconds = _finite(measured.seconds, f"the duration of trial {number}")
        floats = json.dumps(list(float_layers))
        with self._writing():
            before = self._record(digest)
            if before is not None:
                if before.metric != metric:
                    raise JournalError(
                        f"{self._path}: the plan of trial {number} ({step}) has metric {before.metric!r} in the journal and "
                        f"{metric!r} now: the evaluator does not repeat itself; make it repeatable, or begin another journal"
                    )
                values = (number, step, int(accepted), size, floats)
                if values != (
                    before.number,
                    before.step,
                    before.accepted,
                    before.bytes,
                    json.dumps(list(before.float_layers)),
                ):
                    self._connection.execute(
                        "UPDATE trials SET number = ?, step = ?, accepted = ?, bytes = ?, float_layers = ? WHERE digest = ?",
                        (*values, digest),
                    )
                return
            row = (number, step, digest, text, metric, int(accepted), size, floats, seconds, measured.worker, _now())
            self._connection.execute(
                "INSERT INTO trials (number, step, digest, plan, metric, accepted, bytes, float_layers, seconds, worker, finished)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def trials(self) -> tuple[JournalRecord, ...]:
        """Returns all trials in the order in which they were recorded.

        Raises:
            JournalError: A record is damaged.
        """
        with self._reading():
            rows = self._connection.execute(f"SELECT {COLUMNS} FROM trials ORDER BY sequence").fetchall()  # noqa: S608
        return tuple(self._parsed(row) for row in rows)

    def _record(self, digest: str) -> JournalRecord | None:
        with self._reading():
            row = self._connection.execute(f"SELECT {COLUMNS} FROM trials WHERE digest = ?", (digest,)).fetchone()  # noqa: S608
        return None if row is None else self._parsed(row)

    def _parsed(self, row: Sequence[object]) -> JournalRecord:
        try:
            return parse_row(row)
        except ValueError as error:
            raise self._damaged(str(error)) from error

    def _fact(self, name: Literal["created", "original", "float_bytes", "space"]) -> object:
        with self._reading():
            row = self._connection.execute(f"SELECT {name} FROM search").fetchone()  # noqa: S608
        if row is None:
            raise self._damaged("the description of the search is missing")
        found: object = row[0]
        return found

    def _number(self, name: Literal["original", "float_bytes"]) -> float | None:
        value = self._fact(name)
        if value is not None and not (type(value) is float and math.isfinite(value)):
            raise self._damaged(f"'{name}' is {value!r:.40}, no finite number")
        return value

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._guard, guarded(self._path, "reading"):
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if self._lock is None:
            raise JournalError(f"{self._path}: the journal was opened to be read; use Journal.open to write")
        with self._guard, guarded(self._path, "writing"), transaction(self._connection):
            yield

    def _damaged(self, what: str) -> JournalError:
        return JournalError(
            f"{self._path}: the journal is damaged: {what}; restore it from a copy, or move it away and begin again"
        )


def _resolved(path: str | PathLike[str]) -> Path:
    text = fspath(path)
    if not text or "\0" in text:
        raise JournalError(f"{text!r} is no name for a journal; give the path of a file")
    try:
        return Path(text).resolve()
    except (OSError, RuntimeError) as error:
        raise JournalError(f"{text}: the path of the journal cannot be followed: {error}") from error


def _first_content(identity: Mapping[str, str]) -> Iterator[tuple[str, tuple[object, ...]]]:
    yield "INSERT INTO search (id, created) VALUES (1, ?)", (_now(),)
    for item in identity.items():
        yield "INSERT INTO identity VALUES (?, ?)", item


def _finite(value: float, what: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise JournalError(f"{what} is {number}; a journal takes finite numbers only")
    return number


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
