"""The solver of layers as it was before decision D38: what `benchmarks/solver.py` measures the present one against.

With the moments of a layer's inputs (`nuqconv.quantize.moments`) the mean squared error of its output is a quadratic form of the weights' error, so
what one weight does wrong, others can make good. For each number of steps:

1. step sizes and codebook are fitted in turns: the step size of a channel to the codebook, the codebook exactly (`optimal_codebooks`) to the
   integers, each weight counting with the power of its input;
2. the weights are put on the codebook one column after the other, and what a column does wrong is made good by the columns still to come (Frantar
   et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022), here on a grid that is not uniform;
3. each weight is put on the level that is best while all others stay (coordinate descent as in Behdin et al., "QuantEase", 2023), and the step
   sizes and levels are fitted again by least squares. No step of this part is kept that makes the error larger.

Where the layer has a bias, it takes up the mean of the error, so only the covariance of the inputs counts above.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import QuantizationError
from nuqconv.ir.ops import Weighted
from nuqconv.quantize.codebook import optimal_codebooks
from nuqconv.quantize.compensate import LayerSolution, WeightMethod
from nuqconv.quantize.moments import Moments
from nuqconv.quantize.rounding import INT8_MAX, INT8_MIN

__all__ = ["solve_layer"]

_Floats = NDArray[np.float64]

_BLOCK = 64
_SCALE_GRID = 2.0 ** (np.arange(-8, 9) / 8)
_DAMPING = 0.01
"""Share of the mean power of the inputs that is added to each; that of the GPTQ paper."""
_SHRINKAGE = 2.0
"""Patches for each column at which half of a covariance is that of the patches; from 1 to 3 measured alike on images not used for calibration."""


def solve_layer(
    op: Weighted,
    weights: NDArray[np.floating],
    bias: NDArray[np.floating] | None,
    scales: NDArray[np.float32],
    moments: Moments,
    steps: Sequence[int],
    method: WeightMethod,
    *,
    floor: NDArray[np.floating] | None = None,
    importance: NDArray[np.floating] | None = None,
) -> list[LayerSolution]:
    """Takes and returns what `nuqconv.quantize.compensate.solve_layer` does."""
    problem = _Problem(op, weights, bias, scales, moments, method, floor, importance)
    return problem.solve(steps)


class _Problem:
    """One layer. Arrays have the axes (steps, groups, rows, columns), rows being the outputs of a group."""

    def __init__(
        self,
        op: Weighted,
        weights: NDArray[np.floating],
        bias: NDArray[np.floating] | None,
        scales: NDArray[np.float32],
        moments: Moments,
        method: WeightMethod,
        floor: NDArray[np.floating] | None,
        importance: NDArray[np.floating] | None,
    ) -> None:
        matrix = op.to_matrix(weights).astype(np.float64)
        if moments.mean.shape != (matrix.shape[0], matrix.shape[2]):
            raise QuantizationError(f"moments of shape {moments.mean.shape} are not of weights {weights.shape}")
        self.op, self.shape, self.bias, self.moments, self.method = op, weights.shape, bias, moments, method
        self.matrix = matrix
        groups, rows, _ = matrix.shape
        self.shared = scales.size == 1
        self.scales = np.broadcast_to(scales.astype(np.float64), groups * rows).reshape(groups, rows)
        least = np.zeros(groups * rows) if floor is None else np.asarray(floor, np.float64)
        least = least.max() if self.shared and least.size else least
        self.floor = np.broadcast_to(least, groups * rows).reshape(groups, rows)
        self.centred = bias is not None and method.bias_correction
        self.weighing = np.ones_like(matrix)
        if importance is not None:
            self.weighing = op.to_matrix(np.asarray(importance, np.float64))
        self.row_weight = self.weighing.mean(axis=2)
        self.hessian = [
            _damped(block, moments.count) for block in (moments.covariance if self.centred else moments.second)
        ]
        self.blocks = moments.blocks
        self.power = np.concatenate([np.diagonal(block, axis1=1, axis2=2) for block in self.hessian], axis=1)

    def solve(self, steps: Sequence[int]) -> list[LayerSolution]:
        """Returns a solution for each number of steps."""
        books, scales = self._start(steps)
        if self.method.compensation:
            levels, scales, books = self._compensate(books, scales)
        else:
            levels = np.stack(
                [_nearest(self.matrix / scale[..., None], book) for scale, book in zip(scales, books, strict=True)]
            )
        return [self._solution(*item) for item in zip(levels, scales, strict=True)]

    def _start(self, steps: Sequence[int]) -> tuple[list[NDArray[np.int64]], _Floats]:
        """Returns a codebook and step sizes for each number of steps, fitted in turns."""
        counts = self.weighing * (self.power[:, None, :] if self.method.importance else 1.0)
        if not counts.any():
            counts = np.ones_like(counts)
        books, found = [], []
        for count in steps:
            scale = np.maximum(self.scales, self.floor)
            best = (np.inf, np.zeros(0, np.int64), scale)
            for _ in range(4 if self.method.refit_scales and not self.shared else 1):
                real = self.matrix / scale[..., None]
                integers = np.clip(np.rint(real), INT8_MIN + 1, INT8_MAX).astype(np.int8)
                weights = counts * np.square(scale)[..., None]
                table = np.bincount(integers.reshape(-1).view(np.uint8), weights.reshape(-1), minlength=256)
                curve = optimal_codebooks(np.roll(table, 128), max_steps=count)
                book = np.array(curve.codebook(count), np.int64)
                error = float((weights * np.square(real - _nearest(real, book))).sum())
                if error < best[0]:
                    best = (error, book, scale)
                if self.method.refit_scales:
                    scale = self._fit_to_book(book, scale, counts)
            books.append(best[1])
            found.append(best[2])
        return books, np.stack(found)

    def _fit_to_book(self, book: NDArray[np.int64], scale: _Floats, counts: _Floats) -> _Floats:
        """Returns the step size of each channel, out of a grid about the present one, with which the codebook fits best."""
        errors = []
        candidates = [np.maximum(scale * factor, self.floor) for factor in _SCALE_GRID]
        for candidate in candidates:
            real = self.matrix / candidate[..., None]
            errors.append((counts * np.square((real - _nearest(real, book)) * candidate[..., None])).sum(axis=2))
        choice = np.argmin(np.stack(errors), axis=0)
        found: _Floats = np.take_along_axis(np.stack(candidates), choice[None], 0)[0]
        return found

    def _compensate(
        self, books: list[NDArray[np.int64]], scales: _Floats
    ) -> tuple[NDArray[np.int64], _Floats, list[NDArray[np.int64]]]:
        levels = self._swept(books, scales)
        plain = np.stack(
            [_nearest(self.matrix / scale[..., None], book) for scale, book in zip(scales, books, strict=True)]
        )
        # Rows do not depend on one another: of each the better start is taken.
        worse = self._errors(levels, scales) > self._errors(plain, scales)
        levels[worse] = plain[worse]
        for number in range(self.method.rounds + 1):
            for _ in range(self.method.sweeps):
                if not self._descend(levels, scales, books):
                    break
            if number < self.method.rounds:
                books = [self._refitted(*item) for item in zip(levels, scales, books, strict=True)]
            if self.method.refit_scales:
                scales = self._rescaled(levels, scales)
        return levels, scales, books

    def _errors(self, levels: NDArray[np.int64], scales: _Floats) -> _Floats:
        """Returns the objective of each row: (steps, groups, rows)."""
        total = np.zeros(scales.shape)
        difference = self.matrix - levels * scales[..., None]
        for columns, hessian in zip(self.blocks, self.hessian, strict=True):
            part = difference[..., columns]
            total += np.einsum("sgrk,sgrk->sgr", part @ hessian, part)
        return total

    def _swept(self, books: list[NDArray[np.int64]], scales: _Floats) -> NDArray[np.int64]:
        """Puts the columns on the codebooks one after the other, those of the strongest inputs first."""
        levels = np.empty((len(books), *self.matrix.shape), np.int64)
        middles = [(book[1:] + book[:-1]) / 2 for book in books]
        for columns, hessian in zip(self.blocks, self.hessian, strict=True):
            order = np.argsort(-np.diagonal(hessian, axis1=1, axis2=2), axis=1, kind="stable")
            sorted_hessian = np.take_along_axis(np.take_along_axis(hessian, order[:, :, None], 1), order[:, None, :], 2)
            factor = np.swapaxes(np.linalg.cholesky(np.linalg.inv(sorted_hessian)), 1, 2)
            part = self.matrix[:, :, columns]
            left = np.take_along_axis(part, order[:, None, :], 2)
            left = np.broadcast_to(left, (len(books), *left.shape)).copy()
            found = np.empty(left.shape, np.int64)
            for start in range(0, left.shape[-1], _BLOCK):
                stop = min(start + _BLOCK, left.shape[-1])
                wrong = np.empty((*left.shape[:-1], stop - start))
                for column in range(start, stop):
                    level = _on_books(left[..., column] / scales, books, middles)
                    found[..., column] = level
                    step = (left[..., column] - level * scales) / factor[:, column, column][:, None]
                    wrong[..., column - start] = step
                    left[..., column + 1 : stop] -= step[..., None] * factor[:, None, column, column + 1 : stop]
                left[..., stop:] -= wrong @ factor[:, start:stop, stop:]
            back = np.argsort(order, axis=1, kind="stable")
            levels[..., columns] = np.take_along_axis(found, back[None, :, None, :], 3)
        return levels

    def _descend(self, levels: NDArray[np.int64], scales: _Floats, books: list[NDArray[np.int64]]) -> bool:
        """Puts each weight on the level that is best while the others stay, in place; returns whether one has moved."""
        middles = [(book[1:] + book[:-1]) / 2 for book in books]
        moved = False
        for columns, hessian in zip(self.blocks, self.hessian, strict=True):
            power = np.diagonal(hessian, axis1=1, axis2=2)
            now = levels[..., columns]
            pull = (self.matrix[..., columns] - now * scales[..., None]) @ hessian
            for start in range(0, now.shape[-1], _BLOCK):
                stop = min(start + _BLOCK, now.shape[-1])
                change = np.empty((*now.shape[:-1], stop - start))
                for column in range(start, stop):
                    wanted = now[..., column] + pull[..., column] / (power[:, column][:, None] * scales)
                    level = _on_books(wanted, books, middles)
                    change[..., column - start] = (level - now[..., column]) * scales
                    now[..., column] = level
                    pull[..., column:stop] -= change[..., column - start, None] * hessian[:, None, column, column:stop]
                if change.any():
                    moved = True
                    # Columns of this block before the present one are not looked at again in this pass.
                    pull[..., stop:] -= change @ hessian[:, start:stop, stop:]
            levels[..., columns] = now
        return moved

    def _rescaled(self, levels: NDArray[np.int64], scales: _Floats) -> _Floats:
        """Returns the step sizes with the least error for given levels."""
        top, bottom = np.zeros(scales.shape), np.zeros(scales.shape)
        for columns, hessian in zip(self.blocks, self.hessian, strict=True):
            part = levels[..., columns].astype(np.float64)
            pulled = part @ hessian
            top += np.einsum("sgrk,grk->sgr", pulled, self.matrix[..., columns])
            bottom += np.einsum("sgrk,sgrk->sgr", pulled, part)
        if self.shared:
            top, bottom = (
                np.broadcast_to((array * self.row_weight).sum((1, 2), keepdims=True), array.shape)
                for array in (top, bottom)
            )
        fits = (bottom > 0) & (top > 0)
        found = np.where(fits, top / np.where(fits, bottom, 1.0), scales)
        fitted: _Floats = np.maximum(found.astype(np.float32).astype(np.float64), self.floor)
        return fitted

    def _refitted(self, levels: NDArray[np.int64], scale: _Floats, book: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns integer levels with a smaller error for the same assignment; exchanges them in ``levels``, in place."""
        index = np.searchsorted(book, levels)
        count = len(book)
        matrix, vector = np.zeros((count, count)), np.zeros(count)
        weighted = (scale * self.row_weight)[..., None]
        for columns, hessian in zip(self.blocks, self.hessian, strict=True):
            part = index[..., columns]
            flat = part.reshape(-1)
            pulled = (self.matrix[..., columns] @ hessian) * weighted
            vector += np.bincount(flat, pulled.reshape(-1), minlength=count)
            for level in range(count):
                own = ((part == level) * scale[..., None]) @ hessian * weighted
                matrix[level] += np.bincount(flat, own.reshape(-1), minlength=count)
        found = book.copy()
        for _ in range(8):
            before = found.copy()
            for entry in np.flatnonzero(np.diagonal(matrix) > 0).tolist():
                others = matrix[entry] @ found - matrix[entry, entry] * found[entry]
                low = INT8_MIN if entry == 0 else found[entry - 1] + 1
                high = INT8_MAX if entry == count - 1 else found[entry + 1] - 1
                found[entry] = np.clip(np.rint((vector[entry] - others) / matrix[entry, entry]), low, high)
            if (found == before).all():
                break
        levels[...] = found[index]
        fitted: NDArray[np.int64] = found
        return fitted

    def _solution(self, levels: NDArray[np.int64], scale: _Floats) -> LayerSolution:
        scales = np.ascontiguousarray(scale.reshape(-1)[: 1 if self.shared else None], np.float32)
        exact = np.broadcast_to(scales.astype(np.float64), scale.size).reshape(scale.shape)
        difference = self.matrix - levels * exact[..., None]
        bias, shift = None, None
        if self.bias is not None:
            bias = np.asarray(self.bias, np.float64).reshape(-1)
            if self.method.bias_correction:
                shift = -np.einsum("grk,gk->gr", difference, self.moments.mean)
                bias = bias - shift.reshape(-1)
        error = self.moments.output_error(difference, shift)
        signal = float(self.moments.output_error(self.matrix).sum())
        total = float(error.sum())
        return LayerSolution(
            weights=self.op.from_matrix(levels.astype(np.int8), self.shape),
            scales=scales,
            bias=bias,
            codebook=tuple(np.unique(levels).tolist()),
            error=total / signal if signal > 0 else 0.0,
        )


def _damped(matrices: _Floats, count: int) -> _Floats:
    """Returns positive definite matrices near the given ones, which hold for other inputs too.

    Few patches say little of how their columns go together: the fewer they are, the more the matrix is drawn towards its diagonal (shrinkage as
    in Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004, with a fixed intensity).

    Args:
        matrices: Covariances or second moments, (groups, columns, columns).
        count: Number of patches that they were measured on.
    """
    columns = matrices.shape[-1]
    share = _SHRINKAGE * columns / (_SHRINKAGE * columns + count)
    power = np.diagonal(matrices, axis1=1, axis2=2)
    mean = power.mean(axis=1, keepdims=True)
    least = np.where(mean > 0, _DAMPING * mean, 1.0)
    found: _Floats = matrices * (1 - share)
    index = np.arange(columns)
    found[:, index, index] += share * power + least
    return found


def _nearest(real: _Floats, book: NDArray[np.int64]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = book[np.searchsorted((book[1:] + book[:-1]) / 2, real)]
    return found


def _on_books(real: _Floats, books: list[NDArray[np.int64]], middles: list[_Floats]) -> NDArray[np.int64]:
    """Moves reals, (steps, ...), to the nearest level of the codebook of each number of steps."""
    return np.stack([book[np.searchsorted(m, one)] for one, book, m in zip(real, books, middles, strict=True)])
