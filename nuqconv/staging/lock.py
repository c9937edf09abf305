"""One run at a time on one target."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from nuqconv.errors import OutputError

if sys.platform != "win32":
    import fcntl

__all__ = ["TargetLock", "run_facts"]

_LOG = logging.getLogger(__name__)
_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
_HELD: set[TargetLock] = set()


def run_facts() -> dict[str, Any]:
    """Returns what tells a person which run this is."""
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": started}


class TargetLock:
    """A lock on a target: ``flock`` on a file beside it, which the kernel gives free when the process ends, however it ends.

    The file names the run that holds it, and is removed with the lock. On Windows, and on file systems without ``flock``, there is no
    lock; the log warns.

    Args:
        path: The lock file.
        target: What it protects, for the message.

    Raises:
        OutputError: Another run holds it.
        OSError: The file cannot be made.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        while self._descriptor is None:
            self._descriptor = self._try(target)
        _HELD.add(self)

    def _try(self, target: Path) -> int | None:
        """Returns the descriptor of the locked file, or None if the file was removed by its last holder meanwhile."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(self.path, flags, 0o666)
        try:
            if not self._take(descriptor, target):
                os.close(descriptor)
                return None
        except BaseException:
            os.close(descriptor)
            raise
        try:
            facts = json.dumps({**run_facts(), "target": str(target)}) + "\n"
            os.ftruncate(descriptor, 0)
            os.write(descriptor, facts.encode("utf-8", "surrogateescape"))
        except BaseException:
            self._descriptor = descriptor
            self.release()
            raise
        return descriptor

    def _take(self, descriptor: int, target: Path) -> bool:
        if sys.platform == "win32":
            _LOG.warning("%s: this system has no lock for it; let no second run write there", target)
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{target}: another run is writing there: {_holder(descriptor)}; wait for it, or choose another place"
            ) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            _LOG.warning("%s: the file system has no locks; let no second run write there", target)
            return True
        # Only the file that has the name now is the lock; the last holder removes it while holding it.
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path, follow_symlinks=False))  # noqa: PTH116
        return False

    def release(self) -> None:
        """Removes the lock; doing it again does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        _HELD.discard(self)
        with suppress(OSError):
            self.path.unlink()
        os.close(descriptor)

    def forget(self) -> None:
        """Closes a copy of the lock, in a child process that was forked while it was held; the lock stays with the parent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _holder(descriptor: int) -> str:
    try:
        facts: Mapping[str, Any] = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(facts['pid'])} on {str(facts['host'])[:64]}, since {str(facts['started'])[:32]}"
    except (OSError, ValueError, KeyError, TypeError):
        return "which one its lock file does not say"


def _forget_all() -> None:
    for lock in tuple(_HELD):
        lock.forget()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
