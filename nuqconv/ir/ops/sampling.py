"""Values between pixels, at positions that are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params

__all__ = ["GridSample"]


@dataclass(frozen=True)
class GridSample(Op):
    """The first input (N, C, spatial...) at the positions of the second (N, positions..., axes), where -1 and 1 are its ends, as ONNX has it.

    Attributes:
        mode: What is taken between elements.
        padding: What stands outside: 0, the outermost element, or the mirrored input.
        align_corners: Whether -1 and 1 are the centres of the outermost elements or their outer ends.
    """

    mode: Literal["linear", "nearest", "cubic"] = "linear"
    padding: Literal["zeros", "border", "reflection"] = "zeros"
    align_corners: bool = False

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (N, C, positions...)."""
        expect_params(params, [])
        data, grid = inputs
        rank = len(data)
        if rank < 3 or len(grid) != rank or grid[0] != data[0] or grid[-1] != rank - 2:
            raise OpError(f"positions of shape {grid} do not fit an input of shape {data}")
        if self.mode == "cubic" and rank != 4:
            raise OpError(f"mode cubic is for 4 axes, the input has {rank}")
        return ((*data[:2], *grid[1:-1]),)
