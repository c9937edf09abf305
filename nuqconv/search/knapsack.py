"""The multiple-choice knapsack on a grid: one choice for each item, the least sum of values for a sum of costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["grid_of", "knapsack"]

_FINE, _COARSE, _MANY = 4096, 2048, 128


def grid_of(items: int) -> int:
    """Returns how many units the costs of so many items are divided into: fewer for many, whose rounding averages out."""
    return _FINE if items <= _MANY else _COARSE


def knapsack(values: Sequence[Sequence[float]], costs: Sequence[Sequence[int]], grid: int) -> list[int]:
    """Returns for each item the position of the choice that makes the sum of the values least while the costs add up to at most `grid`.

    Dynamic programming over the grid, exact for the given costs; of equal sums the earlier choice is taken.

    Args:
        values: For each item the values of its choices, finite.
        costs: The costs of the same choices, not negative; each item has one that costs nothing.
        grid: The most that the costs may add up to.
    """
    table = np.zeros(grid + 1)
    choices = np.zeros((len(values), grid + 1), np.int16)
    total, better = np.empty(grid + 1), np.empty(grid + 1, np.bool_)
    for row, (item_values, item_costs) in enumerate(zip(values, costs, strict=True)):
        best = np.full(grid + 1, np.inf)
        for position, (value, cost) in enumerate(zip(item_values, item_costs, strict=True)):
            if cost <= grid:
                part, improves = total[cost:], better[cost:]
                np.add(table[: grid + 1 - cost], value, out=part)
                np.less(part, best[cost:], out=improves)
                np.copyto(best[cost:], part, where=improves)
                choices[row, cost:][improves] = position
        table = best
    left = grid
    chosen: list[int] = []
    for row in reversed(range(len(values))):
        chosen.append(int(choices[row, left]))
        left -= costs[row][chosen[-1]]
    return chosen[::-1]
