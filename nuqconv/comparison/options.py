"""What a comparison may be told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nuqconv.comparison.tolerance import Tolerance, Tolerances
from nuqconv.errors import ConfigError
from nuqconv.formats import ReadOptions
from nuqconv.ir import Array

__all__ = ["CompareFunction", "CompareOptions"]

CompareFunction = Callable[[str, Array, Array], "bool | tuple[bool, str]"]
"""Told a blob's name, its value on the side that is looked at and on the reference, says whether they agree, and maybe something about it."""

_MEMORY = 1 << 29


@dataclass(frozen=True)
class CompareOptions:
    """What a comparison may be told.

    Attributes:
        blobs: The blobs to compare; by default all common ones, and all outputs of the first model have to be among them.
        input_shapes: Shapes of random inputs, where others than the model's are wanted.
        seed: Of the random inputs.
        tolerance: What counts as equal.
        tolerances: What counts as equal in single blobs, by name or by a pattern such as ``fc*``; a name goes before patterns, and of these the
            last that fits counts.
        all_roots: Whether all layers that differ for a reason of their own are looked for, which runs every layer that differs once more, alone; else
            the first one is enough, and all other differences count as inherited.
        function: Says whether two values of a blob agree, instead of the tolerances.
        memory: Bytes that the values of one side may take at once. Blobs that take more are compared in groups, each of which is a run of its own.
        save: A .npz file to write: the inputs and all results of the reference.
        against: Such a file, whose results are the reference; the models run with its inputs. So a machine without Caffe repeats the report of
            one that has it.
        read: How the models' files are read: unknown fields, level and stages.

    Raises:
        ConfigError: An option is out of range.
    """

    blobs: Sequence[str] | None = None
    input_shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    seed: int = 0
    tolerance: Tolerance = field(default_factory=Tolerance)
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)
    all_roots: bool = True
    function: CompareFunction | None = None
    memory: int = _MEMORY
    save: str | os.PathLike[str] | None = None
    against: str | os.PathLike[str] | None = None
    read: ReadOptions | None = None

    def __post_init__(self) -> None:
        if self.memory <= 0:
            raise ConfigError(f"memory {self.memory}: expected a positive number of bytes")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of random inputs."""
        return {name: tuple(shape) for name, shape in self.input_shapes.items()}

    @property
    def all_tolerances(self) -> Tolerances:
        """The tolerances of all blobs."""
        return Tolerances(self.tolerance, self.tolerances)
