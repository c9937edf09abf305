"""Reductions over any axes, and ranks along one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params

__all__ = ["ArgReduce", "Reduce", "ReduceFunction", "TopK"]

ReduceFunction: TypeAlias = Literal["sum", "mean", "max", "min", "prod", "l1", "l2", "logsum", "logsumexp", "sumsquare"]


@dataclass(frozen=True)
class Reduce(Op):
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
class ArgReduce(Op):
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
class TopK(Op):
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
