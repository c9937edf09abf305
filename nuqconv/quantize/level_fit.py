"""The levels of a codebook fitted to the weights that are on them, by the error of the layer's output (least squares in whole numbers)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nuqconv.quantize.descent import Block, Floats
from nuqconv.quantize.rounding import INT8_MAX, INT8_MIN

__all__ = ["best_levels", "level_products"]

_TOGETHER = 1 << 21
"""Numbers in one array of products with levels."""


def level_products(
    block: Block, book: NDArray[np.int64], levels: NDArray[np.int8], weights: Floats, counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the quadratic form's products among indicators of levels (1 where a weight is on it) and the weights, the last ones: a square matrix.

    Args:
        block: The form.
        book: The levels.
        levels: Which one each weight is on, (groups, columns, rows).
        weights: Weights in steps, (groups, columns, rows).
        counts: What each row counts, (groups, rows).
    """
    groups, columns, rows = levels.shape
    size = len(book) + 1
    total = np.zeros((size, size))
    step = max(1, _TOGETHER // (groups * columns * size))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        own = levels[:, :, part]
        parts = np.empty((*own.shape, size), np.float32)
        np.equal(own[..., None], book, out=parts[..., :-1], casting="unsafe")
        parts[..., -1] = weights[:, :, part]
        turned = block.turned(parts.reshape(groups, columns, -1)).reshape(groups, -1, own.shape[2], size)
        scaled = turned * (block.pivots[:, :, None] * counts[:, None, part]).astype(np.float32)[..., None]
        # One product for all rows: they count alike but for their weights.
        total += scaled.reshape(-1, size).T @ turned.reshape(-1, size)
    return total


def best_levels(book: NDArray[np.int64], gram: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns whole levels, still ascending, that make the quadratic form ``(q, -1) gram (q, -1)'`` small, one after the other."""
    matrix, vector, count = gram[:-1, :-1], gram[:-1, -1], len(book)
    found: NDArray[np.int64] = book.copy()
    for _ in range(8):
        before = found.copy()
        for entry in np.flatnonzero(np.diagonal(matrix) > 0).tolist():
            others = matrix[entry] @ found - matrix[entry, entry] * found[entry]
            low = INT8_MIN if entry == 0 else found[entry - 1] + 1
            high = INT8_MAX if entry == count - 1 else found[entry + 1] - 1
            found[entry] = np.clip(np.rint((vector[entry] - others) / matrix[entry, entry]), low, high)
        if (found == before).all():
            break
    return found
