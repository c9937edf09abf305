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

from abc import ABC, abstractmethod
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


class Form(ABC):
    """A matrix (groups, columns, columns) with ones on its diagonal, for the errors that others make in a column."""

    @abstractmethod
    def tile(self, start: int, stop: int) -> Floats:
        """Returns what some columns do to one another."""

    @abstractmethod
    def walk(self, errors: Floats, *, triangular: bool) -> Walk:
        """Returns a walk through the columns, the last ones first."""


class Walk(ABC):
    """One visit of all columns."""

    @abstractmethod
    def others(self, start: int, stop: int) -> Floats:
        """Returns what the errors of all columns, or of those visited, do to some; a column's own is not among them."""

    @abstractmethod
    def moved(self, start: int, stop: int, change: Floats) -> None:
        """Takes note of how the errors of some columns have changed."""


class _Whole(Form):
    """All of its entries."""

    def __init__(self, matrix: Floats) -> None:
        self.matrix = matrix

    def tile(self, start: int, stop: int) -> Floats:
        return self.matrix[:, start:stop, start:stop]

    def walk(self, errors: Floats, *, triangular: bool) -> Walk:
        return _WholeWalk(self.matrix, errors, triangular)


@dataclass(frozen=True, eq=False)
class _WholeWalk(Walk):
    matrix: Floats
    errors: Floats
    triangular: bool

    def others(self, start: int, stop: int) -> Floats:
        found: Floats
        if self.triangular:
            found = np.matmul(self.matrix[:, start:stop, stop:], self.errors[:, stop:])
            return found
        found = np.matmul(self.matrix[:, start:stop], self.errors)
        # A weight's own error is not among what moves it.
        found -= self.errors[:, start:stop]
        return found

    def moved(self, start: int, stop: int, change: Floats) -> None:
        """The errors say it."""


class _Thin(Form):
    """``left @ right'`` off the diagonal (above it, of a factor), both (groups, columns, few)."""

    def __init__(self, left: Floats, right: Floats) -> None:
        self.left, self.right = left, right

    def tile(self, start: int, stop: int) -> Floats:
        found: Floats = self.left[:, start:stop] @ np.swapaxes(self.right[:, start:stop], 1, 2)
        return found

    def walk(self, errors: Floats, *, triangular: bool) -> Walk:
        return _ThinWalk(self, errors, triangular=triangular)


class _ThinWalk(Walk):
    def __init__(self, form: _Thin, errors: Floats, *, triangular: bool) -> None:
        self._form, self._errors, self._triangular = form, errors, triangular
        self._right = np.swapaxes(form.right, 1, 2)
        nothing = np.zeros((*self._right.shape[:2], errors.shape[2]), np.float32)
        self._sum: Floats = nothing if triangular else self._right @ errors

    def others(self, start: int, stop: int) -> Floats:
        left = self._form.left[:, start:stop]
        found: Floats = left @ self._sum
        if not self._triangular:
            own = np.einsum("gkn,gkn->gk", left, self._form.right[:, start:stop])
            found -= own[:, :, None] * self._errors[:, start:stop]
        return found

    def moved(self, start: int, stop: int, change: Floats) -> None:
        self._sum += self._right[:, :, start:stop] @ change


@dataclass(frozen=True, eq=False)
class Block:
    """The quadratic form of some columns, in the order in which they are looked at (from the last to the first).

    Attributes:
        columns: The columns of the layer, a slice.
        order: Which of them stands where, (groups, columns).
        power: Diagonal of the form, float64, (groups, columns).
        form: The form with rows divided by the diagonal.
        factor: Its factor with rows divided by the diagonal.
        root: A matrix ``T``, float32, of which the form is ``T' diag(pivots) T``: the whole factor, or the part of it below the identity.
        pivots: Float64, (groups, rows of T).
    """

    columns: slice
    order: NDArray[np.intp]
    power: NDArray[np.float64]
    form: Form
    factor: Form
    root: Floats
    pivots: NDArray[np.float64]

    @classmethod
    def of(cls, columns: slice, matrix: NDArray[np.float64], share: float, diagonal: NDArray[np.float64]) -> Block:
        """Returns the block of ``share * matrix + diag(diagonal)``, which is positive definite; columns of much power come last.

        Args:
            columns: The columns of the layer, a slice.
            matrix: (groups, columns, columns).
            share: What the matrix is multiplied with.
            diagonal: (groups, columns).
        """
        order = _order(np.diagonal(matrix, axis1=1, axis2=2) * share + diagonal)
        # Group by group and factor before form, so that no more than one copy in float64 is there at a time.
        groups, count = order.shape
        form = np.empty((groups, count, count), np.float32)
        factor = np.empty_like(form)
        power, pivots = np.empty((groups, count)), np.empty((groups, count))
        index = np.arange(count)
        for group in range(groups):
            own = matrix[group][order[group][:, None], order[group]]
            own *= share
            own[index, index] += diagonal[group, order[group]]
            power[group] = np.diagonal(own)
            np.divide(own, power[group][:, None], out=form[group], casting="same_kind")
            own = np.linalg.cholesky(own)
            root = np.diagonal(own).copy()
            pivots[group] = np.square(root)
            np.divide(own.T, root[:, None], out=factor[group], casting="same_kind")
        return cls(columns, order, power, _Whole(form), _Whole(factor), factor, pivots)

    @classmethod
    def thin(cls, columns: slice, rows: NDArray[np.float64], diagonal: NDArray[np.float64]) -> Block:
        """Returns the block of ``rows' rows + diag(diagonal)``, whose entries are never made.

        The factor of such a matrix has the same rank above its diagonal: what is left of the form when columns have been taken out is
        ``diag + right P right'`` with a small matrix P, from which each row taken out, of the form ``g right'``, takes ``g g'``.

        Args:
            columns: The columns of the layer, a slice.
            rows: (groups, few, columns).
            diagonal: Positive, (groups, columns).
        """
        power = np.square(rows).sum(axis=1) + diagonal
        order = _order(power)
        right = np.take_along_axis(np.swapaxes(rows, 1, 2), order[:, :, None], 1)
        rest, power = np.take_along_axis(diagonal, order, 1), np.take_along_axis(power, order, 1)
        left, pivots = np.empty_like(right), np.empty_like(power)
        few = np.repeat(np.eye(right.shape[2])[None], len(right), axis=0)
        for start in range(0, right.shape[1], _OUTER):
            part = slice(start, start + _OUTER)
            own, index = right[:, part], np.arange(right[:, part].shape[1])
            turned = own @ few
            square = turned @ np.swapaxes(own, 1, 2)
            square[:, index, index] += rest[:, part]
            lower = np.linalg.cholesky(square)
            rows = np.linalg.solve(lower, turned)
            few -= np.swapaxes(rows, 1, 2) @ rows
            root = np.diagonal(lower, axis1=1, axis2=2)
            pivots[:, part] = np.square(root)
            left[:, part] = rows / root[:, :, None]
        small = right.astype(np.float32)
        form = _Thin((right / power[:, :, None]).astype(np.float32), small)
        ones = np.ones((len(right), right.shape[2]))
        factor = _Thin(left.astype(np.float32), small)
        below = np.ascontiguousarray(np.swapaxes(small, 1, 2))
        return cls(columns, order, power, form, factor, below, np.concatenate([rest, ones], axis=1))

    def take(self, rows: Floats) -> Floats:
        """Returns the columns of weights, (groups, rows, all columns of the layer), as (groups, columns, rows)."""
        own = rows[:, :, self.columns]
        return np.take_along_axis(np.swapaxes(own, 1, 2), self.order[:, :, None], 1)

    def energy(self, vectors: Floats) -> NDArray[np.float64]:
        """Returns ``e' H e`` of each vector: (groups, vectors)."""
        found = self.turned(vectors)
        return self.product(found, found)

    def turned(self, vectors: Floats) -> Floats:
        """Returns ``T e``: what `product` takes."""
        if isinstance(self.factor, _Thin):
            return np.concatenate([vectors, self.root @ vectors], axis=1)
        found = np.empty_like(vectors)
        for start in range(0, vectors.shape[1], _OUTER):
            stop = min(start + _OUTER, vectors.shape[1])
            np.matmul(self.root[:, start:stop, start:], vectors[:, start:], out=found[:, start:stop])
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

    def _visit(self, form: Form, tables: LevelTables, *, triangular: bool) -> bool:
        moved = False
        walk = form.walk(self.errors, triangular=triangular)
        for start, stop in _cuts(0, self.errors.shape[1], _OUTER):
            own, tile = self.errors[:, start:stop], form.tile(start, stop)
            base = walk.others(start, stop)
            base += self._origin[:, start:stop]
            change = np.empty_like(base)
            for first, last in _cuts(0, stop - start, _INNER):
                for column in range(last - 1, first - 1, -1):
                    position, error = base[:, column], change[:, column]
                    if column + 1 < last:
                        near = tile[:, column, None, column + 1 : last]
                        position += np.matmul(near, change[:, column + 1 : last])[:, 0]
                    self._place(tables, position, error)
                    error += self._origin[:, start + column]
                    before = own[:, column].copy()
                    own[:, column] = error
                    error -= before
                if first:
                    base[:, :first] += np.matmul(tile[:, :first, first:last], change[:, first:last])
            walk.moved(start, stop, change)
            moved = moved or bool(change.any())
        return moved


def _order(power: NDArray[np.float64]) -> NDArray[np.intp]:
    """Returns which column stands where: those of much power last."""
    return np.argsort(-power, axis=1, kind="stable")[:, ::-1]


def _cuts(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """Returns ranges of at most so many columns, the last ones first."""
    return [(max(last - size, start), last) for last in range(stop, start, -size)]
