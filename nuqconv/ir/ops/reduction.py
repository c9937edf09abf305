"""Operators that sum up, rank or count along axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal, TypeAlias

from nuqconv.ir.ops.base import AlongAxisOp, Op, OpError, Shape, canonical_axis, expect_params
from nuqconv.ir.traits import Decides, Jumps

__all__ = ["ArgMax", "ArgReduce", "CumSum", "Reduce", "ReduceFunction", "Reduction", "TopK"]


@dataclass(frozen=True)
class Reduction(Op, traits=()):
    """``coeff`` times the sum, the sum of magnitudes, the sum of squares or the mean over all axes from ``axis`` on."""

    operation: Literal["SUM", "ASUM", "SUMSQ", "MEAN"] = "SUM"
    axis: int = 0
    coeff: float = 1.0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input (leading..., rest...), output (leading...); a scalar if nothing leads."""
        expect_params(params, [])
        return (inputs[0][: canonical_axis(self.axis, len(inputs[0]))],)


@dataclass(frozen=True)
class ArgMax(Op, traits=(Jumps(), Decides())):
    """The ``top_k`` largest elements in descending order; of equal ones the last comes first.

    Without ``axis`` all axes but the first are ranked together, and the output holds their flat indices and with ``out_max_val`` the values
    behind them. With ``axis`` it holds either the indices or, with ``out_max_val``, the values. Indices are float32.
    """

    axis: int | None = None
    top_k: int = 1
    out_max_val: bool = False

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output: the input's shape with ``top_k`` at ``axis``; without an axis (N, 1 or 2, top_k, 1...) of at least three dimensions."""
        expect_params(params, [])
        shape = inputs[0]
        if not shape:
            raise OpError("input is a scalar")
        if self.axis is None:
            self._check_rank(prod(shape[1:]))
            return ((shape[0], 2 if self.out_max_val else 1, self.top_k, *(1,) * (len(shape) - 3)),)
        axis = canonical_axis(self.axis, len(shape))
        self._check_rank(shape[axis])
        return ((*shape[:axis], self.top_k, *shape[axis + 1 :]),)

    def _check_rank(self, size: int) -> None:
        if not 1 <= self.top_k <= size:
            raise OpError(f"top_k {self.top_k} of {size} elements")


@dataclass(frozen=True)
class CumSum(AlongAxisOp, traits=()):
    """Sums of all elements up to each along ``axis``.

    Attributes:
        exclusive: Whether the element itself is left out.
        reverse: Whether the elements from each to the last are summed.
    """

    exclusive: bool = False
    reverse: bool = False


ReduceFunction: TypeAlias = Literal["sum", "mean", "max", "min", "prod", "l1", "l2", "logsum", "logsumexp", "sumsquare"]


@dataclass(frozen=True)
class Reduce(Op, traits=()):
    """A function of all elements along ``axes``, which stay with size 1 if ``keepdims``."""

    function: ReduceFunction
    axes: tuple[int, ...]
    keepdims: bool = True

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output lacks the axes, or has 1 there."""
        expect_params(params, [])
        shape = inputs[0]
        axes = [canonical_axis(axis, len(shape)) for axis in self.axes]
        if not axes or len(set(axes)) != len(axes):
            raise OpError(f"axes {self.axes} name none, or one twice")
        return (_without(shape, axes, keep=self.keepdims),)


@dataclass(frozen=True)
class ArgReduce(Op, traits=(Jumps(), Decides())):
    """Where the largest or the smallest element along ``axis`` stands, counted from 0; of equal ones the first, or the last if ``last``."""

    function: Literal["argmax", "argmin"]
    axis: int
    keepdims: bool = True
    last: bool = False

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output lacks the axis, or has 1 there."""
        expect_params(params, [])
        return (_without(inputs[0], [canonical_axis(self.axis, len(inputs[0]))], keep=self.keepdims),)


@dataclass(frozen=True)
class TopK(Op, traits=(Jumps(),)):
    """The ``k`` largest (or smallest) elements along ``axis``, and where they stand; of equal ones the first come first.

    ``sorted`` promises that they come in order; without it they may as well.
    """

    k: int
    axis: int = -1
    largest: bool = True
    sorted: bool = True

    num_outputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Values and indices, with ``k`` at the axis."""
        expect_params(params, [])
        shape = inputs[0]
        axis = canonical_axis(self.axis, len(shape))
        if not 1 <= self.k <= shape[axis]:
            raise OpError(f"takes {self.k} of {shape[axis]} elements")
        return ((*shape[:axis], self.k, *shape[axis + 1 :]),) * 2


def _without(shape: Shape, axes: Sequence[int], *, keep: bool) -> Shape:
    return tuple(1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis not in axes)
