"""States near a state: one layer stronger, another milder; and all states of a small space."""

from __future__ import annotations

import heapq
import itertools
import math

from nuqconv.search.space import FLOAT_LEVEL, Levels, SearchSpace

__all__ = ["all_states", "exchanges"]

_MOST = 64
_FEW_STATES = 4096


def exchanges(space: SearchSpace, levels: Levels, max_layers: int | None = None) -> tuple[Levels, ...]:
    """Return states that differ from a state in one layer or two and are smaller, those of the least predicted loss first.

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
        if max_layers is None or sum(level > 0 for level in state) <= max_layers:
            found.append(tuple(state))
    return tuple(found[:_MOST])


def all_states(space: SearchSpace, max_layers: int | None = None) -> tuple[Levels, ...]:
    """Return all states of a space that has few, those of the least predicted loss first; nothing for a larger space.

    Args:
        space: What to choose from.
        max_layers: How many layers may have a codebook; None for any number.
    """
    choices = [range(FLOAT_LEVEL, len(layer.options)) for layer in space.layers]
    if math.prod(map(len, choices)) > _FEW_STATES:
        return ()
    states = (
        state
        for state in itertools.product(*choices)
        if max_layers is None or sum(level > 0 for level in state) <= max_layers
    )
    return tuple(sorted(states, key=lambda state: (space.loss(state), state)))
