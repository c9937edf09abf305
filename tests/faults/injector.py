"""Makes the n-th operation on files fail, or kills the process there.

Counted are the operations that change something below a folder: opening for writing, writing (files of ``open``, of pathlib, of numpy's
and zipfile's writers, which all come through ``io.open``, and ``os.write``), ``truncate``, ``fsync``, ``rename``, ``replace``, ``link``,
``symlink``, ``mkdir``, ``unlink``, ``rmdir``, ``sendfile``, and the opening of an SQLite database. What a C library writes by itself after that
is not seen.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

ERRORS = ("ENOSPC", "EIO", "EACCES")
KILLS = ("kill before", "kill after", "kill amid")
MODES = (*ERRORS, *KILLS)
# name -> which of the arguments are paths; any of them below the folder makes the call count.
_PATH_CALLS = {
    "rename": (0, 1),
    "replace": (0, 1),
    "link": (0, 1),
    "symlink": (1,),
    "mkdir": (0,),
    "unlink": (0,),
    "remove": (0,),
    "rmdir": (0,),
    "truncate": (0,),
}
_DESCRIPTOR_CALLS = {"write": 0, "fsync": 0, "ftruncate": 0, "sendfile": 0, "pwrite": 0}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Injector:
    """Counts operations below a folder, and spoils one of them.

    Args:
        root: The folder.
        number: Which operation, from 1; 0 spoils none.
        mode: One of `MODES`.
        forever: Whether all operations from there on fail.
        observe: Called after each operation.
    """

    def __init__(
        self,
        root: Path,
        number: int = 0,
        mode: str = "EIO",
        *,
        forever: bool = False,
        observe: Callable[[], None] | None = None,
    ) -> None:
        self.root = os.path.realpath(root)
        self.number, self.mode, self.forever, self.observe = number, mode, forever, observe
        self.calls: list[str] = []
        self.fired = False
        self._before: list[tuple[Any, str, Any]] = []
        self._descriptors: set[int] = set()
        self._looking = False
        self._file_io = io.FileIO

    def __enter__(self) -> Self:
        for name, places in _PATH_CALLS.items():
            self._patch(os, name, self._path_call(name, getattr(os, name), places))
        for name, place in _DESCRIPTOR_CALLS.items():
            self._patch(os, name, self._descriptor_call(name, getattr(os, name), place))
        self._patch(os, "open", self._os_open(os.open))
        self._patch(os, "close", self._os_close(os.close))
        opened = self._open(io.open)
        self._patch(io, "open", opened)
        self._patch(builtins, "open", opened)
        if not _HOOKED:
            sys.addaudithook(_audit)
            _HOOKED.append(True)
        _ACTIVE.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _ACTIVE.remove(self)
        for module, name, function in reversed(self._before):
            setattr(module, name, function)

    def _patch(self, module: Any, name: str, function: Any) -> None:
        self._before.append((module, name, getattr(module, name)))
        setattr(module, name, function)

    def below(self, path: object, directory: object = None) -> bool:
        """Returns whether a path lies below the folder; a path that is relative to a descriptor counts if the descriptor does."""
        if isinstance(path, int):
            return path in self._descriptors
        if isinstance(directory, int):
            path = Path(f"/proc/self/fd/{directory}").readlink() / os.fsdecode(path)
        try:
            # Not resolved: a link counts where it lies.
            full = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
        except TypeError:
            return False
        return full == self.root or full.startswith(self.root + os.sep)

    def point(self, what: str, do: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Carries one operation out, or what is to become of it."""
        if self._looking:
            return do()
        self.calls.append(what)
        if self.number and (len(self.calls) == self.number or (self.forever and len(self.calls) > self.number)):
            self.fired = True
            if self.mode in ERRORS:
                code = getattr(errno, self.mode)
                raise OSError(code, os.strerror(code), what.partition(" ")[2] or None)
            if self.mode == "kill amid" and half is not None:
                half()
            elif self.mode == "kill after":
                # It may be an operation that fails by itself: the unlinking of a file that may be missing.
                with suppress(OSError):
                    do()
            os.kill(os.getpid(), signal.SIGKILL)
        result = do()
        if self.observe is not None:
            self._looking = True
            try:
                self.observe()
            finally:
                self._looking = False
        return result

    def _path_call(self, name: str, function: Any, places: tuple[int, ...]) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            keys = ("src", "dst") if len(places) == 2 or name == "symlink" else ("path",)
            found = [arguments[place] if place < len(arguments) else options.get(keys[place]) for place in places]
            directory = options.get("dir_fd", options.get("src_dir_fd"))
            if not any(path is not None and self.below(path, directory) for path in found):
                return function(*arguments, **options)
            return self.point(f"{name} {os.fsdecode(found[-1])}", lambda: function(*arguments, **options))

        return call

    def _descriptor_call(self, name: str, function: Any, place: int) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            descriptor = arguments[place]
            if not isinstance(descriptor, int) or descriptor not in self._descriptors:
                return function(*arguments, **options)
            half = None
            if name == "write":
                half = lambda: function(descriptor, bytes(arguments[1])[: len(arguments[1]) // 2])  # noqa: E731
            return self.point(name, lambda: function(*arguments, **options), half)

        return call

    def _os_open(self, function: Any) -> Any:
        def call(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            below = self.below(path, options.get("dir_fd"))

            def do() -> int:
                descriptor: int = function(path, flags, *arguments, **options)
                if below:
                    self._descriptors.add(descriptor)
                return descriptor

            return self.point(f"open {os.fsdecode(path)}", do) if below and flags & _WRITING else do()

        return call

    def _os_close(self, function: Any) -> Any:
        def call(descriptor: int) -> None:
            self._descriptors.discard(descriptor)
            function(descriptor)

        return call

    def _open(self, function: Any) -> Any:
        injector = self

        class Raw(self._file_io):  # type: ignore[misc, name-defined]
            def write(self, data: Any) -> Any:
                half = lambda: super(Raw, self).write(bytes(data)[: len(data) // 2])  # noqa: E731
                return injector.point("write", lambda: super(Raw, self).write(data), half)

            def truncate(self, *arguments: Any) -> Any:
                return injector.point("truncate", lambda: super(Raw, self).truncate(*arguments))

            def close(self) -> None:
                if not self.closed:
                    injector._descriptors.discard(self.fileno())
                super().close()

        def call(
            file: Any,
            mode: str = "r",
            buffering: int = -1,
            encoding: Any = None,
            errors: Any = None,
            newline: Any = None,
            closefd: bool = True,
            opener: Any = None,
        ) -> Any:
            if not set(mode) & set("wax+") or not injector.below(file):
                return function(file, mode, buffering, encoding, errors, newline, closefd, opener)
            kind = mode.replace("b", "").replace("t", "")

            def do() -> Any:
                raw = Raw(file, kind, closefd, opener)
                injector._descriptors.add(raw.fileno())
                if buffering == 0:
                    return raw
                size = buffering if buffering > 1 else raw._blksize
                buffered = (io.BufferedRandom if "+" in kind else io.BufferedWriter)(raw, size)
                return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

            return do() if isinstance(file, int) else injector.point(f"open {os.fsdecode(file)}", do)

        return call


_ACTIVE: list[Injector] = []
_HOOKED: list[bool] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "sqlite3.connect" and _ACTIVE and _ACTIVE[-1].below(arguments[0]):
        _ACTIVE[-1].point(f"sqlite3.connect {arguments[0]}", lambda: None)
