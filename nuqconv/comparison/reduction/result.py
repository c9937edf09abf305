"""What a reduction found, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nuqconv.comparison.reduction.cut import STEMS
from nuqconv.comparison.reduction.question import INPUTS
from nuqconv.files.staging import check_targets, move_into_place, staging_folder
from nuqconv.formats.table import FORMATS
from nuqconv.ir import Array
from nuqconv.ir.ops import Shape

__all__ = ["Attempt", "Reduced", "possible_targets"]

_README, _SUMMARY = "README.txt", "reduced.json"


def possible_targets(folder: Path) -> tuple[Path, ...]:
    """Returns the files that a reduction may write into a folder."""
    suffixes = [kind.suffixes[0] for item in FORMATS for kind in item.kinds]
    models = [f"{stem}{suffix}" for stem in STEMS for suffix in suffixes]
    return tuple(folder / name for name in (*models, INPUTS, _README, _SUMMARY))


@dataclass(frozen=True)
class Attempt:
    """One part that was looked at.

    Attributes:
        number: From 1 on; 1 is the whole model as it was given.
        layers: Layers of the part; of two models those of the first.
        samples: Samples of its inputs, or None where they have no common number.
        fails: Whether it shows what is looked for; None where it could not be run.
        words: What was seen, or why it could not be run.
    """

    number: int
    layers: int
    samples: int | None
    fails: bool | None
    words: str


@dataclass(frozen=True)
class Reduced:
    """The smallest part that still differs or fails.

    Attributes:
        layers: Its layers, name and type; of two models those of the first.
        total: Layers of the whole model.
        files: Content of its files by name.
        inputs: The arrays that it is fed: what the whole model had at these places.
        made_by: For each input that is no input of the whole model, the layer that makes it there.
        attempts: What was looked at, in order.
        seen: What was seen with the part, in words.
        place: The layer at which the two sides begin to differ, or an empty text.
        causes: What is likely to be behind it.
        command: The command line that shows it, in the folder of the files.
        versions: Of what took part.
        source: Where the inputs came from.
    """

    layers: tuple[tuple[str, str], ...]
    total: int
    files: Mapping[str, bytes] = field(repr=False)
    inputs: Mapping[str, Array] = field(repr=False)
    made_by: Mapping[str, str]
    attempts: tuple[Attempt, ...]
    seen: str
    place: str
    causes: tuple[str, ...]
    command: str
    versions: Mapping[str, str]
    source: str

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of each input."""
        return {name: tuple(array.shape) for name, array in self.inputs.items()}

    def targets(self, folder: Path) -> tuple[Path, ...]:
        """Returns the files that `save` writes."""
        return tuple(folder / name for name in (*self.files, INPUTS, _README, _SUMMARY))

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Writes the model files, ``inputs.npz``, ``README.txt`` and ``reduced.json``, all of them or none.

        Returns:
            The files.

        Raises:
            OutputError: They cannot be written.
        """
        targets = self.targets(Path(folder))
        check_targets(targets, inputs=())
        with staging_folder(*targets) as work:
            staged = [work / target.name for target in targets]
            for path in staged:
                if path.name in self.files:
                    path.write_bytes(self.files[path.name])
            np.savez(work / INPUTS, **self.inputs)  # type: ignore[arg-type]
            (work / _README).write_text(self.readme(), encoding="utf-8")
            (work / _SUMMARY).write_text(self.to_json(), encoding="utf-8")
            move_into_place(dict(zip(targets, staged, strict=True)))
        return targets

    def readme(self) -> str:
        """Returns what a reader of the bug report needs, as text."""
        layers = "\n".join(f"  {name} ({kind})" for name, kind in self.layers)
        inputs = "\n".join(f"  {self._input_words(name)}" for name in self.inputs)
        versions = "\n".join(f"  {name} {version}" for name, version in self.versions.items())
        place = f"\nIt begins in {self.place}.\n" if self.place else ""
        causes = "".join(f"  likely cause: {cause}\n" for cause in self.causes[:1])
        return (
            f"The smallest part of a model of {self.total} layers that still shows this:\n\n  {self.seen}\n{place}{causes}\n"
            f"To see it, run in this folder:\n\n  {self.command}\n\n"
            f"Layers:\n\n{layers}\n\nInputs, in {INPUTS} ({self.source}):\n\n{inputs}\n\nSeen with:\n\n{versions}\n"
        )

    def to_json(self) -> str:
        """Returns everything but the files as JSON text."""
        content = {
            "seen": self.seen,
            "place": self.place,
            "causes": list(self.causes),
            "command": self.command,
            "layers": [{"name": name, "type": kind} for name, kind in self.layers],
            "layers_of_the_whole": self.total,
            "files": [*self.files, INPUTS],
            "inputs": {
                name: {"shape": list(shape), "made_by": self.made_by.get(name)} for name, shape in self.shapes.items()
            },
            "source": self.source,
            "runs": len(self.attempts),
            "attempts": [vars(item) for item in self.attempts],
            "versions": dict(self.versions),
        }
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    def _input_words(self, name: str) -> str:
        sizes = "x".join(map(str, self.shapes[name])) or "one number"
        maker = self.made_by.get(name)
        return f"{name} {sizes}" + ("" if maker is None else f", as layer '{maker}' makes it in the whole model")
