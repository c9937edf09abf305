"""Integers of one layer that make the error of its output small, not that of its weights.

With the moments of a layer's inputs (`nuqconv.quantize.moments`) the mean squared error of its output is a quadratic form of the weights' error, so
what one weight does wrong, others can make good. For each number of steps:

1. step sizes and codebook are fitted in turns: the step size of a channel to the codebook, the codebook exactly (`optimal_codebooks`) to the
   integers, each weight counting with the power of its input (`nuqconv.quantize.first_steps`). The levels of int8 are given, so its step sizes
   only;
2. the weights are put on the codebook one column after the other, and what a column does wrong is made good by the columns still to come (Frantar
   et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022), here on a grid that is not uniform
   (`nuqconv.quantize.descent`);
3. each weight is put on the level that is best while all others stay (coordinate descent as in Behdin et al., "QuantEase", 2023), and the step
   sizes and levels are fitted again by least squares. No step of this part is kept that makes the error larger.

Where the layer has a bias, it takes up the mean of the error, so only the covariance of the inputs counts above.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import QuantizationError
from nuqconv.ir.ops import Weighted
from nuqconv.quantize.codebook import histogram
from nuqconv.quantize.descent import Block, Floats, LevelTables, Residuals
from nuqconv.quantize.first_steps import FirstSteps, spread
from nuqconv.quantize.level_fit import best_levels, level_products
from nuqconv.quantize.moments import FewPatches, Moments
from nuqconv.quantize.rounding import INT8_MAX, INT8_MIN

__all__ = ["SOLVER", "UNIFORM", "LayerSolution", "WeightMethod", "damping", "solve_layer"]

SOLVER = 1
"""Raised when the same layer gets other integers than before: journals keep layers under it."""

UNIFORM = 0
"""Stands among numbers of steps for int8's own grid, -127 to 127: only step sizes, the levels of single weights and the bias can be chosen.

No codebook has so few levels; one of 255 is another thing.
"""

_Floats = NDArray[np.float64]
_Books = list[NDArray[np.int64]]
_Levels = NDArray[np.int8]

_GRID = np.arange(-INT8_MAX, INT8_MAX + 1)
_SAMPLE = 2048
"""Columns of each row that the first codebook and step sizes are fitted to."""
_REFIT = 1 << 18
"""Weights that levels are fitted to again; a level is a whole number, so a sample says which."""
_MORE = 1
"""Passes of coordinate descent beyond those asked for, once levels have been fitted again."""
_PART = 1 << 23
"""Numbers in one array of rows that are worked on together."""
_DAMPING = 0.01
"""Share of the mean power of the inputs that is added to each; that of the GPTQ paper."""
_SHRINKAGE = 2.0
"""Patches for each column at which half of a covariance is that of the patches; from 1 to 3 measured alike on images not used for calibration."""


@dataclass(frozen=True)
class WeightMethod:
    """How the integers of layers are chosen; the defaults are what measured best (decisions D26 and D41).

    Attributes:
        importance: Whether weights count by the power of their inputs when codebooks are made; else all weights of a channel count alike.
        compensation: Whether weights are put on levels so that the layer's output, rather than each weight, is nearest.
        refit_scales: Whether step sizes are fitted to the codebook; else they stay ``max|w| / 127``.
        bias_correction: Whether the bias takes up the mean error of the output.
        sweeps: Passes of coordinate descent after each fit.
        int8: Whether int8 layers are done like NUQ layers, on the grid that they have; else their weights are the nearest ones.
        rounds: Times that step sizes and levels are fitted to the weights' levels by least squares; ``num_of_iteration`` of a configuration goes
            before it.
    """

    importance: bool = True
    compensation: bool = True
    refit_scales: bool = True
    bias_correction: bool = True
    sweeps: int = 2
    rounds: int = 1
    int8: bool = True

    def key(self) -> str:
        """Returns a text that tells this method from others."""
        names = ("importance", "compensation", "refit_scales", "bias_correction", "sweeps", "rounds")
        found = ",".join(f"{name}={int(getattr(self, name))}" for name in names)
        # Journals from before int8 layers were fitted hold the integers that their trials had.
        return found if self.int8 else f"{found},int8=0"


@dataclass(frozen=True, eq=False)
class LayerSolution:
    """Integers chosen for a layer.

    Attributes:
        weights: int8, shape of the float weights, all on the codebook.
        scales: float32 step sizes, one for each output channel, or one.
        bias: float64 (num_output,), the bias that goes with them; None if the layer has none.
        codebook: The levels in use, ascending.
        error: Mean squared error of the output over the mean square of the output without its bias, by the moments.
    """

    weights: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: _Floats | None
    codebook: tuple[int, ...]
    error: float


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
    """Chooses the integers of a layer for several numbers of steps at once.

    Args:
        op: The layer's operator.
        weights: Its weights.
        bias: Its bias, (num_output,), or None.
        scales: Step sizes to start from, as `weight_scales` gives them: (num_output,) or (1,).
        moments: Moments of its inputs.
        steps: Largest numbers of levels, each 1 to 256; `UNIFORM` for int8.
        method: What to do.
        floor: Least step size of each output channel, (num_output,), or None.
        importance: A weight >= 0 for each weight in its shape, such as its Fisher information, by which codebooks are weighed further and
            the errors of output channels among each other; or None.

    Returns:
        A solution for each number of steps.

    Raises:
        QuantizationError: The moments are not of this layer.
    """
    problem = _Problem(op, weights, bias, scales, moments, method, floor, importance)
    return problem.solve(steps)


class _Problem:
    """One layer. Rows are the outputs of a group; step sizes have the axes (steps, groups, rows), levels (groups, columns, steps, rows)."""

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
        self.matrix = op.to_matrix(weights).astype(np.float32, copy=False)
        groups, rows, columns = self.matrix.shape
        if moments.mean.shape != (groups, columns):
            raise QuantizationError(f"moments of shape {moments.mean.shape} are not of weights {weights.shape}")
        self.op, self.shape, self.bias, self.moments, self.method = op, weights.shape, bias, moments, method
        self.shared = scales.size == 1
        self.scales = np.broadcast_to(scales.astype(np.float64), groups * rows).reshape(groups, rows)
        least = np.zeros(groups * rows) if floor is None else np.asarray(floor, np.float64)
        least = least.max() if self.shared and least.size else least
        self.floor = np.broadcast_to(least, groups * rows).reshape(groups, rows)
        self.centred = bias is not None and method.bias_correction
        self.weighing = None if importance is None else op.to_matrix(importance)
        self.row_weight = (
            np.ones((groups, rows)) if self.weighing is None else self.weighing.mean(axis=2, dtype=np.float64)
        )
        self._kept: list[Block] = []
        self._orders: list[NDArray[np.intp]] = []

    def solve(self, steps: Sequence[int]) -> list[LayerSolution]:
        """Returns a solution for each number of steps."""
        books, scales = self._start(steps)
        groups, rows, columns = self.matrix.shape
        levels: _Levels = np.empty((groups, columns, len(steps), rows), np.int8)
        if self.method.compensation:
            scales = self._compensate(levels, scales, books)
        else:
            self._nearest(levels, scales, books)
        self._kept.clear()
        return self._solutions(levels, scales)

    def _start(self, steps: Sequence[int]) -> tuple[_Books, _Floats]:
        """Returns a codebook and step sizes for each number of steps, fitted in turns."""
        groups, rows, columns = self.matrix.shape
        taken = spread(columns, _SAMPLE)
        counts = np.ones((groups, 1, len(taken)), np.float32)
        if self.method.importance:
            counts *= self._power()[:, None, taken]
        if self.weighing is not None:
            counts = counts * self.weighing[:, :, taken]
        if groups > 1:
            counts = np.broadcast_to(counts, (groups, rows, len(taken)))
        if not counts.any():
            counts = np.ones_like(counts)
        first = FirstSteps(
            np.ascontiguousarray(self.matrix[:, :, taken].reshape(groups * rows, -1)),
            np.ascontiguousarray(counts.reshape(-1, len(taken)), np.float32),
            self.floor.reshape(-1),
        )
        refit = self.method.refit_scales and not self.shared
        scales = self.scales.reshape(-1)
        found = []
        for count in steps:
            if count == UNIFORM:
                found.append((_GRID, first.on_grid(scales, LevelTables([_GRID])) if refit else scales))
            else:
                found.append(first.fit(scales, count, refit=refit))
        return [book for book, _ in found], np.stack([scale.reshape(groups, rows) for _, scale in found])

    def _nearest(self, levels: _Levels, scales: _Floats, books: _Books) -> None:
        """Puts each weight on the nearest level."""
        tables = LevelTables(books)
        rows, columns = self.matrix.shape[1:]
        step = max(1, _PART // (len(self.matrix) * columns * len(books)))
        for start in range(0, rows, step):
            part = slice(start, min(start + step, rows))
            residuals = Residuals(np.swapaxes(self.matrix[:, part], 1, 2)[:, :, None] * _halves(scales[:, :, part]))
            residuals.errors = residuals.nearest(tables)
            levels[..., part] = residuals.levels()

    def _compensate(self, levels: _Levels, scales: _Floats, books: _Books) -> _Floats:
        """Puts the weights on levels, fits step sizes and levels to them, and returns the step sizes."""
        self._begin(levels, scales, books)
        if not self.method.rounds:
            scales = self._improved(levels, scales, books, 0)
        for _ in range(self.method.rounds):
            books = self._refitted(levels, scales, books)
            # Step sizes for the new levels first, then what the weights make of both.
            scales = self._improved(levels, scales, books, 0)
            scales = self._improved(levels, scales, books, self.method.sweeps + _MORE)
        for columns, order in zip(self.moments.blocks, self._orders, strict=True):
            back = np.argsort(order, axis=1)[:, :, None, None]
            levels[:, columns] = np.take_along_axis(levels[:, columns], back, 1)
        return scales

    def _power(self) -> _Floats:
        """Returns the diagonal of the quadratic form: (groups, columns)."""
        variance = self.moments.variance if self.centred else self.moments.power
        parts = (variance[:, columns] for columns in self.moments.blocks)
        return np.concatenate([power + _least(power) for power in parts], axis=1)

    def _blocks(self) -> Iterator[Block]:
        """Yields the quadratic form in blocks of columns. A single one and thin ones are kept; of other several, one at a time is in memory."""
        if self._kept:
            yield from self._kept
            return
        self._orders.clear()
        if isinstance(self.moments, FewPatches):
            self._kept += self._thin_blocks(self.moments)
            self._orders += [block.order for block in self._kept]
            yield from self._kept
            return
        for columns, covariance in zip(self.moments.blocks, self.moments.covariance, strict=True):
            matrix = covariance
            if not self.centred:
                mean = self.moments.mean[:, columns]
                matrix = matrix + mean[:, :, None] * mean[:, None, :]
            share, added = damping(np.diagonal(matrix, axis1=1, axis2=2), self.moments.count)
            block = Block.of(columns, matrix, 1 - share, added)
            if len(self.moments.covariance) == 1:
                self._kept.append(block)
            self._orders.append(block.order)
            yield block

    def _thin_blocks(self, moments: FewPatches) -> Iterator[Block]:
        rows, count = moments.centred, moments.count
        if not self.centred:
            rows = rows + moments.mean[:, None]
        for columns in moments.blocks:
            own = rows[:, :, columns] / np.sqrt(count)
            share, added = damping(np.square(own).sum(axis=1), count)
            yield Block.thin(columns, own * np.sqrt(1 - share), added)

    def _parts(self, block: Block, scales: _Floats) -> Iterator[tuple[slice, Residuals]]:
        """Yields rows with their weights in the columns of a block, as many at a time as fit into little memory."""
        steps, _, rows = scales.shape
        step = max(1, _PART // (block.order.size * steps))
        for start in range(0, rows, step):
            part = slice(start, min(start + step, rows))
            yield part, Residuals(block.take(self.matrix[:, part])[:, :, None] * _halves(scales[:, :, part]))

    def _begin(self, levels: _Levels, scales: _Floats, books: _Books) -> None:
        """Sweeps the columns, and descends."""
        tables = LevelTables(books)
        for block in self._blocks():
            for rows, residuals in self._parts(block, scales):
                residuals.sweep(block, tables)
                plain = residuals.nearest(tables)
                # Rows do not depend on one another: of each the better start is taken.
                worse = block.energy(residuals.errors) > block.energy(plain)
                if worse.any():
                    residuals.errors = np.where(worse[:, None], plain, residuals.errors)
                for _ in range(self.method.sweeps):
                    if not residuals.descend(block, tables):
                        break
                levels[:, block.columns, :, rows] = residuals.levels()

    def _improved(self, levels: _Levels, scales: _Floats, books: _Books, sweeps: int) -> _Floats:
        """Descends from the present levels, in place, and returns the step sizes with the least error for what comes out."""
        tables = LevelTables(books)
        top, bottom = np.zeros(scales.shape), np.zeros(scales.shape)
        for block in self._blocks():
            for rows, residuals in self._parts(block, scales):
                residuals.put(levels[:, block.columns, :, rows])
                for _ in range(sweeps):
                    if not residuals.descend(block, tables):
                        break
                found = residuals.levels()
                levels[:, block.columns, :, rows] = found
                if self.method.refit_scales:
                    own = block.turned(block.take(self.matrix[:, rows]))
                    for number in range(len(scales)):
                        turned = block.turned(found[:, :, number].astype(np.float32))
                        top[number, :, rows] += block.product(turned, own)
                        bottom[number, :, rows] += block.product(turned, turned)
        return self._rescaled(top, bottom, scales) if self.method.refit_scales else scales

    def _rescaled(self, top: _Floats, bottom: _Floats, scales: _Floats) -> _Floats:
        """Returns step sizes by least squares, from the products of levels with weights and with themselves."""
        if self.shared:
            top, bottom = (
                np.broadcast_to((array * self.row_weight).sum((1, 2), keepdims=True), array.shape)
                for array in (top, bottom)
            )
        fits = (bottom > 0) & (top > 0)
        found = np.where(fits, top / np.where(fits, bottom, 1.0), scales)
        fitted: _Floats = np.maximum(found.astype(np.float32).astype(np.float64), self.floor)
        return fitted

    def _refitted(self, levels: _Levels, scales: _Floats, books: _Books) -> _Books:
        """Returns codebooks with a smaller error for the same assignment; exchanges their levels in ``levels``, in place."""
        groups, columns, _, rows = levels.shape
        taken = spread(rows, -(-_REFIT // (groups * columns)))
        weight = np.square(scales[..., taken]) * self.row_weight[:, taken]
        sums = [np.zeros((len(book) + 1, len(book) + 1)) for book in books]
        fitted = [number for number, book in enumerate(books) if book is not _GRID]
        for block in self._blocks() if fitted else ():
            own = block.take(self.matrix[:, taken])
            for number in fitted:
                book = books[number]
                real = own / scales[number][:, None, taken]
                chosen = levels[:, block.columns, number, taken]
                sums[number] += level_products(block, book, chosen, real, weight[number])
        found = list(books)
        for number in fitted:
            before, after = books[number], best_levels(books[number], sums[number])
            found[number] = after
            moved = np.arange(256, dtype=np.uint8).view(np.int8)
            moved[before] = after
            for group in levels:
                for column in group[:, number]:
                    # An index takes eight bytes for each weight.
                    column[:] = moved[column]
        return found

    def _solutions(self, levels: _Levels, scales: _Floats) -> list[LayerSolution]:
        """Returns what has been found; levels have their columns in the order of the layer again."""
        exact = scales.astype(np.float32).astype(np.float64)
        error, shift, signal = self._measured(levels, exact)
        found = []
        for number, scale in enumerate(exact):
            bias = None
            if self.bias is not None:
                bias = np.asarray(self.bias, np.float64).reshape(-1)
                if self.method.bias_correction:
                    bias = bias + shift[number].reshape(-1)
            weights = self.op.from_matrix(np.swapaxes(levels[:, :, number], 1, 2), self.shape)
            found.append(
                LayerSolution(
                    weights=weights,
                    scales=np.ascontiguousarray(scale.reshape(-1)[: 1 if self.shared else None], np.float32),
                    bias=bias,
                    codebook=tuple((np.flatnonzero(histogram(weights)) + INT8_MIN).tolist()),
                    error=float(error[number].sum() / signal) if signal > 0 else 0.0,
                )
            )
        return found

    def _measured(self, levels: _Levels, scales: _Floats) -> tuple[_Floats, _Floats, float]:
        """Returns mean square and mean of each row's error, both (steps, groups, rows), and the mean square of the whole signal."""
        steps, groups, rows = scales.shape
        error, shift, signal, offset = (np.zeros((count, groups, rows)) for count in (steps, steps, 1, 1))
        for number, columns in enumerate(self.moments.blocks):
            energy, mean = self.moments.energy(number), self.moments.mean[:, columns]
            step = max(1, _PART // mean.size)
            for start in range(0, rows, step):
                part = slice(start, start + step)
                own = np.ascontiguousarray(np.swapaxes(self.matrix[:, part, columns], 1, 2))
                signal[0, :, part] += energy(own)
                offset[0, :, part] += np.einsum("gkr,gk->gr", own, mean)
                for count in range(steps):
                    change: Floats = own - levels[:, columns, count, part] * scales[count, :, None, part].astype(
                        np.float32
                    )
                    error[count, :, part] += energy(change)
                    shift[count, :, part] += np.einsum("gkr,gk->gr", change, mean)
        whole = float((np.maximum(signal, 0) + np.square(offset)).sum())
        error = np.maximum(error, 0)
        return error if self.centred else error + np.square(shift), shift, whole


def _halves(scales: _Floats) -> Floats:
    """Returns how many halves of a step are in 1, for weights of the axes (groups, columns, steps, rows)."""
    found: Floats = np.moveaxis(2 / scales, 0, 1)[:, None].astype(np.float32)
    return found


def damping(power: _Floats, count: int) -> tuple[float, _Floats]:
    """Returns what makes matrices positive definite and hold for other inputs too: the share that is taken of them, and what their diagonals get.

    Few patches say little of how their columns go together: the fewer they are, the more the matrix is drawn towards its diagonal (shrinkage as
    in Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004, with a fixed intensity).

    Args:
        power: Diagonals of covariances or second moments, (groups, columns).
        count: Number of patches that they were measured on.
    """
    columns = power.shape[1]
    share = _SHRINKAGE * columns / (_SHRINKAGE * columns + count)
    return share, share * power + _least(power)


def _least(power: _Floats) -> _Floats:
    """Returns what is added to the power of each column, (groups, 1)."""
    mean = power.mean(axis=1, keepdims=True)
    return np.where(mean > 0, _DAMPING * mean, 1.0)
