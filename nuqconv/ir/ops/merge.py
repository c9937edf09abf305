"""Operators that join, cut or hand on whole values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from nuqconv.ir.ops.base import Op, OpError, Shape, along_axis, canonical_axis, expect_params
from nuqconv.ir.traits import Rearranges, SharesMemory

__all__ = ["Concat", "Crop", "MergeCrop", "Parameter", "Silence", "Slice", "Split"]


@dataclass(frozen=True)
class Concat(Op, traits=(Rearranges(), SharesMemory(most_inputs=1))):
    """Concatenation along ``axis``.

    Attributes:
        axis: The axis.
        for_each: Whether an input of one item goes with each item (axis 0) of the others, as a stored table goes with all pictures of a batch.
    """

    axis: int = 1
    for_each: bool = False

    max_inputs: ClassVar[int | None] = None

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """The same along another axis."""
        return None if self.for_each and order[0] != 0 else along_axis(self, self.axis, order)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Inputs agree in all dimensions but ``axis``."""
        expect_params(params, [])
        axis = canonical_axis(self.axis, len(inputs[0]))
        if self.for_each and axis:
            items = max(shape[:1] or (0,) for shape in inputs)
            inputs = [(*items, *shape[1:]) if shape[:1] == (1,) else shape for shape in inputs]
        if len({(*shape[:axis], *shape[axis + 1 :]) for shape in inputs}) != 1 or len({len(s) for s in inputs}) != 1:
            raise OpError(f"inputs differ outside axis {axis}: {', '.join('x'.join(map(str, s)) for s in inputs)}")
        return ((*inputs[0][:axis], sum(shape[axis] for shape in inputs), *inputs[0][axis + 1 :]),)


@dataclass(frozen=True)
class Crop(Op, traits=()):
    """The part of the first input that has the second's size in all axes from ``axis`` on; axes that only the second has do not count."""

    axis: int = 2
    offset: tuple[int, ...] = ()

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output: the first input's leading axes, the second's from ``axis`` on."""
        expect_params(params, [])
        data, like = inputs
        if len(data) > len(like):
            raise OpError(f"inputs have {len(data)} and {len(like)} dimensions")
        axis = canonical_axis(self.axis, len(data))
        for number, start in enumerate(self.starts(len(data)), axis):
            if start < 0 or start + like[number] > data[number]:
                raise OpError(f"axis {number}: cannot take {like[number]} from {data[number]} at offset {start}")
        return ((*data[:axis], *like[axis : len(data)]),)

    def starts(self, rank: int) -> tuple[int, ...]:
        """Returns the offset for each axis from ``axis`` on.

        Raises:
            OpError: The number of offsets is neither 0, 1 nor the number of cropped axes.
        """
        count = rank - canonical_axis(self.axis, rank)
        if len(self.offset) in (0, 1):
            return (self.offset[0] if self.offset else 0,) * count
        if len(self.offset) != count:
            raise OpError(f"has {len(self.offset)} offsets for {count} cropped axes")
        return self.offset


@dataclass(frozen=True)
class MergeCrop(Op, traits=()):
    """The first input with the middle of the second, which is as large or larger behind axis 1 (U-Net in naibaf7's Caffe).

    Attributes:
        add: Whether they are added up; else their channels stand behind each other.
    """

    add: bool = False

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    def crop(self, inputs: Sequence[Shape]) -> Crop:
        """Returns what cuts out the middle of the second input, by the first."""
        return Crop(2, tuple((large - small) // 2 for small, large in zip(inputs[0][2:], inputs[1][2:], strict=True)))

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output: the first input's shape, with the channels of both unless they are added."""
        expect_params(params, [])
        first, second = inputs
        if len(first) < 3 or len(first) != len(second) or first[0] != second[0]:
            raise OpError(f"inputs of {first} and {second} are not of as many items and axes (3 at least)")
        if any(small > large for small, large in zip(first[2:], second[2:], strict=True)):
            raise OpError(f"the first input {first} is larger than the second {second}")
        if self.add and first[1] != second[1]:
            raise OpError(f"{first[1]} channels cannot be added to {second[1]}")
        return ((first[0], first[1] + (0 if self.add else second[1]), *first[2:]),)


@dataclass(frozen=True)
class Split(Op, traits=(Rearranges(), SharesMemory())):
    """The input under several names."""

    num_outputs: ClassVar[int | None] = None

    count: int = 1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Every output has the input's shape."""
        expect_params(params, [])
        return (inputs[0],) * self.count


@dataclass(frozen=True)
class Silence(Op, traits=()):
    """Reads its inputs and makes nothing, so that they do not count as outputs of the network."""

    max_inputs: ClassVar[int | None] = None
    num_outputs: ClassVar[int | None] = 0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """There are no outputs."""
        del inputs
        expect_params(params, [])
        return ()


@dataclass(frozen=True)
class Parameter(Op, traits=()):
    """Makes its parameter the output. Parameter: a tensor of ``shape``."""

    shape: Shape

    min_inputs: ClassVar[int] = 0
    max_inputs: ClassVar[int | None] = 0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the parameter's shape, whatever the batch."""
        del inputs
        expect_params(params, [self.shape])
        return (self.shape,)


@dataclass(frozen=True)
class Slice(Op, traits=(SharesMemory(most_outputs=1),)):
    """Cuts the input along ``axis`` into ``parts`` outputs, in front of each of ``points``, or into equal parts if there are none."""

    parts: int
    axis: int = 1
    points: tuple[int, ...] = ()

    num_outputs: ClassVar[int | None] = None

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """The same along another axis."""
        return along_axis(self, self.axis, order)

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
