"""States near a state: one layer stronger, another milder."""

from __future__ import annotations

import heapq
import itertools

from nuqconv.search.space import FLOAT_LEVEL, Levels, SearchSpace

__all__ = ["exchanges", "few_enough"]

_MOST = 64


def few_enough(levels: Levels, max_layers: int | None) -> bool:
    """Returns whether no more layers of a state have a codebook than may; None is any number."""
    return max_layers is None or sum(level > 0 for level in levels) <= max_layers


def exchanges(space: SearchSpace, levels: Levels, max_layers: int | None = None) -> tuple[Levels, ...]:
    """Returns states that differ from a state in one layer or two and are smaller, those of the least predicted loss first.

    Args:
        space: What to choose from.
        levels: The state.
        max_layers: How many layers may have a codebook; None for any number.
    """
    stronger, milder = [], [(0.0, 0.0, -1, 0)]
    for index, (layer, level) in enumerate(zip(space.layers, levels, strict=True)):
        for other in range(FLOAT_LEVEL, len(layer.options)):
            saved, loss = layer.size(level) - layer.size(other), layer.loss(other) - layer.loss(level)
            if saved > 0:
                stronger.append((loss, saved, index, other))
            elif other < level:
                milder.append((loss, saved, index, other))
    # Pairs of the first of either are nearly always the first pairs, and all pairs of hundreds of layers would take long.
    stronger, milder = heapq.nsmallest(_MOST, stronger), heapq.nsmallest(_MOST, milder)
    pairs = (
        (loss + back, one, up, other, down)
        for loss, saved, one, up in stronger
        for back, cost, other, down in milder
        if one != other and saved + cost > 0
    )
    found = []
    for _, one, up, other, down in heapq.nsmallest(2 * _MOST, pairs):
        state = list(levels)
        state[one] = up
        if other >= 0:
            state[other] = down
        found.append(tuple(state))
    return tuple(itertools.islice((state for state in found if few_enough(state, max_layers)), _MOST))
