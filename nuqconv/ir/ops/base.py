"""What every operator has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import ClassVar

from nuqconv.errors import ModelError

__all__ = [
    "AlongAxisOp",
    "Op",
    "OpError",
    "Shape",
    "UnaryOp",
    "canonical_axis",
    "expect_image",
    "expect_params",
    "expect_sizes",
]

Shape = tuple[int, ...]


class OpError(ModelError):
    """An operator does not fit its inputs or parameters; the graph adds the place."""


@dataclass(frozen=True)
class Op:
    """One operator with its attributes; a value, compared and hashed by content."""

    min_inputs: ClassVar[int] = 1
    max_inputs: ClassVar[int | None] = 1
    num_outputs: ClassVar[int | None] = 1
    abstract: ClassVar[bool] = True

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        """An operator, or with ``abstract`` what some operators have in common."""
        super().__init_subclass__()
        cls.abstract = abstract

    @property
    def kind(self) -> str:
        """The operator's name."""
        return type(self).__name__

    def output_count(self, inputs: int) -> int | None:
        """Returns how many outputs the operator makes of so many inputs, or None where that is open."""
        del inputs
        return self.num_outputs

    @property
    def fixed_batch(self) -> str | None:
        """Why the operator runs with no other batch size than the graph's, whatever the shapes say; or None."""
        return None

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape | None, ...]:
        """Checks the operator against its inputs and parameters.

        Args:
            inputs: Shape of each input.
            params: Shape of each parameter.

        Returns:
            The shape of each output, None where it is not known before the run.

        Raises:
            OpError: Something does not fit.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """Returns the attributes that differ from their defaults, as ``name=value`` text."""
        parts = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
                parts.append(f"{field.name}={text}")
        return " ".join(parts)


@dataclass(frozen=True)
class UnaryOp(Op, abstract=True):
    """An operator on each element of one input, without parameters."""

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        return (inputs[0],)


@dataclass(frozen=True)
class AlongAxisOp(Op, abstract=True):
    """A function whose output has the input's shape, along an axis."""

    axis: int = -1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        canonical_axis(self.axis, len(inputs[0]))
        return (inputs[0],)


def expect_params(found: Sequence[Shape], expected: Sequence[Shape]) -> None:
    """Raises OpError unless the parameter shapes are the expected ones."""
    if list(found) != list(expected):
        raise OpError(f"parameters have shapes {_shapes(found)}, expected {_shapes(expected)}")


def expect_sizes(params: Sequence[Shape], sizes: Sequence[int]) -> None:
    """Raises OpError unless the parameters have so many elements: files hold the same numbers as (C,), (1, C) or (1, C, 1, 1)."""
    found = [prod(shape) for shape in params]
    if found != list(sizes):
        raise OpError(f"parameters have {found} elements, expected {list(sizes)}")


def expect_image(shape: Shape, what: str = "input") -> None:
    """Raises OpError unless the shape has four dimensions."""
    if len(shape) != 4:
        raise OpError(f"{what} has {len(shape)} dimensions, expected 4")


def canonical_axis(axis: int, rank: int, *, end: bool = False) -> int:
    """Returns ``axis`` counted from the front.

    Args:
        axis: The axis, negative when counted from the back.
        rank: Number of dimensions.
        end: Whether ``rank`` itself is allowed, as for the end of a range.

    Raises:
        OpError: The axis is outside the shape.
    """
    low, high = -rank - int(end), rank + int(end)
    if not low <= axis < high:
        raise OpError(f"axis {axis} is outside a shape of {rank} dimensions")
    return axis + (rank + int(end) if axis < 0 else 0)


def _shapes(shapes: Sequence[Shape]) -> str:
    return ", ".join("x".join(map(str, shape)) or "scalar" for shape in shapes) or "none"
