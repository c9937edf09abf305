"""One search at a time writes a journal: a lock file beside it, which the system lets go of when the process ends, however it ends."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from nuqconv.errors import JournalError

try:
    import fcntl
except ImportError:  # pragma: no cover  (systems without POSIX locks)
    fcntl = None  # type: ignore[assignment]

__all__ = ["JournalLock", "lock_holder"]

_KIND = "nuqconv journal lock"
_LARGEST = 4096
_HELD: set[Path] = set()
_GUARD = threading.Lock()


class JournalLock:
    """The lock of one journal, taken when this is made.

    POSIX record locks are used: unlike those of `flock` they do not live on in processes that were forked off.

    Args:
        journal: The journal's resolved path; the lock file is called like it with ``.lock`` behind.

    Raises:
        JournalError: Another search holds it (the message says which), or the file cannot be made or is not ours.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._path = _lock_path(journal)
        if fcntl is None:
            raise JournalError(f"{journal}: a journal needs file locks, which this system does not have")
        with _GUARD:
            # Record locks are the process's own: a second one in it would be granted, and would end with whichever closes first.
            if journal in _HELD:
                raise _taken(journal, {"pid": os.getpid(), "host": socket.gethostname()})
            self._file = self._acquire()
            _HELD.add(journal)
        self._open = True

    def release(self) -> None:
        """Lets go of the lock and removes its file; a second call does nothing."""
        if not self._open:
            return
        self._open = False
        with _GUARD:
            with suppress(OSError):
                self._path.unlink()
            with suppress(OSError):
                os.close(self._file)
            _HELD.discard(self._journal)

    def _acquire(self) -> int:
        while True:
            file = _open_lock(self._path, os.O_RDWR | os.O_CREAT)
            try:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except (BlockingIOError, PermissionError):
                    raise _taken(self._journal, _read_holder(file, self._path)) from None
                if _is_at(file, self._path):
                    _write_holder(file, self._path)
                    return file
                # Whoever held it has removed the file in the meantime.
                os.close(file)
            except BaseException as error:
                with suppress(OSError):
                    os.close(file)
                if isinstance(error, OSError):
                    raise JournalError(f"{self._path}: cannot be locked: {error.strerror or error}") from error
                raise


def lock_holder(journal: Path) -> str | None:
    """Returns which process writes a journal now, in words, or None if none does.

    Raises:
        JournalError: The lock file is not ours.
    """
    path = _lock_path(journal)
    with _GUARD:
        if journal in _HELD:
            return _named({"pid": os.getpid(), "host": socket.gethostname()})
        if fcntl is None or not path.exists():
            return None
        try:
            file = _open_lock(path, os.O_RDONLY)
        except JournalError:
            # It may be gone by now; a file that may not be read tells nothing.
            return None
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _named(_read_holder(file, path))
        else:
            return None
        finally:
            os.close(file)


def _lock_path(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.lock")


def _open_lock(path: Path, flags: int) -> int:
    try:
        file = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError as error:
        raise JournalError(
            f"{path}: the journal's lock file cannot be opened: {error.strerror}; choose a folder that can be written to"
        ) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise JournalError(f"{path}: has the name of the journal's lock file and is no file; choose another journal")
    return file


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _read_holder(file: int, path: Path) -> dict[str, object]:
    """Return what a lock file says; an empty one is about to be written."""
    text = os.pread(file, _LARGEST, 0)
    if not text:
        return {}
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise JournalError(f"{path}: has the name of the journal's lock file and is none; choose another journal")
    return content


def _write_holder(file: int, path: Path) -> None:
    _read_holder(file, path)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    content = {"kind": _KIND, "pid": os.getpid(), "host": socket.gethostname(), "since": now}
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(content).encode("ascii"), 0)


def _named(holder: dict[str, object]) -> str:
    parts = [f"process {holder.get('pid', '(not known)')}"]
    parts += [f"{word} {holder[name]}" for word, name in (("on", "host"), ("since", "since")) if name in holder]
    return " ".join(parts)


def _taken(journal: Path, holder: dict[str, object]) -> JournalError:
    return JournalError(
        f"{journal}: another search writes this journal ({_named(holder)}); wait for its end, or choose another journal"
    )
