"""What a staging folder holds: a record in the folder itself, by which a later run knows what it may remove.

In ``.nuqconv-NAME``:

- ``manifest.json``: this record;
- ``work/``: scratch, everything in it is the run's own;
- ``new/I`` and ``old/I``: the finished file and the earlier one of target number I, or a link to it where target I lies in another folder;
- ``current``: a link to ``old`` or ``new``;
- ``next`` and ``link-I``: links on their way to their places.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, model_validator
from pydantic_core import PydanticCustomError

from nuqconv.errors import OutputError
from nuqconv.files.bounded import MOST_TEXT, read_bounded
from nuqconv.files.json_model import OpenModel, Text, problem, read_object
from nuqconv.files.lock import run_facts
from nuqconv.files.safe_json import parse
from nuqconv.files.staging.disk import sync_file

__all__ = ["CURRENT", "NEXT", "STATES", "WORK", "Manifest", "Place", "folder_of", "lock_of", "read", "write"]

WORK, CURRENT, NEXT = "work", "current", "next"
STATES = ("old", "new")
FILE, PART = "manifest.json", "manifest.json.part"
_FORMAT = "nuqconv-staging-1"
_PREFIX = ".nuqconv-"
_LONGEST = 180


@dataclass(frozen=True)
class Place:
    """Where a target lies.

    Attributes:
        target: Its name in the folder that holds the staging folder, or its absolute path in another one.
        beside: The staging folder beside a target in another folder, else empty.
    """

    target: str
    beside: str = ""


@dataclass(frozen=True)
class Manifest:
    """The record of a staging folder.

    Attributes:
        targets: The targets by their numbers.
        main: For a folder beside a target that lies apart from the others: the run's main staging folder; else empty.
        run: Which run made it, for people.
    """

    targets: tuple[Place, ...] = ()
    main: str = ""
    run: Mapping[str, Any] = field(default_factory=run_facts)

    def target(self, folder: Path, number: int) -> Path:
        """Returns the path of a target."""
        return folder.parent / self.targets[number].target

    def link(self, folder: Path, number: int) -> str:
        """Returns the text of the link that stands in a target's place while the set is exchanged."""
        home = str(folder.absolute()) if self.targets[number].beside else folder.name
        return f"{home}/{CURRENT}/{number}"

    def file(self, folder: Path, number: int, state: str) -> Path:
        """Returns where a target's finished (``new``) or earlier (``old``) file lies."""
        return Path(self.targets[number].beside or folder) / state / str(number)


def folder_of(target: Path) -> Path:
    """Returns the staging folder of a target."""
    name = os.fsencode(target.name)
    if len(name) > _LONGEST:
        name = name[:100] + b"-" + hashlib.sha256(name).hexdigest()[:16].encode("ascii")
    return target.with_name(_PREFIX + os.fsdecode(name))


def lock_of(folder: Path) -> Path:
    """Returns the lock file of a staging folder."""
    return folder.with_name(folder.name + ".lock")


def write(folder: Path, manifest: Manifest) -> None:
    """Writes the record; the one before stays until this one is complete."""
    part = folder / PART
    part.write_text(json.dumps({"format": _FORMAT, **asdict(manifest)}, indent=1) + "\n", "utf-8", "surrogateescape")
    sync_file(part)
    os.replace(part, folder / FILE)  # noqa: PTH105


def read(folder: Path) -> Manifest | None:
    """Reads the record of a folder that an earlier run has left.

    Returns:
        The record, or None if the folder holds none and nothing else either, so that it may be removed.

    Raises:
        OutputError: The folder is not one that nuqconv has made for this user.
    """
    stranger = f"{folder}: stands where nuqconv prepares its outputs, and is not its own"
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise OutputError(f"{stranger}: it is no folder; look at it and remove it, or choose another place")
    if hasattr(os, "geteuid") and info.st_uid != os.geteuid():
        raise OutputError(f"{stranger}: it belongs to user {info.st_uid}; remove it, or choose another place")
    try:
        manifest = _parse(parse(read_bounded(folder / FILE, MOST_TEXT).decode("utf-8", "surrogateescape")))
    except FileNotFoundError:
        if set(os.listdir(folder)) <= {PART}:  # noqa: PTH208
            return None
        raise OutputError(
            f"{stranger}: it holds no {FILE}; look at it and remove it, or choose another place"
        ) from None
    except (ValueError, OSError, RecursionError) as error:
        raise OutputError(
            f"{stranger}: its {FILE} cannot be understood ({error}); look at it and remove it, or choose another place"
        ) from error
    return manifest


def _name(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("expected", "a name")
    return value


_Name = Annotated[Text, AfterValidator(_name)]


class _PlaceJson(OpenModel):
    target: _Name
    beside: _Name

    @model_validator(mode="after")
    def _check(self) -> _PlaceJson:
        target, beside = Path(self.target), Path(self.beside)
        inside = self.target == target.name and self.target not in {"", ".", ".."}
        apart = target.is_absolute() and beside.is_absolute()
        beside_it = beside.parent == target.parent and beside.name.startswith(_PREFIX)
        if not (inside if not self.beside else apart and beside_it):
            raise problem(f"target {self.target!r}")
        return self


class _ManifestJson(OpenModel):
    format: Literal["nuqconv-staging-1"]
    targets: list[_PlaceJson]
    main: _Name
    run: dict[Text, Any]


def _parse(record: object) -> Manifest:
    problems: list[str] = []
    found = read_object(_ManifestJson, record, (), problems)
    if found is None:
        raise ValueError("; ".join(problems))
    return Manifest(tuple(Place(item.target, item.beside) for item in found.targets), found.main, found.run)
