"""What a comparison may be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nuqconv.comparison.tolerance import Tolerance
from nuqconv.formats import ReadOptions

__all__ = ["CompareOptions"]


@dataclass(frozen=True)
class CompareOptions:
    """What a comparison may be told.

    Attributes:
        blobs: The blobs to compare; by default all common ones, and all outputs of the first model have to be among them.
        input_shapes: Shapes of random inputs, where others than the model's are wanted.
        seed: Of the random inputs.
        tolerance: What counts as equal.
        read: How the models' files are read: unknown fields, level and stages.
    """

    blobs: Sequence[str] | None = None
    input_shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    seed: int = 0
    tolerance: Tolerance = field(default_factory=Tolerance)
    read: ReadOptions | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of random inputs."""
        return {name: tuple(shape) for name, shape in self.input_shapes.items()}
