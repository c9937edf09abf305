"""What tells the content of a file from another's."""

from __future__ import annotations

import hashlib
from os import PathLike, fspath
from pathlib import Path

from nuqconv.errors import FormatError

__all__ = ["content_digest", "file_digest"]

_BLOCK = 1 << 20


def content_digest(path: Path) -> str:
    """Returns the SHA-256 of a file.

    Raises:
        OSError: The file cannot be read.
    """
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def file_digest(path: str | PathLike[str]) -> str:
    """Returns the SHA-256 of a file that the user has named.

    Raises:
        FormatError: The file cannot be read.
    """
    try:
        return content_digest(Path(path))
    except OSError as error:
        raise FormatError(f"{fspath(path)}: cannot be read: {error.strerror or error}") from error
