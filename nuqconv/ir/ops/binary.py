"""Functions of several values, element by element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params
from nuqconv.ir.traits import Jumps, Trait

__all__ = ["BINARY_FUNCTIONS", "Axpy", "Binary", "Eltwise", "Where", "broadcast_shapes"]

BINARY_FUNCTIONS = frozenset(
    {
        "add",
        "and",
        "div",
        "equal",
        "fmod",
        "greater",
        "greater_equal",
        "integer_div",
        "less",
        "less_equal",
        "max",
        "min",
        "mod",
        "mul",
        "or",
        "pow",
        "prelu",
        "sub",
        "xor",
    }
)
"""Names that `Binary` knows.

Comparisons and logic give 1 and 0. ``mod`` has the sign of the second operand, ``fmod`` that of the first; ``integer_div`` rounds
towards 0. ``prelu`` is x where positive, else the second operand times x.
"""


_STEPS = BINARY_FUNCTIONS - {"add", "div", "max", "min", "mul", "pow", "prelu", "sub"}


@dataclass(frozen=True)
class Binary(Op, traits=()):
    """A function of two values, by its name in `BINARY_FUNCTIONS`."""

    function: str

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    def special_traits(self) -> tuple[Trait, ...]:
        """Some functions have steps."""
        return (Jumps(),) if self.function in _STEPS else ()

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """Elements have no axes."""
        del order
        return self

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the common shape."""
        expect_params(params, [])
        if self.function not in BINARY_FUNCTIONS:
            raise OpError(f"'{self.function}' is no function of two values that is known")
        return (broadcast_shapes(inputs),)


@dataclass(frozen=True)
class Where(Op, traits=(Jumps(),)):
    """The second input where the first is not 0, the third elsewhere."""

    min_inputs: ClassVar[int] = 3
    max_inputs: ClassVar[int | None] = 3

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the common shape."""
        expect_params(params, [])
        return (broadcast_shapes(inputs),)


def broadcast_shapes(shapes: Sequence[Shape]) -> Shape:
    """Returns the shape that numpy's broadcasting gives.

    Raises:
        OpError: The shapes do not go together.
    """
    rank = max(len(shape) for shape in shapes)
    full = [(*(1,) * (rank - len(shape)), *shape) for shape in shapes]
    found = []
    for sizes in zip(*full, strict=True):
        others = {size for size in sizes if size != 1}
        if len(others) > 1:
            raise OpError(f"shapes {', '.join('x'.join(map(str, s)) or 'scalar' for s in shapes)} do not go together")
        found.append(others.pop() if others else 1)
    return tuple(found)


@dataclass(frozen=True)
class Axpy(Op, traits=()):
    """``a * x + y`` with one factor for each sample and channel.

    Inputs: a (N, C) or (N, C, 1, 1), x (N, C, spatial...), y like x.
    """

    min_inputs: ClassVar[int] = 3
    max_inputs: ClassVar[int | None] = 3

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the shape of x."""
        expect_params(params, [])
        factor, data, added = inputs
        if data != added:
            raise OpError(f"the second and the third input differ in shape: {_text(data)} and {_text(added)}")
        if len(data) < 2 or factor not in (data[:2], (*data[:2], 1, 1)):
            raise OpError(
                f"the factors have shape {_text(factor)}, expected one for each of the first two axes of {_text(data)}"
            )
        return (data,)


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"


@dataclass(frozen=True)
class Eltwise(Op, traits=()):
    """Product, weighted sum or maximum of inputs of one shape; a maximum has no use for coefficients."""

    operation: Literal["PROD", "SUM", "MAX"] = "SUM"
    coeff: tuple[float, ...] = ()

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = None

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """Elements have no axes."""
        del order
        return self

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
