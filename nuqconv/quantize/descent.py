"""Weights put on levels one column after the other, by the error of a layer's output.

A row of weights ``w`` with step size ``s`` on levels ``q`` has the error ``e' H e`` with ``e = s q - w``. Here rows are counted in halves of
their own step size: then ``2 q`` is whole, the middles between levels are whole too, and a table of 512 entries gives the nearest level.
Arrays have the axes (groups, columns, vectors): a vector is one row on one codebook, and what happens to a column happens to all vectors.

Two forms of ``H`` serve, both with rows divided by their diagonal:

- ``H`` itself: the best level of column ``j`` while the others stay is that nearest to ``w_j - sum_i H_ji e_i / H_jj``;
- the factor ``R`` of ``H = R' R``, upper triangular: from the last column to the first, the level nearest to
  ``w_j - sum_(i > j) R_ji e_i / R_jj``. This is Babai's nearest plane ("On Lovasz' lattice reduction and the nearest lattice point problem",
  1986), and the same as taking each column's error out of those still to come, as GPTQ does, without an inverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Block", "LevelTables", "Residuals"]

Floats = NDArray[np.float32]

_OUTER, _INNER = 128, 32
"""Columns that are multiplied with all others at once, and those whose changes reach one another one by one."""
_ZERO = 256
_SIZE = 512


class LevelTables:
    """The nearest level for every real, for several codebooks.

    Args:
        books: Ascending levels in [-128, 127] for each codebook.
    """

    def __init__(self, books: Sequence[NDArray[np.int64]]) -> None:
        # Entry i serves positions in [i, i + 1), which are reals in (255 - i, 256 - i] halves of a step: a tie goes to the lower level.
        inside = (_ZERO - 0.5 - np.arange(_SIZE)) / 2
        self._moves = [
            (2 * book[np.searchsorted((book[1:] + book[:-1]) / 2, inside)] - _ZERO).astype(np.float32) for book in books
        ]

    def residual(self, number: int, position: Floats, index: NDArray[np.intp], out: Floats) -> None:
        """Writes twice the nearest level less 256, for positions (256 less the real in halves of a step), into ``out``; ``index`` is overwritten."""
        np.copyto(index, position, casting="unsafe")
        self._moves[number].take(index, mode="clip", out=out)


@dataclass(frozen=True, eq=False)
class Block:
    """The quadratic form of some columns, in the order in which they are looked at (from the last to the first).

    Attributes:
        columns: The columns of the layer, a slice.
        order: Which of them stands where, (groups, columns).
        power: Diagonal of the form, float64, (groups, columns).
        form: The form with rows divided by the diagonal, float32, (groups, columns, columns).
        factor: Its factor with rows divided by the diagonal, float32.
        pivots: Squares of the factor's diagonal, float64, (groups, columns).
    """

    columns: slice
    order: NDArray[np.intp]
    power: NDArray[np.float64]
    form: Floats
    factor: Floats
    pivots: NDArray[np.float64]

    @classmethod
    def of(cls, columns: slice, matrix: NDArray[np.float64]) -> Block:
        """Returns the block of a positive definite matrix, (groups, columns, columns); columns of much power come last."""
        order = np.argsort(-np.diagonal(matrix, axis1=1, axis2=2), axis=1, kind="stable")[:, ::-1]
        # Group by group and factor before form, so that no more than one copy in float64 is there at a time.
        groups, count = order.shape
        form = np.empty((groups, count, count), np.float32)
        factor = np.empty_like(form)
        power, pivots = np.empty((groups, count)), np.empty((groups, count))
        for group in range(groups):
            own = matrix[group][order[group][:, None], order[group]]
            power[group] = np.diagonal(own)
            np.divide(own, power[group][:, None], out=form[group], casting="same_kind")
            own = np.linalg.cholesky(own)
            root = np.diagonal(own).copy()
            pivots[group] = np.square(root)
            np.divide(own.T, root[:, None], out=factor[group], casting="same_kind")
        return cls(columns, order, power, form, factor, pivots)

    def take(self, rows: Floats) -> Floats:
        """Returns the columns of weights, (groups, rows, all columns of the layer), as (groups, columns, rows)."""
        own = rows[:, :, self.columns]
        return np.take_along_axis(np.swapaxes(own, 1, 2), self.order[:, :, None], 1)

    def energy(self, vectors: Floats) -> NDArray[np.float64]:
        """Returns ``e' H e`` of each vector: (groups, vectors)."""
        found = self.turned(vectors)
        return self.product(found, found)

    def turned(self, vectors: Floats) -> Floats:
        """Returns ``R e`` with rows divided by their diagonal: what `product` takes."""
        found = np.empty_like(vectors)
        for start in range(0, vectors.shape[1], _OUTER):
            stop = min(start + _OUTER, vectors.shape[1])
            np.matmul(self.factor[:, start:stop, start:], vectors[:, start:], out=found[:, start:stop])
        return found

    def product(self, one: Floats, other: Floats) -> NDArray[np.float64]:
        """Returns the inner products of vectors that have been turned."""
        total = np.zeros((one.shape[0], one.shape[2]))
        for start in range(0, one.shape[1], _OUTER):
            part = slice(start, start + _OUTER)
            total += np.matmul(self.pivots[:, None, part], np.multiply(one[:, part], other[:, part], dtype=np.float64))[
                :, 0
            ]
        return total


class Residuals:
    """Rows of weights on levels.

    Args:
        weights: The weights in halves of a step, (groups, columns, books, rows).
    """

    def __init__(self, weights: Floats) -> None:
        self.shape = weights.shape
        groups, columns, books, rows = weights.shape
        self._origin = np.subtract(np.float32(_ZERO), weights.reshape(groups, columns, books * rows))
        self.errors = np.zeros_like(self._origin)
        self._vectors = [slice(number * rows, (number + 1) * rows) for number in range(books)]

    def put(self, levels: NDArray[np.int8]) -> None:
        """Puts the weights on levels, of their shape."""
        flat = levels.reshape(self._origin.shape)
        np.multiply(flat, np.float32(2), out=self.errors)
        self.errors += self._origin
        self.errors -= np.float32(_ZERO)

    def levels(self) -> NDArray[np.int8]:
        """Returns the levels, (groups, columns, books, rows)."""
        found = self.errors - self._origin
        found += np.float32(_ZERO)
        found *= np.float32(0.5)
        levels: NDArray[np.int8] = np.rint(found, out=found).astype(np.int8).reshape(self.shape)
        return levels

    def nearest(self, tables: LevelTables) -> Floats:
        """Returns the errors that the nearest levels would have."""
        found: Floats = np.empty_like(self.errors)
        for column in range(self._origin.shape[1]):
            self._place(tables, self._origin[:, column], found[:, column])
        found += self._origin
        return found

    def sweep(self, block: Block, tables: LevelTables) -> None:
        """Puts the columns on levels for the first time."""
        self._visit(block.factor, tables, triangular=True)

    def descend(self, block: Block, tables: LevelTables) -> bool:
        """Puts each weight on the level that is best while the others stay; returns whether one has moved."""
        return self._visit(block.form, tables, triangular=False)

    def _place(self, tables: LevelTables, position: Floats, out: Floats) -> None:
        index = np.empty((len(position), self.shape[3]), np.intp)
        for number, vectors in enumerate(self._vectors):
            tables.residual(number, position[:, vectors], index, out[:, vectors])

    def _visit(self, matrix: Floats, tables: LevelTables, *, triangular: bool) -> bool:
        moved = False
        for start, stop in _cuts(0, matrix.shape[1], _OUTER):
            own = self.errors[:, start:stop]
            if triangular:
                base = np.matmul(matrix[:, start:stop, stop:], self.errors[:, stop:])
            else:
                base = np.matmul(matrix[:, start:stop], self.errors)
                # A weight's own error is not among what moves it.
                base -= own
            base += self._origin[:, start:stop]
            change = np.empty_like(base)
            for first, last in _cuts(0, stop - start, _INNER):
                for column in range(last - 1, first - 1, -1):
                    position, error = base[:, column], change[:, column]
                    if column + 1 < last:
                        near = matrix[:, start + column, None, start + column + 1 : start + last]
                        position += np.matmul(near, change[:, column + 1 : last])[:, 0]
                    self._place(tables, position, error)
                    error += self._origin[:, start + column]
                    before = own[:, column].copy()
                    own[:, column] = error
                    error -= before
                if first:
                    near = matrix[:, start : start + first, start + first : start + last]
                    base[:, :first] += np.matmul(near, change[:, first:last])
            moved = moved or bool(change.any())
        return moved


def _cuts(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """Returns ranges of at most so many columns, the last ones first."""
    return [(max(last - size, start), last) for last in range(stop, start, -size)]
