"""The system calls of SQLite's own C code, as further points of an `Injector`.

SQLite's file system layer for POSIX lets every one of its calls be replaced, but for ``fsync``; that one is reached through the table of methods that
an open file has. Both are public interfaces of SQLite, called here with ctypes in the very library that Python's module uses.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from typing import Any

from tests.faults.injector import Injector

__all__ = ["reachable", "sqlite_points"]

_SQLITE_OK, _SQLITE_IOERR_FSYNC = 0, 10 | 4 << 8
_NAME = b"nuqconv-faults"
_OPEN = CFUNCTYPE(c_int, c_char_p, c_int, c_int, use_errno=True)
_CLOSE = CFUNCTYPE(c_int, c_int, use_errno=True)
_PWRITE = CFUNCTYPE(c_size_t, c_int, c_void_p, c_size_t, c_int64, use_errno=True)
_WRITE = CFUNCTYPE(c_size_t, c_int, c_void_p, c_size_t, use_errno=True)
_TRUNCATE = CFUNCTYPE(c_int, c_int, c_int64, use_errno=True)
_UNLINK = CFUNCTYPE(c_int, c_char_p, use_errno=True)
_FAILED = ctypes.c_size_t(-1).value
_KEPT: list[Any] = []


class _Methods(ctypes.Structure):
    """``sqlite3_io_methods`` of version 3."""

    _fields_ = (
        ("version", c_int),
        *((name, c_void_p) for name in ("close", "read", "write", "truncate")),
        ("sync", c_void_p),
        *((f"other{number}", c_void_p) for number in range(13)),
    )


class _File(ctypes.Structure):
    _fields_ = (("methods", POINTER(_Methods)),)


_SYNC = CFUNCTYPE(c_int, POINTER(_File), c_int)
_FILE_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, POINTER(_File), c_int, c_void_p)
_SET_CALL = CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p)
_GET_CALL = CFUNCTYPE(c_void_p, c_void_p, c_char_p)


class _Vfs(ctypes.Structure):
    """``sqlite3_vfs`` of version 3."""

    _fields_ = (
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", c_void_p),
        *((f"other{number}", c_void_p) for number in range(12)),
        ("set_call", c_void_p),
        ("get_call", c_void_p),
        ("next_call", c_void_p),
    )


def _library() -> Any:
    """Returns the library that the module `sqlite3` calls, or None where its functions cannot be reached."""
    try:
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_libversion.restype = c_char_p
        library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        same = library.sqlite3_libversion().decode() == sqlite3.sqlite_version
    except (AttributeError, OSError):
        return None
    return library if same else None


def reachable() -> bool:
    """Whether SQLite's calls can be made to fail here; a module that holds SQLite without its public names does not allow it."""
    return _library() is not None


@contextmanager
def sqlite_points(injector: Injector) -> Iterator[None]:
    """Makes SQLite's calls below the injector's folder points of it."""
    library = _library()
    if library is None:
        raise RuntimeError("the functions of SQLite cannot be reached in this Python")
    before = library.sqlite3_vfs_find(None)
    calls = _Calls(injector, before)
    # A connection that is left open goes on to use what it was opened with.
    _KEPT.append(calls)
    calls.install()
    library.sqlite3_vfs_register(ctypes.byref(calls.vfs), 1)
    try:
        yield
    finally:
        library.sqlite3_vfs_unregister(ctypes.byref(calls.vfs))
        library.sqlite3_vfs_register(before, 1)
        calls.remove()


class _Calls:
    """The replaced calls. What ctypes makes of functions has to be kept as long as C may call it."""

    def __init__(self, injector: Injector, before: Any) -> None:
        self._injector = injector
        self._before = before
        self._names: dict[int, str] = {}
        self._real: dict[bytes, Any] = {}
        self._kept: dict[bytes, Any] = {}
        self._tables: dict[int, tuple[_Methods, Any]] = {}
        self._set = _SET_CALL(before.contents.set_call)
        self._real_open = _FILE_OPEN(before.contents.open)
        self._own_open = _FILE_OPEN(self._open_file)
        self.vfs = _Vfs()
        ctypes.memmove(ctypes.byref(self.vfs), before, ctypes.sizeof(_Vfs))
        self.vfs.name, self.vfs.next = _NAME, None
        self.vfs.open = ctypes.cast(self._own_open, c_void_p)

    def install(self) -> None:
        """Replaces the calls."""
        get = _GET_CALL(self._before.contents.get_call)
        replaced = {
            b"open": (_OPEN, self._open),
            b"close": (_CLOSE, self._close),
            b"pwrite": (_PWRITE, self._pwrite),
            b"pwrite64": (_PWRITE, self._pwrite),
            b"write": (_WRITE, self._write),
            b"ftruncate": (_TRUNCATE, self._truncate),
            b"unlink": (_UNLINK, self._unlink),
        }
        for name, (kind, function) in replaced.items():
            address = get(self._before, name)
            if address:
                self._real[name] = kind(address)
                self._kept[name] = kind(function)
                self._set(self._before, name, ctypes.cast(self._kept[name], c_void_p))

    def remove(self) -> None:
        """Puts SQLite's own calls back."""
        self._set(self._before, None, None)

    def _point(self, what: str, do: Any, half: Any = None, failed: int = -1) -> Any:
        def checked() -> Any:
            found = do()
            code = ctypes.get_errno()
            if found == failed:
                raise OSError(code, os.strerror(code))
            return found

        try:
            found = self._injector.point(f"sqlite {what}", checked, half)
        except OSError as error:
            ctypes.set_errno(error.errno or errno.EIO)
            return failed
        return found

    def _open(self, path: bytes, flags: int, mode: int) -> int:
        name = os.fsdecode(path)
        real = self._real[b"open"]
        writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not self._injector.below(name) or not writing:
            return int(real(path, flags, mode))
        descriptor: int = self._point(f"open {name}", lambda: real(path, flags, mode))
        if descriptor >= 0:
            self._names[descriptor] = name
        return descriptor

    def _close(self, descriptor: int) -> int:
        self._names.pop(descriptor, None)
        return int(self._real[b"close"](descriptor))

    def _pwrite(self, descriptor: int, data: int, size: int, offset: int) -> int:
        real = self._real.get(b"pwrite") or self._real[b"pwrite64"]
        if descriptor not in self._names:
            return int(real(descriptor, data, size, offset))
        what = f"write {self._names[descriptor]}"
        half = lambda: real(descriptor, data, size // 2, offset)  # noqa: E731
        return int(self._point(what, lambda: real(descriptor, data, size, offset), half, _FAILED))

    def _write(self, descriptor: int, data: int, size: int) -> int:
        real = self._real[b"write"]
        if descriptor not in self._names:
            return int(real(descriptor, data, size))
        what = f"write {self._names[descriptor]}"
        half = lambda: real(descriptor, data, size // 2)  # noqa: E731
        return int(self._point(what, lambda: real(descriptor, data, size), half, _FAILED))

    def _truncate(self, descriptor: int, size: int) -> int:
        real = self._real[b"ftruncate"]
        if descriptor not in self._names:
            return int(real(descriptor, size))
        return int(self._point(f"truncate {self._names[descriptor]}", lambda: real(descriptor, size)))

    def _unlink(self, path: bytes) -> int:
        name = os.fsdecode(path)
        if not self._injector.below(name):
            return int(self._real[b"unlink"](path))
        return int(self._point(f"unlink {name}", lambda: self._real[b"unlink"](path)))

    def _open_file(self, _vfs: int, name: int | None, file: Any, flags: int, found: int | None) -> int:
        code = self._real_open(ctypes.cast(self._before, c_void_p), name, file, flags, found)
        path = os.fsdecode(ctypes.string_at(name)) if name else ""
        if code == _SQLITE_OK and file.contents.methods and path and self._injector.below(path):
            methods = file.contents.methods.contents
            address = ctypes.addressof(methods)
            if address not in self._tables:
                table = _Methods()
                ctypes.memmove(ctypes.byref(table), ctypes.byref(methods), ctypes.sizeof(_Methods))
                real = _SYNC(methods.sync)
                own = _SYNC(lambda one, how: self._sync(real, one, how))
                table.sync = ctypes.cast(own, c_void_p)
                self._tables[address] = (table, (own, real))
            file.contents.methods = ctypes.pointer(self._tables[address][0])
        return int(code)

    def _sync(self, real: Any, file: Any, how: int) -> int:
        try:
            return int(self._injector.point("sqlite fsync", lambda: real(file, how)))
        except OSError:
            return _SQLITE_IOERR_FSYNC
