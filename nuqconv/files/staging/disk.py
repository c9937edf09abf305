"""Bringing files and folders to the disk itself, and the few steps that need care about what is there already."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

__all__ = ["link_or_copy", "make_folders", "move_file", "points_to", "remove_made", "sync_file", "sync_folder"]

# What file systems say that have nothing to sync for a folder.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


def sync_file(path: Path) -> None:
    """Has the file's bytes written to the device."""
    # A file without permission to write can be synced too, except on Windows.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Has the folder's names written to the device; where a folder has no such thing (Windows, some network mounts) nothing is done."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> list[Path]:
    """Makes a folder and those above it, and returns which were made, the outermost first; after an error none is left."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    made: list[Path] = []
    try:
        for path in reversed(missing):
            with suppress(FileExistsError):
                path.mkdir()
                made.append(path)
            sync_folder(path.parent)
    except BaseException:
        remove_made(made)
        raise
    return made


def remove_made(made: list[Path]) -> None:
    """Removes folders that were made for nothing; one that holds something stays."""
    for folder in reversed(made):
        with suppress(OSError):
            folder.rmdir()


def move_file(source: Path, target: Path) -> None:
    """Renames a file, or copies it to another file system."""
    try:
        os.rename(source, target)  # noqa: PTH104
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(source, target)
        source.unlink()


def link_or_copy(path: Path, name: Path) -> None:
    """Gives a file a second name, or copies it where the file system or the owner allows no links."""
    try:
        os.link(path, name)
    except OSError:
        shutil.copy2(path, name)
        sync_file(name)


def points_to(path: Path, text: str) -> bool:
    """Returns whether a path is a symbolic link of exactly this text."""
    try:
        return os.readlink(path) == text  # noqa: PTH115
    except OSError:
        return False
