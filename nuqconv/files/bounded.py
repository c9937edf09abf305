"""Files read up to a size that their kind never has, so that a wrong or endless one does not fill the memory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

__all__ = ["LARGEST_BLOB", "MOST_AXES", "MOST_BINARY", "MOST_PIXELS", "MOST_TEXT", "read_bounded"]

# Networks and configurations are some hundred kilobytes of text; a protobuf file ends at 2 GB.
MOST_TEXT = 64 * 2**20
MOST_BINARY = 2**31 - 1
# Caffe's Blob: kMaxBlobAxes, and counts of numbers held in an int.
MOST_AXES = 32
LARGEST_BLOB = 2**31 - 1
# Of a picture: 8192 x 8192. A few hundred bytes may declare any size.
MOST_PIXELS = 2**26


def read_bounded(path: str | os.PathLike[str], most: int) -> bytes:
    """Returns the content of a file.

    Args:
        path: The file.
        most: The most bytes that it may have.

    Raises:
        OSError: It cannot be read, has more bytes (``errno.EFBIG``), or its name is none (``errno.EINVAL``); ``strerror`` says so.
    """
    try:
        with Path(path).open("rb") as file:
            state = os.fstat(file.fileno())
            if state.st_size > most:
                raise _too_large(most)
            if stat.S_ISREG(state.st_mode):
                return file.read()
            return _endless(file, most)
    except ValueError as error:
        raise OSError(errno.EINVAL, f"no file can have this name ({error})") from error


def _endless(file: IO[bytes], most: int) -> bytes:
    """Reads a pipe or device, which has no size, bit by bit: memory for all of ``most`` may not be there."""
    parts, size = [], 0
    while part := file.read(2**20):
        parts.append(part)
        size += len(part)
        if size > most:
            raise _too_large(most)
    return b"".join(parts)


def _too_large(most: int) -> OSError:
    return OSError(errno.EFBIG, f"it has more than the {most} bytes that a file of this kind can have")
