"""Normalization by what the batch itself shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nuqconv.ir.ops.base import Op, Shape, expect_params

__all__ = ["BatchStatistics"]


@dataclass(frozen=True)
class BatchStatistics(Op):
    """``(x - mean) / sqrt(variance + eps)`` for each channel (axis 1), over all that the batch holds of it; no channel axis is one channel.

    Parameters: the stored mean (C,), variance (C,) and factor (1,) of Caffe's layer, which the result does not depend on.
    """

    eps: float = 1e-5

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        shape = inputs[0]
        channels = shape[1] if len(shape) > 1 else 1
        expect_params(params, [(channels,), (channels,), (1,)])
        return (shape,)
