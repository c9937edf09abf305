"""One run at a time on one target."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nuqconv.errors import OutputError
from nuqconv.files.lock import LockFile, LockHeldError, NoFileError, run_facts

__all__ = ["TargetLock"]

_LOG = logging.getLogger(__name__)


class TargetLock:
    """A lock on a target; see `LockFile`. On Windows, and on file systems without ``flock``, there is no lock; the log warns.

    Args:
        path: The lock file.
        target: What it protects, for the message.

    Raises:
        OutputError: Another run holds it.
        OSError: The file cannot be made.
    """

    def __init__(self, path: Path, target: Path) -> None:
        try:
            self._file = LockFile(path, {**run_facts(), "target": str(target)})
        except LockHeldError as error:
            raise OutputError(
                f"{target}: another run is writing there: {_holder(error.content)}; wait for it, or choose another place"
            ) from None
        except NoFileError:
            raise OutputError(
                f"{path}: has the name of a lock and is no file; remove it, or choose another place"
            ) from None
        if not self._file.locked:
            _LOG.warning("%s: the file system has no locks; let no second run write there", target)

    def release(self) -> None:
        """Removes the lock; doing it again does nothing."""
        self._file.release()


def _holder(content: bytes) -> str:
    try:
        facts: Mapping[str, Any] = json.loads(content)
        return f"process {int(facts['pid'])} on {str(facts['host'])[:64]}, since {str(facts['started'])[:32]}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "which one its lock file does not say"
