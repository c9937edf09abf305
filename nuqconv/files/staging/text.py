"""Single text files."""

from __future__ import annotations

import os
from pathlib import Path

from nuqconv.files.staging.commit import move_into_place
from nuqconv.files.staging.folder import staging_folder
from nuqconv.files.staging.reasons import output_error

__all__ = ["write_atomically"]


def write_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Writes a UTF-8 file; what stood there before is replaced only when the new text is complete.

    Args:
        path: The file. Its folder is made if it does not exist; a symbolic link is followed.
        text: The whole text.

    Raises:
        OutputError: It cannot be written; what stood there before is as it was.
    """
    target = Path(path)
    with staging_folder(target) as folder:
        ready = folder / "text"
        try:
            ready.write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise output_error(target, error) from error
        move_into_place({target: ready})
