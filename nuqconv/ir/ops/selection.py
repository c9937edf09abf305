"""Operators that pick, cut or repeat parts of their input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params

__all__ = ["BatchReindex", "Embed", "Filter", "Slice", "Tile"]


@dataclass(frozen=True)
class Slice(Op):
    """Cuts the input along ``axis`` into ``parts`` outputs, in front of each of ``points``, or into equal parts if there are none."""

    parts: int
    axis: int = 1
    points: tuple[int, ...] = ()

    num_outputs: ClassVar[int | None] = None

    def output_count(self, inputs: int) -> int | None:
        """One output for each part."""
        del inputs
        return self.parts

    def sizes(self, size: int) -> tuple[int, ...]:
        """Returns how much of an axis of ``size`` each output gets.

        Raises:
            OpError: The axis cannot be cut so.
        """
        if not self.points:
            if size % self.parts:
                raise OpError(f"{size} elements cannot be cut into {self.parts} equal parts")
            return (size // self.parts,) * self.parts
        if len(self.points) != self.parts - 1:
            raise OpError(f"has {len(self.points)} slice points for {self.parts} outputs")
        bounds = (0, *self.points, size)
        sizes = tuple(end - start for start, end in pairwise(bounds))
        if min(sizes) < 1:
            raise OpError(f"slice points {self.points} are not ascending within an axis of {size}")
        return sizes

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The outputs share all dimensions but ``axis`` with the input."""
        expect_params(params, [])
        shape = inputs[0]
        axis = canonical_axis(self.axis, len(shape))
        return tuple((*shape[:axis], size, *shape[axis + 1 :]) for size in self.sizes(shape[axis]))


@dataclass(frozen=True)
class Tile(Op):
    """The input ``tiles`` times one behind the other along ``axis``."""

    tiles: int
    axis: int = 1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The size of ``axis`` is multiplied."""
        expect_params(params, [])
        shape = inputs[0]
        axis = canonical_axis(self.axis, len(shape))
        return ((*shape[:axis], shape[axis] * self.tiles, *shape[axis + 1 :]),)


@dataclass(frozen=True)
class Filter(Op):
    """Of each input but the last the items along axis 0 at which the last input, the selector, is not 0.

    Attributes:
        selected: How many items shapes are inferred for. The number is known only when the network runs; None stands for the most there
            can be: all of them.
    """

    selected: int | None = None

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = None
    num_outputs: ClassVar[int | None] = None

    def output_count(self, inputs: int) -> int | None:
        """One output for each input but the selector."""
        return inputs - 1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Inputs (N, rest...) and selector (N, 1...), outputs (selected, rest...)."""
        expect_params(params, [])
        *data, selector = inputs
        if not selector or any(size != 1 for size in selector[1:]):
            raise OpError(f"the selector has shape {selector}; all its sizes but the first must be 1")
        for number, shape in enumerate(data):
            if not shape or shape[0] != selector[0]:
                raise OpError(f"input {number} has shape {shape}, and the selector chooses among {selector[0]} items")
        count = selector[0] if self.selected is None else self.selected
        return tuple((count, *shape[1:]) for shape in data)


@dataclass(frozen=True)
class BatchReindex(Op):
    """The items of the first input along axis 0 in the order in which the second input names them; fractions of indices are cut off."""

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Inputs (N, rest...) and (M,), output (M, rest...)."""
        expect_params(params, [])
        data, indices = inputs
        if not data:
            raise OpError("the first input is a scalar")
        if len(indices) != 1:
            raise OpError(f"the indices have {len(indices)} dimensions, expected 1")
        return ((*indices, *data[1:]),)


@dataclass(frozen=True)
class Embed(Op):
    """The row of the weight that each element of the input names, plus a bias; fractions of indices are cut off.

    Parameters: weight (input_dim, num_output), then bias (num_output,) if ``bias_term``.
    """

    num_output: int
    input_dim: int
    bias_term: bool = True

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input (any...), output (any..., num_output)."""
        weight = (self.input_dim, self.num_output)
        expect_params(params, [weight, (self.num_output,)] if self.bias_term else [weight])
        return ((*inputs[0], self.num_output),)
