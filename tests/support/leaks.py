"""What a child process may leave behind: processes, descriptors, shared memory, temporary files."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

__all__ = ["is_running", "nothing_left", "wait_until"]


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Waits for a condition; returns whether it came true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _processes(sessions: set[int]) -> set[int]:
    """Children of this process, and whoever else lives in one of the sessions; each child is started in one of its own."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid() or int(fields[3]) in sessions:
            found.add(int(folder.name))
    return found


def _descriptors() -> dict[str, str]:
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            found[path.name] = str(path.readlink())
        except FileNotFoundError:
            continue
    return found


def _shared() -> set[str]:
    # Folders with this prefix are those of tests, maybe of another run.
    return {path.name for path in Path("/dev/shm").iterdir() if not path.name.startswith("tmp")}


@contextmanager
def nothing_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """Fails if something is left at its end that was not there at its beginning.

    Args:
        folder: An empty folder, which is where temporary files go meanwhile.
        monkeypatch: Sets that.

    Yields:
        A set to which the ids of child processes are to be added.
    """
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    gc.collect()
    # Python's own helper, which the first process of a pool starts and which lives on.
    resource_tracker.ensure_running()
    sessions: set[int] = set()
    processes, descriptors, shared = _processes(sessions), _descriptors(), _shared()
    yield sessions
    gc.collect()
    assert sessions
    assert wait_until(lambda: _processes(sessions) <= processes), _processes(sessions) - processes
    assert _descriptors().keys() == descriptors.keys()
    # Other processes of the machine come and go there.
    assert wait_until(lambda: _shared() <= shared), _shared() - shared
    # onnxruntime keeps this one file for all its processes.
    left = [path for path in folder.rglob("*") if path.name != ".ses"]
    assert not left, left
    monkeypatch.setattr(tempfile, "tempdir", None)
