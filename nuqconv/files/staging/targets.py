"""Checks of the places for outputs, before long work."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from nuqconv.errors import OutputError

__all__ = ["check_kind", "check_targets"]


def check_targets(targets: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Checks before long work that the outputs can be written and overwrite no input.

    Raises:
        OutputError: A target is an input, occurs twice, is a folder or a device, has a name that the file system does not take, or its
            folder cannot be written to; all faults are listed.
    """
    sources = {path.resolve() for path in inputs}
    taken: set[Path] = set()
    problems = []
    for target in targets:
        fault = _name_fault(target)
        if fault is not None:
            problems.append(fault)
            continue
        home = _existing(target.absolute().parent)
        kind = _kind_fault(target)
        if target.resolve() in sources:
            problems.append(f"{target}: is an input of this run")
        elif target.resolve() in taken:
            problems.append(f"{target}: is the place of two of the outputs")
        elif kind is not None:
            problems.append(kind)
        elif not home.is_dir():
            problems.append(f"{target}: {home} is no folder")
        elif not os.access(home, os.W_OK | os.X_OK):
            problems.append(f"{target}: {home} cannot be written to")
        taken.add(target.resolve())
    if problems:
        raise OutputError("the outputs cannot be written; choose another place", problems)


def check_kind(target: Path) -> None:
    """Checks that a target is no folder, device, pipe or socket.

    Raises:
        OutputError: It is one.
    """
    fault = _kind_fault(target)
    if fault is not None:
        raise OutputError(fault)


def _kind_fault(target: Path) -> str | None:
    try:
        mode = target.stat().st_mode
    except OSError:
        return None
    if stat.S_ISDIR(mode):
        return f"{target}: is a folder; a file of this name has to be written"
    if not stat.S_ISREG(mode):
        return f"{target}: is a device, pipe or socket; a file of this name has to be written"
    return None


def _name_fault(target: Path) -> str | None:
    """Says why no file system, or not the one there, takes the name."""
    if "\0" in str(target):
        return f"{str(target)!r}: the name holds a NUL character"
    home = target.absolute()
    while not os.path.lexists(home):
        limit = _name_limit(home.parent)
        if len(os.fsencode(home.name)) > limit:
            return f"{target}: a name in it is longer than the {limit} bytes that the file system takes"
        home = home.parent
    return None


def _name_limit(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, AttributeError, ValueError):
        return 255


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
