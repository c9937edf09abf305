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
        OutputError: A target is an input, occurs twice, is a folder, or its folder cannot be written to; all faults are listed.
    """
    sources = {path.resolve() for path in inputs}
    taken: set[Path] = set()
    problems = []
    for target in targets:
        home = _existing(target.absolute().parent)
        if target.resolve() in sources:
            problems.append(f"{target}: is an input of this run")
        elif target.resolve() in taken:
            problems.append(f"{target}: is the place of two of the outputs")
        elif target.is_dir():
            problems.append(f"{target}: is a folder; a file of this name has to be written")
        elif not home.is_dir():
            problems.append(f"{target}: {home} is no folder")
        elif not os.access(home, os.W_OK | os.X_OK):
            problems.append(f"{target}: {home} cannot be written to")
        taken.add(target.resolve())
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
    fails or is interrupted the earlier ones are taken back.

    Args:
        files: Target -> finished file.

    Raises:
        OutputError: A folder or file cannot be written; the targets are as they were.
    """
    for target in files:
        if target.is_dir():
            raise OutputError(f"{target}: is a folder; a file of this name has to be written")
    ready: dict[Path, Path] = {}
    before: dict[Path, Path] = {}
    made: list[Path] = []
    begun: list[Path] = []
    try:
        for target, source in files.items():
            _make_folder(target.parent, made)
            ready[target] = _beside(target, "new")
            shutil.move(source, ready[target])
            if target.exists():
                before[target] = _beside(target, "old")
                _second_name(target, before[target])
        for target in files:
            begun.append(target)
            os.replace(ready[target], target)  # noqa: PTH105
    except BaseException as error:
        # A file that still has its provisional name has not replaced its target.
        lost = _take_back([path for path in begun if not ready[path].exists()], before)
        _remove(ready.values())
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        if not isinstance(error, OSError):
            raise
        outcome = "the earlier outputs are as they were"
        if lost:
            outcome = f"of the earlier outputs these could not be put back: {', '.join(lost)}"
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}; {outcome}") from error
    finally:
        _remove(before.values())


def _make_folder(folder: Path, made: list[Path]) -> None:
    """Makes a folder and those above it, and notes which were made."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        made.append(path)
        path.mkdir(exist_ok=True)


def _take_back(replaced: Iterable[Path], before: dict[Path, Path]) -> list[str]:
    """Gives targets their earlier content; what cannot be put back keeps its second name, which is returned."""
    lost = []
    for target in replaced:
        try:
            if target in before:
                os.replace(before[target], target)  # noqa: PTH105
            else:
                target.unlink(missing_ok=True)
        except OSError:
            kept = before.pop(target, None)
            lost.append(f"{target} (kept as {kept})" if kept else f"{target} (new)")
    return lost


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _beside(target: Path, role: str) -> Path:
    return target.with_name(f".{target.name}.nuqconv-{os.getpid()}-{role}")


def _second_name(path: Path, name: Path) -> None:
    """Gives a file a second name, or copies it where the file system has no links."""
    name.unlink(missing_ok=True)
    try:
        name.hardlink_to(path)
    except OSError:
        shutil.copy2(path, name)
