"""A layer that is kept, not understood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nuqconv.ir.ops.base import Op, Shape

__all__ = ["Opaque"]


@dataclass(frozen=True)
class Opaque(Op):
    """Any layer whose type or parameters nobody here knows; it is written back untouched and its output shapes are unknown."""

    layer_type: str
    reason: str

    min_inputs: ClassVar[int] = 0
    max_inputs: ClassVar[int | None] = None
    num_outputs: ClassVar[int | None] = None

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Returns nothing: the graph marks the outputs as unknown."""
        del inputs, params
        return ()
