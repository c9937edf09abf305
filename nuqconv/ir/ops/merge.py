"""Operators with several inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params

__all__ = ["Concat", "Crop", "Eltwise"]


@dataclass(frozen=True)
class Eltwise(Op):
    """Product, weighted sum or maximum of inputs of one shape; a maximum has no use for coefficients."""

    operation: Literal["PROD", "SUM", "MAX"] = "SUM"
    coeff: tuple[float, ...] = ()

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = None

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """All inputs and the output have one shape."""
        expect_params(params, [])
        if len(set(inputs)) != 1:
            raise OpError(f"inputs differ in shape: {', '.join('x'.join(map(str, shape)) for shape in inputs)}")
        if self.coeff and len(self.coeff) != len(inputs):
            raise OpError(f"has {len(self.coeff)} coefficients for {len(inputs)} inputs")
        if self.coeff and self.operation == "PROD":
            raise OpError("coefficients go with SUM only")
        return (inputs[0],)


@dataclass(frozen=True)
class Concat(Op):
    """Concatenation along ``axis``."""

    axis: int = 1

    max_inputs: ClassVar[int | None] = None

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Inputs agree in all dimensions but ``axis``."""
        expect_params(params, [])
        axis = canonical_axis(self.axis, len(inputs[0]))
        if len({(*shape[:axis], *shape[axis + 1 :]) for shape in inputs}) != 1 or len({len(s) for s in inputs}) != 1:
            raise OpError(f"inputs differ outside axis {axis}: {', '.join('x'.join(map(str, s)) for s in inputs)}")
        return ((*inputs[0][:axis], sum(shape[axis] for shape in inputs), *inputs[0][axis + 1 :]),)


@dataclass(frozen=True)
class Crop(Op):
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
