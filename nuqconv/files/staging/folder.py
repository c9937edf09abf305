"""Staging folders: made under a lock, removed in the end, and put right by the next run if this one is killed."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from collections.abc import Collection, Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nuqconv.errors import OutputError
from nuqconv.files.staging import manifest as records
from nuqconv.files.staging.disk import make_folders, points_to, remove_made, sync_folder
from nuqconv.files.staging.lock import TargetLock
from nuqconv.files.staging.manifest import CURRENT, NEXT, STATES, WORK, Manifest, Place
from nuqconv.files.staging.reasons import output_error, reason

__all__ = ["Staging", "active_staging", "exchange_place", "settle", "staging_folder"]

_LOG = logging.getLogger(__name__)
_ACTIVE: dict[Path, Staging] = {}
# Errors of a write have no file name; these cannot come from anything else than a disk.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
_OURS = re.compile(r"(.*/)?\.nuqconv-[^/]+/current/[0-9]+", re.DOTALL)


class Staging:
    """What one run prepares for its targets.

    Attributes:
        folder: The hidden folder beside the first target.
        work: The part of it for what is not finished.
        manifest: Its record.
        unsettled: Whether targets may still be links into the folder, which then has to stay.
    """

    def __init__(self, target: Path) -> None:
        target = target.absolute()
        self.folder = records.folder_of(target)
        self.work = self.folder / WORK
        self.manifest = Manifest()
        self.unsettled = False
        self._owner = os.getpid()
        self._locks: dict[Path, TargetLock] = {}
        self._made: list[Path] = []
        self._own: list[Path] = []
        try:
            self.reserve(target)
            self._make(self.folder, self.manifest)
            self.work.mkdir()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise output_error(target, error) from error
            raise
        _ACTIVE[self.work] = self

    def reserve(self, target: Path) -> Path:
        """Makes a target's folder, locks the target for this run and puts right what an earlier run has left of it.

        Returns:
            The target's staging folder, which is not made.

        Raises:
            OutputError: Another run has it.
        """
        self._made += make_folders(target.parent)
        folder = records.folder_of(target)
        path = records.lock_of(folder)
        if path not in self._locks:
            self._locks[path] = TargetLock(path, target)
            recover(folder, self._locks)
        return folder

    def beside(self, target: Path) -> Path:
        """Makes a further staging folder beside a target that lies apart from the others, and returns it."""
        folder = self.reserve(target)
        if folder not in self._own:
            self._make(folder, Manifest(main=str(self.folder)))
        return folder

    def record(self, targets: tuple[Place, ...]) -> None:
        """Notes the targets of the exchange that comes, in all folders of the run."""
        self.manifest = Manifest(targets)
        for folder in self._own:
            records.write(folder, Manifest(targets, "" if folder == self.folder else str(self.folder)))

    def _make(self, folder: Path, manifest: Manifest) -> None:
        # It is there if it holds files of somebody else, which recover() leaves.
        with suppress(FileExistsError):
            folder.mkdir()
        self._own.append(folder)
        records.write(folder, manifest)

    def close(self) -> None:
        """Removes what was staged, the folders made for nothing, and the locks."""
        _ACTIVE.pop(self.work, None)
        # In a forked child all this belongs to the parent.
        if os.getpid() != self._owner:
            return
        # The main folder goes last: the others are found through it.
        for folder in reversed([] if self.unsettled else self._own):
            try:
                clear(folder, self.manifest)
            except OSError as error:
                _LOG.warning("%s: cannot be removed: %s", folder, reason(error))
        for lock in reversed(self._locks.values()):
            lock.release()
        remove_made(self._made)


def active_staging(path: Path) -> Staging | None:
    """Returns the run of this process in whose staging folder a path lies, if any."""
    for work in path.absolute().parents:
        if work in _ACTIVE:
            return _ACTIVE[work]
    return None


@contextmanager
def staging_folder(target: Path, *others: Path) -> Iterator[Path]:
    """Makes a folder beside a target for what is not finished, and removes it in the end.

    The targets are locked meanwhile. What a killed run has left of them is put right and removed first.

    Args:
        target: The file that the outputs are for, or the first of them. Its folder is made if need be, and removed again if it stays empty.
        others: Further files that will be written.

    Yields:
        The folder.

    Raises:
        OutputError: No folder can be made there, or another run is writing there; or, from within, the disk failed in the folder.
    """
    settle(target)
    staging = Staging(target)
    try:
        for other in others:
            settle(other)
            try:
                staging.reserve(other.absolute())
            except OSError as error:
                raise output_error(other, error, "the earlier outputs are as they were") from error
        yield staging.work
    except OSError as error:
        if not _of_disk(error, staging.folder):
            raise
        raise output_error(error.filename or staging.folder, error, "the earlier outputs are as they were") from error
    finally:
        staging.close()


def _of_disk(error: OSError, folder: Path) -> bool:
    if isinstance(error.filename, (str, bytes, os.PathLike)):
        return folder in Path(os.fsdecode(error.filename)).absolute().parents
    return error.errno in _DISK


def settle(target: Path) -> None:
    """Puts right what a killed run has left of a target that is still a link into that run's staging folder.

    Raises:
        OutputError: That run is not dead, or the folder cannot be written to.
    """
    try:
        text = os.readlink(target)  # noqa: PTH115
    except OSError:
        return
    if not _OURS.fullmatch(text):
        return
    folder = (target.absolute().parent / text).parent.parent
    if active_staging(folder / WORK / "x") is not None:
        return
    try:
        if os.path.lexists(folder):
            lock = TargetLock(records.lock_of(folder), target)
            try:
                recover(folder)
            finally:
                lock.release()
        else:
            # It shows nothing any more.
            target.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    if points_to(target, text):
        raise OutputError(f"{target}: is a link into {folder}, whose record does not know it; remove the link")


def recover(folder: Path, held: Collection[Path] = ()) -> None:
    """Finishes or takes back what a killed run has begun, as its ``current`` says, and removes what its record lists.

    Args:
        folder: The staging folder. The caller holds its lock.
        held: Lock files that the caller holds; their folders are in order.

    Raises:
        OutputError: The folder is not nuqconv's own.
        OSError: Something cannot be put right or removed.
    """
    if not os.path.lexists(folder):
        return
    manifest = records.read(folder)
    if manifest is None:
        clear(folder, Manifest())
        return
    main = Path(manifest.main) if manifest.main else None
    if main is not None and os.path.lexists(main) and records.lock_of(main) not in held:
        lock = TargetLock(records.lock_of(main), main)
        try:
            recover(main)
        finally:
            lock.release()
        if not os.path.lexists(folder):
            return
    _LOG.info("%s: left by a run that ended early (%s); put right and removed", folder, dict(manifest.run))
    state = next((state for state in STATES if points_to(folder / CURRENT, state)), None)
    for number in range(len(manifest.targets) if state and main is None else 0):
        if state is not None and points_to(manifest.target(folder, number), manifest.link(folder, number)):
            exchange_place(folder, manifest, number, state)
            sync_folder(manifest.target(folder, number).parent)
    clear(folder, manifest)
    for number in range(len(manifest.targets)):
        _drop_lock(manifest.target(folder, number), {*held, records.lock_of(folder)})


def _drop_lock(target: Path, held: Container[Path]) -> None:
    """Removes the lock file that a killed run has left of one of its further targets."""
    path = records.lock_of(records.folder_of(target))
    if path not in held and path.is_file():
        with suppress(OutputError):
            TargetLock(path, target).release()


def exchange_place(folder: Path, manifest: Manifest, number: int, state: str) -> None:
    """Puts the earlier or the finished file in the place of the link that shows it; where there is none, the link goes."""
    target, source = manifest.target(folder, number), manifest.file(folder, number, state)
    if not source.parent.is_symlink() and os.path.lexists(source):
        os.replace(source, target)  # noqa: PTH105
    else:
        target.unlink()


def clear(folder: Path, manifest: Manifest) -> None:
    """Removes a staging folder: what its record lists, and nothing else.

    Raises:
        OSError: Something cannot be removed.
    """
    if not os.path.lexists(folder):
        return
    clear_exchange(folder, manifest)
    for beside in dict.fromkeys(Path(place.beside) for place in manifest.targets if place.beside):
        # A record may be forged: only a folder that names this one as its own is touched.
        if os.path.lexists(beside) and (other := records.read(beside)) is not None and other.main == str(folder):
            clear_exchange(beside, manifest)
            _remove_folder(beside)
    work = folder / WORK
    if work.is_symlink():
        work.unlink()
    elif work.exists():
        shutil.rmtree(work)
    _remove_folder(folder)


def clear_exchange(folder: Path, manifest: Manifest) -> None:
    """Removes what the exchange of a set of files leaves in a staging folder."""
    for state in STATES:
        if (folder / state).is_symlink():
            (folder / state).unlink()
        if not (folder / state).exists():
            continue
        for number in range(len(manifest.targets)):
            (folder / state / str(number)).unlink(missing_ok=True)
        with suppress(OSError):
            (folder / state).rmdir()
    for name in (CURRENT, NEXT, *(f"link-{number}" for number in range(len(manifest.targets)))):
        if (folder / name).is_symlink():
            (folder / name).unlink()


def _remove_folder(folder: Path) -> None:
    own = (records.PART, records.FILE)
    strangers = sorted(set(os.listdir(folder)).difference(own))  # noqa: PTH208
    if strangers:
        _LOG.warning("%s: stays, since it holds what nuqconv has not written: %s", folder, ", ".join(strangers))
        return
    for name in own:
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()
