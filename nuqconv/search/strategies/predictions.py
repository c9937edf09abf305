"""What a procedure computes from predicted losses, kept: a procedure is run again for every proposal."""

from __future__ import annotations

from collections.abc import Mapping

from nuqconv.search.space import Levels, Move, SearchSpace
from nuqconv.search.strategies.exchange import exchanges, few_enough
from nuqconv.search.strategies.exhaustive import MAX_STATES

__all__ = ["Predictions"]


class Predictions:
    """Paths, knapsacks and neighbours of states, each computed once.

    Args:
        space: What to choose from.
        max_layers: How many layers may have a codebook, those that save the most with one; None for any number.

    Attributes:
        space: What to choose from.
        by_harm: The indices of the layers, first the one with the largest predicted loss in int8.
    """

    def __init__(self, space: SearchSpace, max_layers: int | None) -> None:
        self.space = space
        self.by_harm = space.by_harm()
        self._max_layers = max_layers
        self._limits = self._limited(space.uniform(), {})
        self._states: list[Levels] = []
        """All states of a space that has few, those of the least predicted loss first."""
        if space.state_count <= MAX_STATES:
            states = (state for state in space.states() if few_enough(state, max_layers))
            self._states = sorted(states, key=lambda state: (space.loss(state), state))
        self._cheapest: dict[tuple[float, Levels, bool], Levels] = {}
        self._mildest: dict[tuple[float, float], Levels] = {}
        self._near: dict[Levels, tuple[Levels, ...]] = {}
        self._paths: dict[tuple[Levels, tuple[tuple[int, int], ...]], tuple[Move, ...]] = {}
        self._sizes: dict[Levels, float] = {}

    def path(self, levels: Levels, ceilings: Mapping[int, int]) -> tuple[Move, ...]:
        """Returns the moves from a state; see `SearchSpace.path`."""
        key = (levels, tuple(sorted(ceilings.items())))
        if key not in self._paths:
            self._paths[key] = self.space.path(levels, self._limited(levels, ceilings))
        return self._paths[key]

    def smallest_for(self, loss: float, levels: Levels, *, refloat: bool) -> Levels:
        """Returns about the smallest state for a predicted loss; see `SearchSpace.cheapest`."""
        key = (loss, levels, refloat)
        if key not in self._cheapest:
            self._cheapest[key] = self.space.cheapest(loss, levels, refloat=refloat, ceilings=self._limits)
        return self._cheapest[key]

    def mildest(self, size: float, power: float = 1.0) -> Levels:
        """Returns about the state of the least predicted loss at a size; see `SearchSpace.mildest`."""
        key = (size, power)
        if key not in self._mildest:
            self._mildest[key] = self.space.mildest(size, power, self._limits)
        return self._mildest[key]

    def near(self, levels: Levels) -> tuple[Levels, ...]:
        """Returns smaller states that differ from a state in a layer or two, then, of a space with few states, all smaller ones."""
        if levels not in self._near:
            smaller = (state for state in self._states if self.size(state) < self.size(levels))
            found = exchanges(self.space, levels, self._max_layers)
            self._near[levels] = tuple(dict.fromkeys((*found, *smaller)))
        return self._near[levels]

    def size(self, levels: Levels) -> float:
        """Returns the size of a state in bytes."""
        if levels not in self._sizes:
            self._sizes[levels] = self.space.size(levels)
        return self._sizes[levels]

    def _limited(self, levels: Levels, ceilings: Mapping[int, int]) -> Mapping[int, int]:
        return self.space.few_codebooks(levels, ceilings, self._max_layers)
