"""Errors of the operating system as errors that say what to do."""

from __future__ import annotations

import errno
from pathlib import Path

from nuqconv.errors import OutputError

__all__ = ["output_error", "reason"]

_REMEDIES = {
    errno.ENOSPC: "free space there, or choose another place",
    errno.EDQUOT: "the quota of this user is used up; free space there, or choose another place",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.EACCES: "change the permissions, or choose another place",
    errno.EPERM: "change the permissions, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EFBIG: "the file system or a limit of this process allows no file of this size; choose another place",
    errno.EIO: "the device fails; check it, or choose another place",
    errno.EMFILE: "this process holds too many files open; raise `ulimit -n`",
    errno.ENFILE: "the system holds too many files open; end other programs",
}
_ELSE = "choose another place"


def reason(error: OSError) -> str:
    """Returns what the operating system says, and the remedy."""
    said = error.strerror or str(error) or type(error).__name__
    return f"{said}; {_REMEDIES.get(error.errno or 0, _ELSE)}"


def output_error(path: str | Path, error: OSError, outcome: str = "") -> OutputError:
    """Returns the error for a file or folder that cannot be written.

    Args:
        path: The file or folder.
        error: What the operating system said.
        outcome: What became of the outputs, if there is something to say.
    """
    return OutputError(f"{path}: cannot be written: {reason(error)}{f'; {outcome}' if outcome else ''}")
