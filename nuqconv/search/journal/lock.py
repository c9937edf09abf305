"""One search at a time writes a journal."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from nuqconv.errors import JournalError
from nuqconv.files.lock import LockFile, LockHeldError, NoFileError, held_by, run_facts

__all__ = ["JournalLock", "lock_holder"]

_KIND = "nuqconv journal lock"


class JournalLock:
    """The lock of one journal, taken when this is made; see `LockFile`.

    Args:
        journal: The journal's resolved path; the lock file is called like it with ``.lock`` behind.

    Raises:
        JournalError: Another search holds it (the message says which), or the file cannot be made or is not ours.
    """

    def __init__(self, journal: Path) -> None:
        path = _lock_path(journal)
        try:
            self._file = LockFile(path, {"kind": _KIND, **run_facts()}, partial(_checked, path))
        except LockHeldError as error:
            raise JournalError(
                f"{journal}: another search writes this journal ({_named(_checked(path, error.content))}); wait for its end, "
                "or choose another journal"
            ) from None
        except NoFileError:
            raise _no_file(path) from None
        except OSError as error:
            raise JournalError(
                f"{path}: the journal's lock file cannot be opened: {error.strerror}; choose a folder that can be written to"
            ) from error
        if not self._file.locked:
            self._file.release()
            raise JournalError(f"{journal}: a journal needs file locks, which this system or file system does not have")

    def release(self) -> None:
        """Lets go of the lock and removes its file; a second call does nothing."""
        self._file.release()


def lock_holder(journal: Path) -> str | None:
    """Returns which process writes a journal now, in words, or None if none does.

    Raises:
        JournalError: The lock file is not ours.
    """
    path = _lock_path(journal)
    try:
        content = held_by(path)
    except NoFileError:
        raise _no_file(path) from None
    return None if content is None else _named(_checked(path, content))


def _lock_path(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.lock")


def _no_file(path: Path) -> JournalError:
    return JournalError(f"{path}: has the name of the journal's lock file and is no file; choose another journal")


def _checked(path: Path, content: bytes) -> dict[str, Any]:
    """Returns what a lock file says; an empty one is about to be written."""
    if not content:
        return {}
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("kind") != _KIND:
        raise JournalError(f"{path}: has the name of the journal's lock file and is none; choose another journal")
    return found


def _named(holder: dict[str, Any]) -> str:
    parts = [f"process {holder.get('pid', '(not known)')}"]
    parts += [f"{word} {holder[name]}" for word, name in (("on", "host"), ("since", "started")) if name in holder]
    return " ".join(parts)
