"""Operators that only move elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params

__all__ = ["Flatten", "Permute", "Reshape"]


@dataclass(frozen=True)
class Flatten(Op):
    """Joins the axes from ``axis`` to ``end_axis`` (inclusive) into one; if that is one before ``axis``, an axis of size 1 is put in."""

    axis: int = 1
    end_axis: int = -1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The joined axis has the product of the sizes."""
        expect_params(params, [])
        shape = inputs[0]
        first, last = canonical_axis(self.axis, len(shape)), canonical_axis(self.end_axis, len(shape))
        if last < first - 1:
            raise OpError(f"end_axis {last} lies more than one before axis {first}")
        return ((*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :]),)


@dataclass(frozen=True)
class Permute(Op):
    """Axis ``i`` of the output is axis ``order[i]`` of the input; axes that ``order`` leaves out follow in their order."""

    order: tuple[int, ...]

    def full_order(self, rank: int) -> tuple[int, ...]:
        """Returns the permutation of all ``rank`` axes.

        Raises:
            OpError: An axis is named twice or lies outside the shape.
        """
        if len(set(self.order)) != len(self.order) or any(not 0 <= axis < rank for axis in self.order):
            raise OpError(f"order {self.order} is no choice of the {rank} axes")
        return (*self.order, *(axis for axis in range(rank) if axis not in self.order))

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The input's sizes in the new order."""
        expect_params(params, [])
        return (tuple(inputs[0][axis] for axis in self.full_order(len(inputs[0]))),)


@dataclass(frozen=True)
class Reshape(Op):
    """Replaces ``num_axes`` axes from ``axis`` on (-1: all of them) by ``dims``, where 0 copies the input's size and -1 is what remains."""

    dims: tuple[int, ...]
    axis: int = 0
    num_axes: int = -1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has as many elements as the input."""
        expect_params(params, [])
        shape = inputs[0]
        start = canonical_axis(self.axis, len(shape), end=True)
        end = len(shape) if self.num_axes == -1 else start + self.num_axes
        if not start <= end <= len(shape):
            raise OpError(f"num_axes {self.num_axes} from axis {start} exceeds {len(shape)} dimensions")
        if any(dim < -1 for dim in self.dims) or self.dims.count(-1) > 1:
            raise OpError(f"dims {self.dims}: at most one -1, nothing below it")
        if any(dim == 0 and start + number >= len(shape) for number, dim in enumerate(self.dims)):
            raise OpError(f"dims {self.dims}: a 0 stands where the input has no axis")
        middle = [shape[start + number] if dim == 0 else dim for number, dim in enumerate(self.dims)]
        whole = [*shape[:start], *middle, *shape[end:]]
        known = prod(dim for dim in whole if dim != -1)
        total = prod(shape)
        if -1 in whole:
            if known == 0 or total % known:
                raise OpError(f"{total} elements cannot fill {'x'.join(map(str, whole))}")
            whole[whole.index(-1)] = total // known
        elif known != total:
            raise OpError(f"{total} elements cannot fill {'x'.join(map(str, whole))}")
        return (tuple(whole),)
