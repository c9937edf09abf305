"""Operators that sum up or rank along axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params

__all__ = ["MVN", "ArgMax", "Reduction"]


@dataclass(frozen=True)
class Reduction(Op):
    """``coeff`` times the sum, the sum of magnitudes, the sum of squares or the mean over all axes from ``axis`` on."""

    operation: Literal["SUM", "ASUM", "SUMSQ", "MEAN"] = "SUM"
    axis: int = 0
    coeff: float = 1.0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input (leading..., rest...), output (leading...); a scalar if nothing leads."""
        expect_params(params, [])
        return (inputs[0][: canonical_axis(self.axis, len(inputs[0]))],)


@dataclass(frozen=True)
class ArgMax(Op):
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
class MVN(Op):
    """``x - mean``, divided by ``deviation + eps`` if ``normalize_variance``; both over (H, W), or (C, H, W) if ``across_channels``."""

    normalize_variance: bool = True
    across_channels: bool = False
    eps: float = 1e-9

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input of up to four dimensions, output (N, C, H, W): sizes that are missing at the end become 1."""
        expect_params(params, [])
        shape = inputs[0]
        if not 1 <= len(shape) <= 4:
            raise OpError(f"input has {len(shape)} dimensions, expected 1 to 4")
        return ((*shape, *(1,) * (4 - len(shape))),)
