"""Step sizes and codebooks to begin with: fitted in turns to the weights alone, each weight counting with the power of its input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuqconv.quantize.codebook import optimal_codebooks
from nuqconv.quantize.descent import Floats, LevelTables
from nuqconv.quantize.rounding import INT8_MAX, INT8_MIN

__all__ = ["FirstSteps", "spread"]

_SLAB = 1 << 16
_ROUNDS = 4
_HALVING = ((-4, 4), (-2, 2), (-1, 1))
"""Eighths of an octave that are tried about the best so far."""
_WHOLE = (tuple(move for move in range(-8, 9) if move),)
_SMALL = 1 << 19
"""Up to so many weights the whole grid is tried: halving may end beside the best step size."""
_EIGHTHS = 2.0 ** (1 / 8)
_SHRINK = np.linspace(1.0, 0.6, 17)
"""What the step sizes of a whole grid are multiplied with: below that the weights that are cut off outweigh the finer steps."""


def spread(count: int, wanted: int) -> NDArray[np.intp]:
    """Returns up to ``wanted`` of ``count`` indices, ascending and evenly spread."""
    if count <= wanted:
        return np.arange(count)
    return ((np.arange(wanted) + 0.5) * (count / wanted)).astype(np.intp)


@dataclass(frozen=True, eq=False)
class FirstSteps:
    """Weights, or a sample of each row, and what each counts.

    Attributes:
        weights: float32, (rows, columns).
        counts: float32, (rows, columns), or (1, columns) if all rows count alike.
        floor: Least step size of each row, float64.
    """

    weights: Floats
    counts: Floats
    floor: NDArray[np.float64]

    def book(self, scale: NDArray[np.float64], steps: int) -> NDArray[np.int64]:
        """Returns the best codebook of at most so many levels for given step sizes."""
        table = np.zeros(256)
        for rows in self._slabs():
            real = self.weights[rows] * (1 / scale[rows]).astype(np.float32)[:, None]
            np.rint(real, out=real)
            integers = np.clip(real, INT8_MIN + 1, INT8_MAX, out=real).astype(np.int8)
            counts = self.counts[rows if len(self.counts) > 1 else slice(None)] * np.square(scale[rows])[:, None]
            table += np.bincount(integers.reshape(-1).view(np.uint8), counts.reshape(-1), minlength=256)
        return np.array(optimal_codebooks(np.roll(table, 128), max_steps=steps).codebook(steps), np.int64)

    def errors(self, scale: NDArray[np.float64], tables: LevelTables) -> NDArray[np.float64]:
        """Returns the squared error of each row on the nearest levels."""
        found = np.empty(len(self.weights))
        for rows in self._slabs():
            position = self.weights[rows] * (-2 / scale[rows]).astype(np.float32)[:, None]
            position += np.float32(256)
            error = np.empty_like(position)
            tables.residual(0, position, np.empty(position.shape, np.intp), error)
            error += position
            np.square(error, out=error)
            if len(self.counts) == 1:
                found[rows] = error @ self.counts[0]
            else:
                found[rows] = np.einsum("rk,rk->r", error, self.counts[rows])
        return found * np.square(scale / 2)

    def fit(
        self, scale: NDArray[np.float64], steps: int, *, refit: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Returns the codebook and the step sizes."""
        scale = np.maximum(scale, self.floor)
        best = (np.inf, np.zeros(0, np.int64), scale)
        for left in range(_ROUNDS - 1 if refit else 0, -1, -1):
            book = self.book(scale, steps)
            if not refit:
                return book, scale
            tables = LevelTables([book])
            error = self.errors(scale, tables)
            total = float(error.sum())
            if total < best[0]:
                best = (total, book, scale)
            if left:
                scale = self._closer(scale, error, tables)
        return best[1:]

    def on_grid(self, scale: NDArray[np.float64], tables: LevelTables) -> NDArray[np.float64]:
        """Returns the step size of each row, at most the given one, with which a grid that is fixed fits best."""
        found = scale = np.maximum(scale, self.floor)
        best = np.full(len(scale), np.inf)
        for factor in _SHRINK:
            candidate = np.maximum(scale * factor, self.floor)
            error = self.errors(candidate, tables)
            found = np.where(error < best, candidate, found)
            best = np.minimum(error, best)
        return found

    def _closer(
        self, scale: NDArray[np.float64], error: NDArray[np.float64], tables: LevelTables
    ) -> NDArray[np.float64]:
        """Returns the step size of each row, out of a grid of eighths of an octave about the present one, with which the codebook fits best."""
        best, exponent = error, np.zeros(len(scale))
        for moves in _WHOLE if self.weights.size <= _SMALL else _HALVING:
            centre = exponent.copy()
            for move in moves:
                candidate = np.maximum(scale * _EIGHTHS ** (centre + move), self.floor)
                found = self.errors(candidate, tables)
                better = found < best
                best = np.where(better, found, best)
                exponent = np.where(better, centre + move, exponent)
        return np.maximum(scale * _EIGHTHS**exponent, self.floor)

    def _slabs(self) -> list[slice]:
        step = max(1, _SLAB // max(1, self.weights.shape[1]))
        return [slice(start, start + step) for start in range(0, len(self.weights), step)]
