"""Arithmetic on each element of one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nuqconv.ir.ops.base import OpError, Shape, UnaryOp
from nuqconv.ir.traits import Cuts, Jumps, KeepsScale, Rearranges, Trait

__all__ = ["UNARY_FUNCTIONS", "AbsVal", "Clip", "Exp", "Identity", "Log", "Power", "Threshold", "Unary"]


@dataclass(frozen=True)
class AbsVal(UnaryOp, traits=(KeepsScale(),)):
    """``|x|``."""


@dataclass(frozen=True)
class Exp(UnaryOp, traits=()):
    """``base ** (scale * x + shift)``; base -1 stands for e."""

    base: float = -1.0
    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class Log(UnaryOp, traits=()):
    """Logarithm to ``base`` of ``scale * x + shift``; base -1 stands for e."""

    base: float = -1.0
    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class Threshold(UnaryOp, traits=(Jumps(), Cuts())):
    """1 where ``x > threshold``, else 0."""

    threshold: float = 0.0


@dataclass(frozen=True)
class Clip(UnaryOp, traits=(Cuts(),)):
    """``max(low, min(high, x))``: where ``low`` exceeds ``high`` the result is ``low``."""

    low: float
    high: float


@dataclass(frozen=True)
class Power(UnaryOp, traits=()):
    """``(shift + scale * x) ** power``, each step rounded to float32."""

    power: float = 1.0
    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class Identity(UnaryOp, traits=(Rearranges(), KeepsScale())):
    """The input itself (Dropout at inference)."""


UNARY_FUNCTIONS = frozenset(
    {
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "ceil",
        "cos",
        "cosh",
        "erf",
        "exp",
        "floor",
        "gelu",
        "gelu_tanh",
        "isinf",
        "isnan",
        "log",
        "mish",
        "neg",
        "nonzero",
        "not",
        "reciprocal",
        "round",
        "sign",
        "sin",
        "sinh",
        "softplus",
        "softsign",
        "sqrt",
        "tan",
        "trunc",
    }
)
"""Names that `Unary` knows. ``round`` goes to the even neighbour from the middle; ``nonzero``, ``not``, ``isnan`` and ``isinf`` give 1 and 0."""


_STEPS = frozenset({"ceil", "floor", "isinf", "isnan", "nonzero", "not", "round", "sign", "trunc"})


@dataclass(frozen=True)
class Unary(UnaryOp, traits=()):
    """A function of each element, by its name in `UNARY_FUNCTIONS`."""

    function: str

    def special_traits(self) -> tuple[Trait, ...]:
        """Some functions have steps."""
        return (Jumps(),) if self.function in _STEPS else ()

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        if self.function not in UNARY_FUNCTIONS:
            raise OpError(f"'{self.function}' is no function of one value that is known")
        return super().infer(inputs, params)
