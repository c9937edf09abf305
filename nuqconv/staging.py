"""Outputs that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from nuqconv.errors import OutputError

__all__ = ["check_targets", "move_into_place", "staging_folder"]


def check_targets(targets: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Checks before long work that the outputs can be written and overwrite no input.

    Raises:
        OutputError: A target is an input, is a folder, or its folder cannot be written to; all faults are listed.
    """
    sources = {path.resolve() for path in inputs}
    problems = []
    for target in targets:
        home = _existing(target.absolute().parent)
        if target.resolve() in sources:
            problems.append(f"{target}: is an input of this run")
        elif target.is_dir():
            problems.append(f"{target}: is a folder; a file of this name has to be written")
        elif not home.is_dir():
            problems.append(f"{target}: {home} is no folder")
        elif not os.access(home, os.W_OK | os.X_OK):
            problems.append(f"{target}: {home} cannot be written to")
    if problems:
        raise OutputError("the outputs cannot be written; choose another place", problems)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """Makes a folder on the target's file system for what is not finished, and removes it in the end.

    Args:
        target: The file or prefix that the outputs are for. Its folder need not exist yet and is not made.

    Yields:
        The folder.

    Raises:
        OutputError: No folder can be made there.
    """
    home = _existing(target.absolute().parent)
    try:
        folder = Path(tempfile.mkdtemp(prefix=".nuqconv-", dir=home))
    except OSError as error:
        raise OutputError(
            f"{home}: cannot be written to: {error.strerror}; choose another place for the outputs"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_into_place(files: Mapping[Path, Path]) -> None:
    """Moves finished files to their targets, replacing what stood there.

    All files are first brought beside their targets; only when that has worked for every one are they renamed, and when a renaming
    fails the earlier ones are taken back.

    Args:
        files: Target -> finished file.

    Raises:
        OutputError: A folder or file cannot be written; the targets are as they were.
    """
    ready: dict[Path, Path] = {}
    before: dict[Path, Path] = {}
    try:
        for target, source in files.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                raise OutputError(f"{target}: is a folder; a file of this name has to be written")
            ready[target] = _beside(target, "new")
            shutil.move(source, ready[target])
            if target.exists():
                before[target] = _beside(target, "old")
                _second_name(target, before[target])
        _rename_all(ready, before)
    except OSError as error:
        raise OutputError(
            f"{error.filename}: cannot be written: {error.strerror}; the earlier outputs are as they were"
        ) from error
    finally:
        for leftover in (*ready.values(), *before.values()):
            with suppress(OSError):
                leftover.unlink()


def _rename_all(ready: Mapping[Path, Path], before: Mapping[Path, Path]) -> None:
    done: list[Path] = []
    try:
        for target, new in ready.items():
            os.replace(new, target)  # noqa: PTH105
            done.append(target)
    except OSError:
        for target in done:
            if target in before:
                os.replace(before[target], target)  # noqa: PTH105
            else:
                target.unlink()
        raise


def _beside(target: Path, role: str) -> Path:
    return target.with_name(f".{target.name}.nuqconv-{os.getpid()}-{role}")


def _second_name(path: Path, name: Path) -> None:
    """Gives a file a second name, or copies it where the file system has no links."""
    name.unlink(missing_ok=True)
    try:
        name.hardlink_to(path)
    except OSError:
        shutil.copy2(path, name)
