"""Results of one side in a file, so that a machine without its runtime can compare with them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nuqconv.comparison.sides import Placed
from nuqconv.comparison.taken import all_names
from nuqconv.data.datafile import NUMBERS, read_arrays, read_headers
from nuqconv.errors import FormatError
from nuqconv.files.digest import content_digest
from nuqconv.files.json_model import JsonModel, Text, read_object
from nuqconv.files.safe_json import parse
from nuqconv.files.staging import move_into_place, staging_folder
from nuqconv.ir import Array
from nuqconv.runtimes.loaded import Side
from nuqconv.runtimes.model import Runnable

__all__ = ["KeptSide", "ResultsFile", "saving"]

_ABOUT, _BLOB, _INPUT = "about", "blob/", "input/"
# A date of its own would make other bytes of the same results.
_DATE = (1980, 1, 1, 0, 0, 0)


class _About(JsonModel):
    """What a file of results says of them."""

    kind: Literal["nuqconv results"]
    version: Literal[1]
    label: Text
    runtime: Text
    own: bool
    files: list[Text]
    source: Text
    names: list[Text]
    states: dict[Text, list[Text]]
    outputs: list[Text]
    layers: dict[Text, list[Text]]


class ResultsFile:
    """Writes results as they come.

    Args:
        archive: The file.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def describe(self, placed: Placed, inputs: Mapping[str, Array], source: str) -> None:
        """Writes what the results are of.

        Args:
            placed: The side.
            inputs: What it is fed.
            source: Where that comes from, in words.
        """
        side = placed.side
        states = {name: list(found) for name in side.names if (found := side.states(name))}
        about = _About(
            kind="nuqconv results",
            version=1,
            label=side.label,
            runtime=placed.name,
            own=side.own,
            files=[] if placed.model is None else _hashes(placed.model),
            source=source,
            names=list(side.names),
            states=states,
            outputs=list(side.outputs),
            layers={name: list(side.layer(name)) for name in all_names(side)},
        )
        text = json.dumps(about.model_dump(), ensure_ascii=True).encode("ascii")
        self._write(_ABOUT, np.frombuffer(text, np.uint8))
        for name, array in inputs.items():
            self._write(f"{_INPUT}{name}", np.asarray(array))

    def add(self, values: Mapping[str, Array]) -> None:
        """Writes some results."""
        for name, array in values.items():
            self._write(f"{_BLOB}{name}", array)

    def _write(self, name: str, array: Array) -> None:
        with self._archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)


@contextmanager
def saving(path: Path) -> Iterator[ResultsFile]:
    """Opens a file for results, which appears when all is in it.

    Raises:
        OutputError: It cannot be written.
    """
    with staging_folder(path) as folder:
        ready = folder / "results"
        with zipfile.ZipFile(ready, "w") as archive:
            yield ResultsFile(archive)
        move_into_place({path: ready})


class KeptSide(Side):
    """Results from a file.

    Args:
        path: The file.

    Attributes:
        runtime: The runtime in which they were made.
        given: What was fed.
        source: Where that came from.

    Raises:
        FormatError: It cannot be read, or holds no results.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        headers = read_headers(path)
        if _ABOUT not in headers or headers[_ABOUT].dtype != np.uint8:
            raise FormatError(f"{path}: holds no results; `nuqconv compare --save` writes such files")
        odd = [name for name, header in headers.items() if header.dtype.kind not in NUMBERS]
        if odd:
            raise FormatError(f"{path}: holds what are no numbers: {', '.join(map(repr, odd[:8]))}")
        about = _about(path)
        self.label, self.own, self.runtime, self.source = about.label, about.own, about.runtime, about.source
        self._files, self._layers, self._states = about.files, about.layers, about.states
        held = {
            name.removeprefix(_BLOB): int(np.prod(header.shape, dtype=np.int64)) * header.dtype.itemsize
            for name, header in headers.items()
            if name.startswith(_BLOB)
        }
        wanted = [*about.names, *(state for states in about.states.values() for state in states)]
        missing = [name for name in wanted if name not in held]
        if missing:
            raise FormatError(f"{path}: lacks the results of {', '.join(map(repr, missing[:8]))}")
        self.names, self.outputs = tuple(about.names), tuple(about.outputs)
        self._held = held
        inputs = [name for name in headers if name.startswith(_INPUT)]
        self.given = {name.removeprefix(_INPUT): array for name, array in read_arrays(path, inputs).items()}
        self.inputs = {name: tuple(array.shape) for name, array in self.given.items()}

    def knows(self, model: Runnable) -> bool:
        """Takes the graph of a model if the results are of that model; says whether they are."""
        if not self._files or self._files != _hashes(model):
            return False
        self.graph = model.graph
        return True

    def run(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Reads results; the inputs are those of the file."""
        del inputs
        found = read_arrays(self._path, [f"{_BLOB}{name}" for name in names])
        return {name: found[f"{_BLOB}{name}"] for name in names}

    def has(self, name: str) -> bool:
        """Earlier states of blobs too."""
        return name in self._held

    def states(self, name: str) -> tuple[str, ...]:
        """What the file says."""
        return tuple(self._states.get(name, ()))

    def layer(self, name: str) -> tuple[str, str]:
        """What the file says."""
        found = self._layers.get(name, ())
        return (found[0], found[1]) if len(found) == 2 else (name, "")

    def parameters(self, layer: str) -> tuple[Array, ...] | None:
        """Those of the graph, where that is the results'."""
        node = None if self.graph is None else self.graph.node.get(layer)
        if node is None or self.graph is None:
            return None
        return tuple(self.graph.params[name] for name in node.params)

    def sizes(self, inputs: Mapping[str, Array]) -> dict[str, int]:
        """What the arrays in the file take."""
        del inputs
        return self._held


def _about(path: Path) -> _About:
    (text,) = read_arrays(path, [_ABOUT]).values()
    problems: list[str] = []
    try:
        content: Any = parse(text.tobytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: what it says of its results is no JSON: {error}") from error
    found = read_object(_About, content, (), problems)
    if found is None:
        raise FormatError(f"{path}: holds no results that this version reads", problems)
    return found


def _hashes(model: Runnable) -> list[str]:
    return [content_digest(path) for path in model.files]
