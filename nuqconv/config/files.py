"""Reading text with errors that name the file, and writing it whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from nuqconv.bounded import MOST_TEXT, read_bounded
from nuqconv.errors import ConfigError, OutputError

__all__ = ["read_text", "write_atomically"]


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """Returns the text of a UTF-8 file.

    Args:
        path: The file.
        what: What it should be, for messages.

    Raises:
        ConfigError: It cannot be read or is not UTF-8.
    """
    try:
        return read_bounded(path, MOST_TEXT).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: the {what} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: the {what} is not UTF-8 text (byte {error.object[error.start]:#04x} at offset {error.start}); "
            "save it as UTF-8, or check that it is the right file"
        ) from error


def write_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Writes a UTF-8 file; what stood there before is replaced only when the new text is complete.

    Args:
        path: The file. Its folder is made if it does not exist; a symbolic link is followed.
        text: The whole text.

    Raises:
        OutputError: It cannot be written; what stood there before is as it was.
    """
    target = Path(path).resolve()
    ready = target.with_name(f".{target.name}.nuqconv-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        ready.unlink(missing_ok=True)
        with ready.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(ready, target)  # noqa: PTH105
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; choose another place for it") from error
    finally:
        with suppress(OSError):
            ready.unlink(missing_ok=True)
