"""What kind of file it is, by a look at its beginning and at the fields of a protobuf message, without reading all of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["beginning", "is_hdf5", "is_text", "stranger", "top_fields"]

_BEGINNING = 1 << 16
# Nobody's message has more at its top; a file of another kind can look like one for long.
_MOST_FIELDS = 1 << 16
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}


_POINTER = b"version https://git-lfs"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_CONTROL = bytes(byte for byte in range(0x20) if byte not in b"\t\n\r")
_PAGES = (b"<!doctype html", b"<html", b"<?xml")


def stranger(data: bytes) -> str | None:
    """Returns what a file is that came in the place of another, and what to do; None where nothing tells.

    Args:
        data: The file's content, or its first bytes.
    """
    start = data[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(_POINTER):
        return "is a Git LFS pointer, not the file itself; `git lfs pull` fetches it"
    if start.startswith(_PAGES):
        return "is a web page (HTML or XML), not the file that its name promises; download the file itself"
    return None


def is_hdf5(data: bytes) -> bool:
    """Whether a file is an HDF5 file, by its first bytes."""
    return data.startswith(_HDF5)


def beginning(path: Path) -> bytes:
    """Returns the first bytes of a regular file; nothing of a pipe, which could not be read again, and of what cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return b""
        with path.open("rb") as file:
            return file.read(_BEGINNING)
    except (OSError, ValueError):
        return b""


def top_fields(path: Path) -> Iterator[tuple[int, int]]:
    """Yields number and wire type of each field at the top of a protobuf message, as far as the file is one.

    What is in the fields is skipped, so that a file of gigabytes costs no more than its fields. It ends without an error where the file ends,
    cannot be read, is no regular file, or is no message any further.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            for _ in range(_MOST_FIELDS):
                key = _varint(file)
                if key is None or not key >> 3:
                    return
                length = _length(file, key & 7)
                if length is None:
                    return
                yield key >> 3, key & 7
                if file.seek(length, os.SEEK_CUR) > size:
                    return
    except (OSError, ValueError):
        return


def _length(file: IO[bytes], wire: int) -> int | None:
    """Returns how many bytes a value has from here on; None of what is no value."""
    if wire == _LENGTH:
        return _varint(file)
    if wire == _VARINT:
        return None if _varint(file) is None else 0
    return _SIZES.get(wire)


def _varint(file: IO[bytes]) -> int | None:
    number = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return number
    return None


def is_text(path: Path) -> bool:
    """Whether what a file begins with is text: no control characters but blanks and ends of lines. An empty file is none."""
    found = beginning(path)
    return bool(found) and len(found.translate(None, _CONTROL)) == len(found)
