"""Second moments of what a layer's weights are multiplied with: all that the error of its output depends on.

A Convolution, Deconvolution or InnerProduct is a matrix product ``y = W x + b``, with one vector ``x`` (a patch) for each output
position and each group of channels. If the weights change by ``D`` and the bias by ``d``, the mean squared change of the output is
``tr(D C D') + |D m + d|**2`` with the mean ``m`` and the covariance ``C`` of the patches. A Deconvolution is the convolution of its
input with zeros put in between (its kernel mirrored), so the same holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import QuantizationError
from nuqconv.ir import Array
from nuqconv.ir.ops import OpError, Weighted

__all__ = [
    "MAX_COLUMNS",
    "FewPatches",
    "MomentSum",
    "Moments",
    "block_sizes",
    "few_patches",
    "patches",
    "positions",
]


MAX_COLUMNS = 4608
"""Up to this many weights of one output share one matrix of moments; more are split into blocks of at most `BLOCK_COLUMNS`."""

BLOCK_COLUMNS = 2048
_FEW = 0.4
"""Patches for each column of a block up to which they are kept as they are: products with them take less time then than with covariances."""

_GOLDEN = 0.6180339887498949
_SILVER = 0.41421356237309515
_SLAB = 1 << 24
_STRIPE = 256


def block_sizes(columns: int) -> tuple[int, ...]:
    """Returns how the columns of one group are split, so that moments between blocks need not be kept.

    Args:
        columns: Number of weights of one output.

    Returns:
        Sizes that differ by 1 at most and add up to ``columns``; one size up to `MAX_COLUMNS`.
    """
    if columns <= MAX_COLUMNS:
        return (columns,)
    count = -(-columns // BLOCK_COLUMNS)
    return tuple((columns + number) // count for number in range(count))


def few_patches(columns: int) -> int:
    """Returns up to how many patches of so many columns are kept as they are."""
    return int(_FEW * block_sizes(columns)[0])


def positions(available: int, wanted: int, image: int) -> NDArray[np.intp]:
    """Chooses output positions of one image, spread evenly and without a period that a row of the image could share.

    One position is taken from each of ``wanted`` equal stretches, at a place that additive recurrences with the golden ratio (along the image)
    and the silver one (from image to image) give.

    Args:
        available: Number of positions.
        wanted: How many to take.
        image: Number of the image.

    Returns:
        Ascending indices, all of them if no more than ``wanted`` are there.
    """
    if wanted >= available:
        return np.arange(available)
    steps = np.arange(wanted)
    inside = (steps * _GOLDEN + image * _SILVER) % 1.0
    return np.minimum(((steps + inside) * (available / wanted)).astype(np.intp), available - 1)


def patches(op: Weighted, x: Array, rows: int | None = None, first: int = 0) -> NDArray[np.float32]:
    """Returns the vectors that a layer's weights are multiplied with.

    Args:
        op: The layer's operator.
        x: Its input, batch axes first (for a Convolution or Deconvolution ``(batch..., channels, spatial...)``).
        rows: How many positions to take from each image (see `positions`), or None for all.
        first: Number of the first image, for `positions`.

    Returns:
        Float32, shape (rows in all, groups, columns), a row for each image and position in the order of the output. The columns are those of
        `Weighted.to_matrix`.

    Raises:
        QuantizationError: The input does not fit the operator.
    """
    try:
        windows = op.windows(x)
    except OpError as error:
        raise QuantizationError(str(error)) from error
    images, rank = len(windows), (windows.ndim - 2) // 2
    columns = math.prod(windows.shape[2 + rank :]) * windows.shape[1] // op.groups
    if not rank:
        return windows.reshape(images, op.groups, columns)
    spatial = windows.shape[2 : 2 + rank]
    count = math.prod(spatial)
    taken = [positions(count, count if rows is None else rows, first + number) for number in range(images)]
    found = np.empty((sum(map(len, taken)), op.groups, columns), np.float32)
    start = 0
    for number, flat in enumerate(taken):
        index = np.unravel_index(flat, spatial)
        # With the advanced indices in a row, numpy puts their axis where they stand: behind the channels.
        where = (slice(None), *index)
        chosen = windows[number][where]
        found[start : start + len(flat)] = np.swapaxes(chosen, 0, 1).reshape(len(flat), op.groups, columns)
        start += len(flat)
    return found


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of a layer's patches.

    Attributes:
        count: Number of patches.
        mean: Mean of each column; float64, shape (groups, columns).
        covariance: Covariances in blocks of columns (one block unless there are more than `MAX_COLUMNS`): float64, each of shape
            (groups, block, block); those between blocks are not kept.
    """

    count: int
    mean: NDArray[np.float64]
    covariance: tuple[NDArray[np.float64], ...]

    @property
    def blocks(self) -> tuple[slice, ...]:
        """The columns of each block."""
        return _slices(self.covariance)

    @property
    def second(self) -> tuple[NDArray[np.float64], ...]:
        """Second moments about zero, in blocks like `covariance`."""
        means = (self.mean[:, block] for block in self.blocks)
        return tuple(
            block + mean[:, :, None] * mean[:, None, :] for block, mean in zip(self.covariance, means, strict=True)
        )

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of each column; shape (groups, columns)."""
        return np.concatenate([np.diagonal(block, axis1=1, axis2=2) for block in self.covariance], axis=1)

    @property
    def power(self) -> NDArray[np.float64]:
        """Mean square of each column; shape (groups, columns)."""
        found: NDArray[np.float64] = self.variance + np.square(self.mean)
        return found

    def energy(self, number: int) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
        """Returns what gives ``v' C v`` for vectors (groups, columns of a block, vectors) with the covariance of that block, (groups, vectors)."""
        form = self.covariance[number].astype(np.float32)
        count = form.shape[-1]

        def energy(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
            found = np.zeros((vectors.shape[0], vectors.shape[2]))
            for start in range(0, count, _STRIPE):
                stop = min(start + _STRIPE, count)
                # The matrix is symmetric: what stands to the right of the diagonal counts twice.
                product = form[:, start:stop, stop:] @ vectors[:, stop:]
                product *= 2
                product += form[:, start:stop, start:stop] @ vectors[:, start:stop]
                found += np.einsum("gkr,gkr->gr", product, vectors[:, start:stop], dtype=np.float64)
            return found

        return energy

    def output_error(self, difference: Array, shift: Array | None = None) -> NDArray[np.float64]:
        """Returns the mean square of ``difference @ x + shift`` for each output.

        Args:
            difference: Change of the weights, shape (groups, outputs of a group, columns).
            shift: Change of the bias, shape (groups, outputs of a group), or None.

        Returns:
            Float64, shape (groups, outputs of a group).
        """
        change = np.asarray(difference, np.float64)
        error = np.zeros(change.shape[:2])
        for columns, block in zip(self.blocks, self.covariance, strict=True):
            part = change[:, :, columns]
            error += np.einsum("grk,grk->gr", part @ block, part)
        moved = np.einsum("grk,gk->gr", change, self.mean)
        # Rounding may leave a covariance a hair below zero.
        total: NDArray[np.float64] = np.maximum(error, 0.0) + np.square(moved if shift is None else moved + shift)
        return total


class FewPatches(Moments):
    """Moments of fewer patches than columns: the patches themselves, which take less room and time than their covariances.

    Args:
        patches: Shape (count, groups, columns).

    Attributes:
        centred: The patches less their mean; float64, shape (groups, count, columns).
    """

    def __init__(self, patches: Array) -> None:
        mean = patches.mean(axis=0, dtype=np.float64)
        fields = {"count": len(patches), "mean": mean, "centred": np.swapaxes(patches - mean, 0, 1)}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    centred: NDArray[np.float64]

    @property
    def covariance(self) -> tuple[NDArray[np.float64], ...]:
        """The covariances, made at each call."""
        parts = (self.centred[:, :, block] for block in self.blocks)
        return tuple(np.swapaxes(part, 1, 2) @ part / self.count for part in parts)

    @property
    def blocks(self) -> tuple[slice, ...]:
        """The columns of each block."""
        return _parts(block_sizes(self.mean.shape[1]))

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of each column; shape (groups, columns)."""
        found: NDArray[np.float64] = np.square(self.centred).mean(axis=1)
        return found

    def energy(self, number: int) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
        """As of `Moments`."""
        rows = (self.centred[:, :, self.blocks[number]] / math.sqrt(self.count)).astype(np.float32)

        def energy(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
            product = rows @ vectors
            found: NDArray[np.float64] = np.einsum("gnr,gnr->gr", product, product, dtype=np.float64)
            return found

        return energy


class MomentSum:
    """Adds up the moments of patches; as long as they are few it keeps them.

    Sums are float64, of products of at most 2**24 numbers each in float32. They are kept about the mean of the first patches seen, so that large
    means cost no digits.

    Args:
        groups: Number of groups.
        columns: Columns of a patch in one group.
    """

    def __init__(self, groups: int, columns: int) -> None:
        self.groups = groups
        self.columns = columns
        self.count = 0
        self._origin = np.zeros((groups, columns))
        self._first = np.zeros((groups, columns))
        self._sizes = block_sizes(columns)
        self._second: list[NDArray[np.float64]] = []
        self._few: list[NDArray[np.float32]] | None = []

    def update(self, rows: Array) -> None:
        """Adds patches.

        Args:
            rows: Shape (any number, groups, columns), as `patches` returns them.

        Raises:
            QuantizationError: The shape is another one, or a value is NaN or infinite.
        """
        if rows.shape[1:] != (self.groups, self.columns):
            raise QuantizationError(f"patches of shape {rows.shape}, expected (N, {self.groups}, {self.columns})")
        if not np.isfinite(rows).all():
            raise QuantizationError("the inputs of a layer hold NaN or infinity; check the calibration batches")
        if self._few is not None and self.count + len(rows) <= few_patches(self.columns):
            self._few.append(np.array(rows))
            self.count += len(rows)
        else:
            self._gather(rows)

    def _gather(self, rows: Array) -> None:
        self._spread()
        if len(rows) and not self.count:
            self._origin = rows.mean(axis=0, dtype=np.float64).astype(np.float32).astype(np.float64)
        origin = self._origin.astype(np.float32)
        step = max(1, _SLAB // max(1, self.groups * self.columns))
        for start in range(0, len(rows), step):
            self._add(rows[start : start + step] - origin)

    def merge(self, other: MomentSum) -> None:
        """Adds the patches of another sum, which stays as it is.

        Raises:
            QuantizationError: The shapes differ.
        """
        if (other.groups, other.columns) != (self.groups, self.columns):
            raise QuantizationError(
                f"moments of {other.groups} x {other.columns} columns cannot be added to {self.groups} x {self.columns}"
            )
        if other._few is not None:
            for rows in other._few:
                self.update(rows)
            return
        self._spread()
        if not self.count:
            self._origin = other._origin
        shift = other._origin - self._origin
        for columns, mine, theirs in zip(_slices(self._second), self._second, other._second, strict=True):
            cross = other._first[:, columns, None] * shift[:, None, columns]
            mine[...] += theirs + cross + np.swapaxes(cross, 1, 2)
            mine[...] += other.count * shift[:, columns, None] * shift[:, None, columns]
        self._first += other._first + other.count * shift
        self.count += other.count

    def _spread(self) -> None:
        """Turns patches that were kept into sums."""
        if self._few is None:
            return
        few, self._few, self.count = self._few, None, 0
        self._second = [np.zeros((self.groups, size, size)) for size in self._sizes]
        for rows in few:
            self._gather(rows)

    def moments(self) -> Moments:
        """Returns the moments of all patches so far.

        Raises:
            QuantizationError: There were none.
        """
        return self._made([np.empty_like(block) for block in self._second])

    def finish(self) -> Moments:
        """Returns what `moments` does, for which the sums are given up: there is no second copy."""
        found = self._made(self._second)
        self._second, self._few, self.count = [], [], 0
        self._first = np.zeros((self.groups, self.columns))
        return found

    def _made(self, places: Sequence[NDArray[np.float64]]) -> Moments:
        if not self.count:
            raise QuantizationError(
                "no patches were seen, so a layer's inputs have no moments; give calibration batches"
            )
        if self._few is not None:
            return FewPatches(np.concatenate(self._few))
        offset = self._first / self.count
        for columns, block, place in zip(_parts(self._sizes), self._second, places, strict=True):
            np.divide(block, self.count, out=place)
            own = offset[:, columns]
            for start in range(0, own.shape[1], _STRIPE):
                stripe = slice(start, start + _STRIPE)
                place[:, stripe] -= own[:, stripe, None] * own[:, None]
        return Moments(self.count, self._origin + offset, tuple(places))

    def _add(self, rows: NDArray[np.float32]) -> None:
        self.count += len(rows)
        self._first += rows.sum(axis=0, dtype=np.float64)
        # For one group numpy sees a matrix times itself and computes half of it.
        split = rows[:, 0] if self.groups == 1 else np.ascontiguousarray(np.swapaxes(rows, 0, 1))
        for columns, block in zip(_slices(self._second), self._second, strict=True):
            part = split[..., columns]
            block[...] += np.swapaxes(part, -1, -2) @ part


def _slices(blocks: Sequence[Array]) -> tuple[slice, ...]:
    return _parts([block.shape[-1] for block in blocks])


def _parts(sizes: Sequence[int]) -> tuple[slice, ...]:
    ends = np.cumsum(sizes).tolist()
    return tuple(slice(end - size, end) for end, size in zip(ends, sizes, strict=True))
