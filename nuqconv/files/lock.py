"""One process at a time: a lock file beside what it protects, which the kernel gives free when the process ends, however it ends."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:
    fcntl = None

__all__ = ["LockFile", "LockHeldError", "NoFileError", "held_by", "run_facts"]

_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
_LARGEST = 4096
_HELD: set[LockFile] = set()


class LockHeldError(Exception):
    """Another run holds the lock.

    Attributes:
        content: What its file says, as bytes.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.content = content


class NoFileError(Exception):
    """What has the lock file's name is no regular file."""


def run_facts() -> dict[str, Any]:
    """Returns what tells a person which run this is."""
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": started}


class LockFile:
    """``flock`` on a file that names the run that holds it, and that is removed with the lock.

    It does not live on in processes that are forked off: those close their copy.

    Args:
        path: The lock file.
        facts: What it is to say.
        check: Called with the file's content before it is replaced; raises if the file is not ours.

    Attributes:
        locked: Whether it is a lock; on Windows, and on file systems without ``flock``, it is only a file.

    Raises:
        LockHeldError: Another run holds it.
        NoFileError: The name is that of something else.
        OSError: The file cannot be made.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any], check: Callable[[bytes], object] | None = None) -> None:
        self.path = path
        self.locked = fcntl is not None
        self._descriptor: int | None = None
        while self._descriptor is None:
            self._descriptor = self._try()
        _HELD.add(self)
        try:
            if check is not None:
                check(_content(self._descriptor))
        except BaseException:
            self._close()
            raise
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, (json.dumps(facts) + "\n").encode("utf-8", "surrogateescape"), 0)
        except BaseException:
            self.release()
            raise

    def _try(self) -> int | None:
        """Returns the descriptor of the locked file, or None if the file was removed by its last holder meanwhile."""
        descriptor = _open(self.path, os.O_RDWR | os.O_CREAT)
        try:
            if self._take(descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _take(self, descriptor: int) -> bool:
        if fcntl is None:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeldError(_content(descriptor)) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self.locked = False
            return True
        # Only the file that has the name now is the lock; the last holder removes it while holding it.
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path, follow_symlinks=False))  # noqa: PTH116
        return False

    def release(self) -> None:
        """Removes the lock; doing it again does nothing."""
        if self._descriptor is None:
            return
        with suppress(OSError):
            self.path.unlink()
        self._close()

    def forget(self) -> None:
        """Closes a copy of the lock, in a child process that was forked while it was held; the lock stays with the parent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _close(self) -> None:
        _HELD.discard(self)
        self.forget()


def held_by(path: Path) -> bytes | None:
    """Returns what the lock file of a run that holds it now says, or None if none does or it cannot be seen.

    Raises:
        NoFileError: The name is that of something else.
    """
    if fcntl is None or not path.exists():
        return None
    try:
        descriptor = _open(path, os.O_RDONLY)
    except OSError:
        # It may be gone by now; a file that may not be read tells nothing.
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _content(descriptor)
    except OSError:
        return None
    else:
        return None
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int) -> int:
    more = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC")
    descriptor = os.open(path, flags | sum(getattr(os, name, 0) for name in more), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoFileError(path)
    return descriptor


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, _LARGEST, 0)


def _forget_all() -> None:
    for lock in tuple(_HELD):
        lock.forget()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
