"""Operators that pick, place, repeat or mask elements as ONNX has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params
from nuqconv.ir.ops.binary import broadcast_shapes

__all__ = [
    "Expand",
    "Gather",
    "GatherElements",
    "GatherND",
    "ScatterElements",
    "ScatterND",
    "ScatterReduction",
    "StridedSlice",
    "Trilu",
]

ScatterReduction: TypeAlias = Literal["none", "add", "mul", "max", "min"]


@dataclass(frozen=True)
class StridedSlice(Op):
    """``range(start, end, step)`` of every axis, as Python's range counts: an ``end`` of -1 with a negative step lies before the first."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    steps: tuple[int, ...]

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has as many elements of each axis as the range."""
        expect_params(params, [])
        shape = inputs[0]
        if not len(self.starts) == len(self.ends) == len(self.steps) == len(shape) or 0 in self.steps:
            raise OpError(f"starts {self.starts}, ends {self.ends}, steps {self.steps} do not fit {len(shape)} axes")
        ranges = [range(*bounds) for bounds in zip(self.starts, self.ends, self.steps, strict=True)]
        for axis, (size, taken) in enumerate(zip(shape, ranges, strict=True)):
            if taken and not (0 <= taken[0] < size and 0 <= taken[-1] < size):
                raise OpError(f"axis {axis}: elements {taken[0]} to {taken[-1]} of {size}")
        return (tuple(map(len, ranges)),)


@dataclass(frozen=True)
class Gather(Op):
    """The parts of the first input along ``axis`` that the second names; a negative index counts from the end."""

    axis: int = 0

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The indices' shape takes the place of the axis."""
        expect_params(params, [])
        data, indices = inputs
        axis = canonical_axis(self.axis, len(data))
        return ((*data[:axis], *indices, *data[axis + 1 :]),)


@dataclass(frozen=True)
class GatherElements(Op):
    """For each index (second input), the element of the first at the same place but along ``axis``."""

    axis: int = 0

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the indices' shape."""
        expect_params(params, [])
        data, indices = inputs
        _expect_within(data, indices, self.axis)
        return (indices,)


@dataclass(frozen=True)
class GatherND(Op):
    """The parts of the first input that the rows of the second name by an index for each of the axes behind ``batch_dims``."""

    batch_dims: int = 0

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Indices (any..., K), output (any..., what follows the first batch_dims + K axes of the data)."""
        expect_params(params, [])
        data, indices = inputs
        batch = self.batch_dims
        if not indices or data[:batch] != indices[: min(batch, len(indices) - 1)]:
            raise OpError(f"indices of shape {indices} do not fit data of shape {data} with batch_dims {batch}")
        if not 1 <= indices[-1] <= len(data) - batch:
            raise OpError(f"{indices[-1]} indices for data of {len(data)} axes with batch_dims {batch}")
        return ((*indices[:-1], *data[batch + indices[-1] :]),)


@dataclass(frozen=True)
class ScatterElements(Op):
    """The first input with the third's elements at the places that the second names along ``axis``."""

    axis: int = 0
    reduction: ScatterReduction = "none"

    min_inputs: ClassVar[int] = 3
    max_inputs: ClassVar[int | None] = 3

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the data's shape."""
        expect_params(params, [])
        data, indices, updates = inputs
        _expect_within(data, indices, self.axis)
        if updates != indices:
            raise OpError(f"updates of shape {updates}, expected that of the indices, {indices}")
        return (data,)


@dataclass(frozen=True)
class ScatterND(Op):
    """The first input with the third's parts at the places that the rows of the second name."""

    reduction: ScatterReduction = "none"

    min_inputs: ClassVar[int] = 3
    max_inputs: ClassVar[int | None] = 3

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the data's shape."""
        expect_params(params, [])
        data, indices, updates = inputs
        if not indices or not 1 <= indices[-1] <= len(data):
            raise OpError(f"indices of shape {indices} do not fit data of shape {data}")
        wanted = (*indices[:-1], *data[indices[-1] :])
        if updates != wanted:
            raise OpError(f"updates of shape {updates}, expected {wanted}")
        return (data,)


@dataclass(frozen=True)
class Expand(Op):
    """The input broadcast together with ``shape``."""

    shape: Shape

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the common shape."""
        expect_params(params, [])
        return (broadcast_shapes([inputs[0], self.shape]),)


@dataclass(frozen=True)
class Trilu(Op):
    """Keeps the upper (or lower) triangle of the last two axes, from the ``k``-th diagonal on, and sets the rest to 0."""

    upper: bool = True
    k: int = 0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        if len(inputs[0]) < 2:
            raise OpError(f"input has {len(inputs[0])} dimensions, expected at least 2")
        return (inputs[0],)


def _expect_within(data: Shape, indices: Shape, axis: int) -> None:
    """Raises OpError unless the indices have as many axes as the data, and are no longer in any but one."""
    place = canonical_axis(axis, len(data))
    same = len(indices) == len(data)
    if not same or any(few > many for at, (few, many) in enumerate(zip(indices, data, strict=True)) if at != place):
        raise OpError(f"indices of shape {indices} do not fit data of shape {data}")
