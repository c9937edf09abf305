"""How model files are to be read, and what every reader returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nuqconv.ir import Graph

__all__ = ["AS_THEY_ARE", "ReadGraph", "ReadOptions"]


@dataclass(frozen=True)
class ReadOptions:
    """How model files are to be read; a format leaves aside what it does not know.

    Attributes:
        input_shapes: Shapes for inputs by name, instead of the file's. An open batch of an ONNX model is 1 unless given here; its other open sizes
            must be given.
        allow_unknown_fields: Whether a field of a .prototxt that its message does not have (a misspelt parameter?) is only noted. It is kept for
            writing back; outside of layers it is lost.
        cut_for_inference: Whether a Caffe net for training or testing is cut down to what a user runs, see `nuqconv.frontends.caffe.training`,
            instead of being refused.
        phase: The phase that selects a Caffe net's layers, ``"TEST"`` or ``"TRAIN"``.
        level: The level that selects them.
        stages: The stages that select them; those that the file itself sets are added.
        exact_sizes: Whether sizes of PriorBox that are no whole numbers count as they stand, as in OpenCV, instead of being cut as in SSD Caffe.
    """

    input_shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    allow_unknown_fields: bool = False
    cut_for_inference: bool = False
    phase: str = "TEST"
    level: int = 0
    stages: frozenset[str] = frozenset()
    exact_sizes: bool = False

    def __post_init__(self) -> None:
        # Equal choices are equal, however they were given.
        object.__setattr__(self, "input_shapes", {name: tuple(shape) for name, shape in self.input_shapes.items()})

    @property
    def chooses_layers(self) -> bool:
        """Whether other layers are read than by default, so that the files themselves do not say which."""
        return self.phase != "TEST" or self.level != 0 or bool(self.stages)

    def choices(self) -> dict[str, str]:
        """Returns what is read otherwise than by default, as texts by name; nothing where files are read as they are."""
        layers = f"level {self.level}, stages {', '.join(sorted(self.stages))}"
        return {
            **({"layers": layers} if self.chooses_layers else {}),
            **({"prior_box_sizes": "exact"} if self.exact_sizes else {}),
        }

    def beside(self, other: ReadOptions) -> ReadOptions:
        """Returns what both choose; of shapes and of the net's state the other's choices go first.

        Args:
            other: Choices of whoever reads, as these are of whoever named the model.
        """
        return replace(
            other,
            input_shapes={**self.input_shapes, **other.input_shapes},
            allow_unknown_fields=self.allow_unknown_fields or other.allow_unknown_fields,
            cut_for_inference=self.cut_for_inference or other.cut_for_inference,
            phase=self.phase if other.phase == "TEST" else other.phase,
            level=other.level or self.level,
            stages=self.stages | other.stages,
            exact_sizes=self.exact_sizes or other.exact_sizes,
        )


AS_THEY_ARE = ReadOptions()
"""Nothing is chosen: files are read as they are."""


@dataclass(frozen=True)
class ReadGraph:
    """A network that was read.

    Attributes:
        graph: The verified graph.
        notes: What the reader chose or changed, in words; empty for a current deploy model that fits its weights.
    """

    graph: Graph
    notes: tuple[str, ...]
