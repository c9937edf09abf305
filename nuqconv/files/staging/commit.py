"""The exchange of a set of files for another in one step.

POSIX renames one name at a time, so a set is exchanged through one name that all of them share. Every target becomes a symbolic link
``.nuqconv-X/current/I``, where ``current`` is a link to ``old``: this changes nothing that a reader sees. One rename then makes
``current`` a link to ``new``: the whole set changes. After it every link is replaced by the file that it shows, which again
changes nothing. Whoever opens the targets at any moment, also after a kill between any two calls, finds the old set or the new one.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nuqconv.errors import OutputError
from nuqconv.files.staging.disk import link_or_copy, move_file, points_to, sync_file, sync_folder
from nuqconv.files.staging.folder import Staging, active_staging, clear_exchange, exchange_place, settle
from nuqconv.files.staging.manifest import CURRENT, NEXT, STATES, Place
from nuqconv.files.staging.reasons import output_error, reason
from nuqconv.files.staging.targets import check_kind

__all__ = ["move_into_place"]

_LOG = logging.getLogger(__name__)
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
_AS_BEFORE = "the earlier outputs are as they were"


def move_into_place(files: Mapping[Path, Path]) -> None:
    """Puts a set of finished files in the place of their targets, all in one step.

    A symbolic link among the targets is followed. Until the step, an error leaves everything as it was; after it, what is left to
    do is only tidying, and an error there is logged.

    Args:
        files: Target -> finished file. The finished files lie in a folder of `staging_folder`, or anywhere else if no other run can write
            to the targets; they are gone afterwards.

    Raises:
        OutputError: A folder or file cannot be written, or another run is writing there; the targets are as they were.
    """
    if not files:
        return
    for target in files:
        settle(target)
        check_kind(target)
    with _staging(files) as staging:
        _Exchange(staging, files).run()


@contextmanager
def _staging(files: Mapping[Path, Path]) -> Iterator[Staging]:
    target, source = next(iter(files.items()))
    staging = active_staging(source)
    if staging is not None:
        yield staging
        return
    staging = Staging(target)
    try:
        yield staging
    finally:
        staging.close()


@dataclass(frozen=True)
class _Item:
    """One file of the set: as the caller named it, where it really goes, the finished file, and the staging folder beside its place."""

    shown: Path
    target: Path
    source: Path
    beside: Path


class _Exchange:
    def __init__(self, staging: Staging, files: Mapping[Path, Path]) -> None:
        self._staging = staging
        self._folder = staging.folder
        self._files = files
        self._items: list[_Item] = []
        self._at = next(iter(files))

    def run(self) -> None:
        """Does the exchange, or takes it back."""
        try:
            self._prepare()
            links = len(self._items) > 1 and self._make_current()
            if links:
                self._set_links()
                self._switch()
            else:
                self._rename_all()
        except BaseException as error:
            if not self._done():
                self._take_back(error)
                raise
            self._tidy()
            if not isinstance(error, OSError):
                raise
            self._warn(error)
        else:
            self._tidy()

    def _prepare(self) -> None:
        """Brings the finished files, and second names of the earlier ones, into the staging folders, and all of that to the disk."""
        for shown, source in self._files.items():
            self._at = shown
            self._items.append(self._item(shown, source))
        self._staging.record(tuple(self._place(item) for item in self._items))
        for folder in self._folders():
            for state in STATES:
                (folder / state).mkdir(exist_ok=True)
        for number, item in enumerate(self._items):
            self._at = item.shown
            new = item.beside / "new" / str(number)
            move_file(item.source, new)
            sync_file(new)
        # A single file is renamed, which replaces the earlier one in one step as it is.
        if len(self._items) > 1:
            self._keep_earlier()

    def _item(self, shown: Path, source: Path) -> _Item:
        target = shown.resolve() if shown.is_symlink() else shown.absolute()
        home = target.parent.resolve()
        if any(item.target.name == target.name and item.target.parent.resolve() == home for item in self._items):
            raise OutputError(f"{shown}: is the place of two of the outputs")
        if home != self._folder.parent.resolve():
            return _Item(shown, target, source, self._beside(target))
        self._staging.reserve(target)
        return _Item(shown, self._folder.parent / target.name, source, self._folder)

    def _keep_earlier(self) -> None:
        for number, item in enumerate(self._items):
            self._at = item.shown
            new, old = (item.beside / state / str(number) for state in ("new", "old"))
            if os.path.lexists(item.target):
                link_or_copy(item.target, old)
            for path in (new, old) if item.beside != self._folder else ():
                if path.exists():
                    (self._folder / path.parent.name / path.name).symlink_to(path)
        for folder in self._folders():
            for state in STATES:
                sync_folder(folder / state)
            sync_folder(folder)
            sync_folder(folder.parent)

    def _beside(self, target: Path) -> Path:
        for item in self._items:
            if item.target.parent.resolve() == target.parent.resolve():
                self._staging.reserve(target)
                return item.beside
        return self._staging.beside(target)

    def _place(self, item: _Item) -> Place:
        if item.beside == self._folder:
            return Place(item.target.name)
        return Place(str(item.target), str(item.beside))

    def _folders(self) -> list[Path]:
        return list(dict.fromkeys([self._folder, *(item.beside for item in self._items)]))

    def _make_current(self) -> bool:
        """Makes the link that all targets share; returns False where the file system has none."""
        try:
            (self._folder / CURRENT).symlink_to("old")
            (self._folder / NEXT).symlink_to("new")
        except OSError as error:
            if error.errno not in _NO_LINKS and os.name != "nt":
                raise
            _LOG.warning(
                "%s: the file system has no symbolic links, so the %d outputs replace the earlier ones one by one; "
                "let nothing read them in this moment",
                self._folder.parent,
                len(self._items),
            )
            return False
        sync_folder(self._folder)
        return True

    def _set_links(self) -> None:
        self._staging.unsettled = True
        for number, item in enumerate(self._items):
            self._at = item.shown
            link = item.beside / f"link-{number}"
            link.symlink_to(self._staging.manifest.link(self._folder, number))
            os.replace(link, item.target)  # noqa: PTH105
        self._sync_targets()

    def _switch(self) -> None:
        os.replace(self._folder / NEXT, self._folder / CURRENT)  # noqa: PTH105
        sync_folder(self._folder)

    def _rename_all(self) -> None:
        """Renames a single file, or one file after the other where there are no links."""
        self._staging.unsettled = True
        for number, item in enumerate(self._items):
            self._at = item.shown
            os.replace(item.beside / "new" / str(number), item.target)  # noqa: PTH105
        self._sync_targets()

    def _sync_targets(self) -> None:
        for folder in dict.fromkeys(item.target.parent for item in self._items):
            sync_folder(folder)

    def _done(self) -> bool:
        """Whether readers see the new set; asked of the disk, since an interrupt may come right after the call that did it."""
        if not self._staging.unsettled:
            return False
        if self._linked():
            return points_to(self._folder / CURRENT, "new")
        return not any(os.path.lexists(item.beside / "new" / str(number)) for number, item in enumerate(self._items))

    def _linked(self) -> bool:
        return (self._folder / CURRENT).is_symlink()

    def _take_back(self, error: BaseException) -> None:
        """Puts the earlier files back, and raises the error of an operation on files in words."""
        lost = []
        for number, item in enumerate(self._items if self._staging.unsettled else ()):
            try:
                self._restore(number, item)
            except OSError:
                lost.append(f"{item.shown} (kept as {item.beside / 'old' / str(number)})")
        outcome = _AS_BEFORE
        if lost and self._linked():
            outcome = f"{_AS_BEFORE}, some as links into {self._folder}; the next run on this target puts that right"
        elif lost:
            outcome = f"of the earlier outputs these could not be put back: {', '.join(lost)}"
        self._staging.unsettled = bool(lost)
        if not lost:
            self._clear()
        if isinstance(error, OSError):
            raise output_error(self._at, error, outcome) from error

    def _restore(self, number: int, item: _Item) -> None:
        manifest = self._staging.manifest
        if self._linked():
            if points_to(item.target, manifest.link(self._folder, number)):
                exchange_place(self._folder, manifest, number, "old")
            return
        new, old = (item.beside / state / str(number) for state in ("new", "old"))
        if os.path.lexists(new):
            return
        if os.path.lexists(old):
            os.replace(old, item.target)  # noqa: PTH105
        else:
            item.target.unlink(missing_ok=True)

    def _tidy(self) -> None:
        """Puts the finished files in the place of the links; readers see no change."""
        left = False
        for number, item in enumerate(self._items if self._linked() else ()):
            try:
                if points_to(item.target, self._staging.manifest.link(self._folder, number)):
                    exchange_place(self._folder, self._staging.manifest, number, "new")
            except OSError as error:
                left = True
                self._warn(error)
        if self._linked() and not left:
            try:
                self._sync_targets()
            except OSError as error:
                self._warn(error)
        self._staging.unsettled = left
        if not left:
            self._clear()

    def _clear(self) -> None:
        try:
            for folder in self._folders():
                clear_exchange(folder, self._staging.manifest)
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        _LOG.warning(
            "%s: the new outputs are in place and whole, but something is left to tidy up in %s (%s); "
            "the next run on this target does it",
            self._at,
            self._folder,
            reason(error),
        )
