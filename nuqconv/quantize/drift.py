"""Weights that make good what the layers before have done wrong.

In a network that is quantized layer by layer the inputs ``q`` of a layer are not those of the float network, ``f``. The outputs that it should make
are still ``W f + b``. The weights and bias that come nearest to them by least squares are::

    W* = W Cov(f, q) Cov(q, q)^-1        b* = b + W E[f] - W* E[q]

Source: Li et al., "GPTAQ: Efficient Finetuning-Free Quantization for Asymmetric Calibration", 2025. Here ``W*`` and ``b*`` are then quantized as
weights and bias are (`nuqconv.quantize.compensate`), with the moments of ``q``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import QuantizationError
from nuqconv.ir import Array
from nuqconv.quantize.compensate import damping
from nuqconv.quantize.moments import Moments, MomentSum, block_sizes

__all__ = ["DriftSum"]

_Floats = NDArray[np.float64]


class DriftSum:
    """Adds up how a layer's inputs in the quantized network differ from those in the float one.

    Args:
        groups: Number of groups.
        columns: Columns of a patch in one group.
    """

    def __init__(self, groups: int, columns: int) -> None:
        self._given = MomentSum(groups, columns)
        # Of columns in several blocks nobody knows how they go together.
        self._whole = len(block_sizes(columns)) == 1
        self._count = 0
        self._drift = np.zeros((groups, columns))
        self._mean = np.zeros((groups, columns))
        self._cross = np.zeros((groups, columns, columns) if self._whole else (groups, 0, 0))

    def update(self, wanted: Array, given: Array) -> None:
        """Adds patches of the float network and those of the quantized one at the same places.

        Args:
            wanted: Shape (any number, groups, columns), as `patches` returns them.
            given: The same shape.

        Raises:
            QuantizationError: The shapes differ, or a value is NaN or infinite.
        """
        if wanted.shape != given.shape:
            raise QuantizationError(f"patches of shape {wanted.shape} and {given.shape}")
        self._given.update(given)
        own = np.ascontiguousarray(np.swapaxes(given, 0, 1), np.float32)
        drift = np.swapaxes(wanted, 0, 1) - own
        self._count += len(given)
        self._drift += drift.sum(axis=1, dtype=np.float64)
        self._mean += own.sum(axis=1, dtype=np.float64)
        if self._whole:
            self._cross += np.swapaxes(drift, 1, 2) @ own

    def corrected(self, matrix: Array, bias: Array | None) -> tuple[Moments, _Floats, _Floats | None]:
        """Returns the moments of the inputs in the quantized network, and the weights and bias that it should have.

        The fewer patches there are, the more of the weights' change is held back, as by `damping`.

        Args:
            matrix: Float weights, (groups, outputs of a group, columns).
            bias: Float bias, (num_output,), or None.

        Raises:
            QuantizationError: There were no patches.
        """
        moments = self._given.finish()
        drift, mean = self._drift / self._count, self._mean / self._count
        weights = matrix.astype(np.float64)
        target = weights
        if self._whole and np.any(self._cross):
            covariance = self._cross / self._count - drift[:, :, None] * mean[:, None, :]
            share, more = damping(moments.variance, self._count)
            form = (1 - share) * moments.covariance[0]
            index = np.arange(weights.shape[2])
            form[:, index, index] += more
            change = np.linalg.solve(form, np.swapaxes(weights @ ((1 - share) * covariance), 1, 2))
            target = weights + np.swapaxes(change, 1, 2)
        if bias is None:
            return moments, target, None
        missing = np.einsum("grk,gk->gr", weights, drift + mean) - np.einsum("grk,gk->gr", target, mean)
        return moments, target, np.asarray(bias, np.float64).reshape(-1) + missing.reshape(-1)
