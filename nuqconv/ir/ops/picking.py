"""Operators that pick, place, repeat, pad or mask elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

from nuqconv.ir.ops.base import Op, OpError, Shape, along_axis, canonical_axis, expect_params, spread
from nuqconv.ir.ops.binary import broadcast_shapes
from nuqconv.ir.traits import Jumps, SizedByData

__all__ = [
    "BatchReindex",
    "Embed",
    "Expand",
    "Filter",
    "Gather",
    "GatherElements",
    "GatherND",
    "Pad",
    "PadMode",
    "ScatterElements",
    "ScatterND",
    "ScatterReduction",
    "StridedSlice",
    "Tile",
    "Trilu",
]

ScatterReduction: TypeAlias = Literal["none", "add", "mul", "max", "min"]


@dataclass(frozen=True)
class StridedSlice(Op, traits=()):
    """``range(start, end, step)`` of every axis, as Python's range counts: an ``end`` of -1 with a negative step lies before the first."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    steps: tuple[int, ...]

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """The same with the entries of the axes in another order."""
        return StridedSlice(*(spread(item, order) for item in (self.starts, self.ends, self.steps)))

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
class Gather(Op, traits=(Jumps(),)):
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
class GatherElements(Op, traits=(Jumps(),)):
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
class GatherND(Op, traits=(Jumps(),)):
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
class ScatterElements(Op, traits=(Jumps(),)):
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
class ScatterND(Op, traits=(Jumps(),)):
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
class Expand(Op, traits=()):
    """The input broadcast together with ``shape``."""

    shape: Shape

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the common shape."""
        expect_params(params, [])
        return (broadcast_shapes([inputs[0], self.shape]),)


@dataclass(frozen=True)
class Trilu(Op, traits=()):
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


PadMode: TypeAlias = Literal["constant", "reflect", "edge", "wrap"]


@dataclass(frozen=True)
class Pad(Op, traits=()):
    """Puts elements before and behind those of every axis.

    Attributes:
        begins: How many before the first, for each axis; a negative number cuts elements off, which happens before anything is put.
        ends: How many behind the last.
        mode: ``constant`` puts ``value``; ``reflect`` mirrors without repeating the outermost element, ``edge`` repeats it, ``wrap`` goes on
            at the other end.
        value: What ``constant`` puts.
    """

    begins: tuple[int, ...]
    ends: tuple[int, ...]
    mode: PadMode = "constant"
    value: float = 0.0

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """The same with the entries of the axes in another order."""
        return replace(self, begins=spread(self.begins, order), ends=spread(self.ends, order))

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the sum of sizes and pads."""
        expect_params(params, [])
        shape = inputs[0]
        if not len(self.begins) == len(self.ends) == len(shape):
            raise OpError(f"has pads for {len(self.begins)} and {len(self.ends)} axes, the input has {len(shape)}")
        for axis, (size, begin, end) in enumerate(zip(shape, self.begins, self.ends, strict=True)):
            left = size + min(begin, 0) + min(end, 0)
            if left < 1:
                raise OpError(f"nothing is left of axis {axis} with {size} elements and pads {begin} and {end}")
            if self.mode == "reflect" and max(begin, end) > 0 and left == 1:
                raise OpError(f"axis {axis} has one element, which nothing can be mirrored at")
        return (tuple(size + begin + end for size, begin, end in zip(shape, self.begins, self.ends, strict=True)),)


@dataclass(frozen=True)
class Tile(Op, traits=()):
    """The input ``tiles`` times one behind the other along ``axis``."""

    tiles: int
    axis: int = 1

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """The same along another axis."""
        return along_axis(self, self.axis, order)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The size of ``axis`` is multiplied."""
        expect_params(params, [])
        shape = inputs[0]
        axis = canonical_axis(self.axis, len(shape))
        return ((*shape[:axis], shape[axis] * self.tiles, *shape[axis + 1 :]),)


@dataclass(frozen=True)
class Filter(Op, traits=(Jumps(), SizedByData("how many items it selects depends on the weights"))):
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

    def with_count(self, count: int) -> Filter:
        """A Filter that selects so many items."""
        return replace(self, selected=count)

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
class BatchReindex(Op, traits=(Jumps(),)):
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
class Embed(Op, traits=(Jumps(),)):
    """The row of the weight that each element of the input names, plus a bias; fractions of indices are cut off.

    Parameters: weight (input_dim, num_output), then bias (num_output,) if ``bias_term``.
    """

    num_output: int
    input_dim: int
    bias_term: bool = True

    @property
    def index_limit(self) -> int | None:
        """The number of rows."""
        return self.input_dim

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input (any...), output (any..., num_output)."""
        weight = (self.input_dim, self.num_output)
        expect_params(params, [weight, (self.num_output,)] if self.bias_term else [weight])
        return ((*inputs[0], self.num_output),)
