"""A folder in memory, where ``fsync`` costs nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def memory_folder() -> Iterator[Path]:
    """Makes a temporary folder in memory where the system has such a place, else on the disk."""
    home = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=home if os.access(home, os.W_OK) else None) as folder:
        yield Path(folder)
