"""Reading text with errors that name the file."""

from __future__ import annotations

import os

from nuqconv.errors import ConfigError
from nuqconv.files.bounded import MOST_TEXT, read_bounded

__all__ = ["read_text"]


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
