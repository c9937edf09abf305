"""What every operator has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import ModelError
from nuqconv.ir.traits import KeepsChannels, Trait

__all__ = [
    "AlongAxisOp",
    "ChannelMap",
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
ChannelMap = tuple[NDArray[np.float64], NDArray[np.float64]]
"""A factor and a shift for each channel, (C,) each."""
_TraitT = TypeVar("_TraitT", bound=Trait)
_OpT = TypeVar("_OpT", bound="Op")
_Entry = TypeVar("_Entry")


class OpError(ModelError):
    """An operator does not fit its inputs or parameters; the graph adds the place."""


@dataclass(frozen=True)
class Op:
    """One operator with its attributes; a value, compared and hashed by content."""

    min_inputs: ClassVar[int] = 1
    max_inputs: ClassVar[int | None] = 1
    num_outputs: ClassVar[int | None] = 1
    quantizable: ClassVar[bool] = False
    """Whether there are forms of the operator that can be quantized; `quantization_limits` then says which."""
    traits: ClassVar[tuple[Trait, ...]] = ()
    abstract: ClassVar[bool] = True

    def __init_subclass__(cls, *, traits: tuple[Trait, ...] | None = None, abstract: bool = False) -> None:
        """An operator states its traits; those of its base classes come first. With ``abstract`` it is what some operators have in common."""
        super().__init_subclass__()
        if traits is None and not abstract:
            raise TypeError(
                f"operator {cls.__name__} states no traits; see nuqconv.ir.traits for what can be true of it"
            )
        cls.traits = (*cls.traits, *(traits or ()))
        cls.abstract = abstract

    def trait(self, kind: type[_TraitT]) -> _TraitT | None:
        """Returns the operator's trait of a kind, or None."""
        return next((item for item in (*self.special_traits(), *self.traits) if isinstance(item, kind)), None)

    def special_traits(self) -> tuple[Trait, ...]:
        """Returns the traits that depend on the attributes."""
        return ()

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

    @property
    def index_limit(self) -> int | None:
        """The first number that the input must not reach, where it holds indices; or None."""
        return None

    def with_count(self, count: int) -> Op | None:
        """Returns the operator that chooses so many items, for one that infers its shapes for a number of them; None for all others."""
        del count
        return None

    def quantization_limits(self) -> tuple[str, str]:
        """Returns why the operator cannot be int8 and why its weights cannot be NUQ; empty texts where it can."""
        return (f"{self.kind} layers are not quantized",) * 2

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """Returns the operator that does in front of a Permute by ``order`` what this one does behind it; None if there is none."""
        del order
        return None

    def channel_affine(self, params: Sequence[NDArray[Any]], inputs: int, rank: int) -> ChannelMap | None:
        """Returns the factor and the shift, (C,) each, where all the operator does is to multiply channels and add to them.

        Args:
            params: The node's parameters.
            inputs: Number of its inputs.
            rank: Number of dimensions of the first.
        """
        del params, inputs, rank
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
            if field.repr and value != field.default:
                text = "x".join(map(_shown, value)) if isinstance(value, tuple) else _shown(value)
                parts.append(f"{field.name}={text}")
        return " ".join(parts)


def _shown(value: object) -> str:
    """Returns a value as text; a number that a file holds as float32 has the digits that it was written with."""
    if isinstance(value, float) and np.float32(value) == value:
        return repr(float(str(np.float32(value))))
    return str(value)


@dataclass(frozen=True)
class UnaryOp(Op, abstract=True, traits=(KeepsChannels(),)):
    """An operator on each element of one input, without parameters."""

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """Elements have no axes."""
        del order
        return self

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        return (inputs[0],)


@dataclass(frozen=True)
class AlongAxisOp(Op, abstract=True):
    """A function whose output has the input's shape, along an axis."""

    axis: int = -1

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """The same along another axis."""
        return along_axis(self, self.axis, order)

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


def along_axis(op: _OpT, axis: int, order: tuple[int, ...]) -> _OpT:
    """Returns an operator along ``axis`` of what a Permute by ``order`` makes, as one along an axis of what that takes."""
    fields_: dict[str, Any] = {"axis": order[axis % len(order)]}
    return replace(op, **fields_)


def spread(values: Sequence[_Entry], order: tuple[int, ...]) -> tuple[_Entry, ...]:
    """Lays entries, one for each axis, out again: entry ``i`` of the permuted value belongs to axis ``order[i]``."""
    return tuple(value for _, value in sorted(zip(order, values, strict=True), key=lambda pair: pair[0]))
