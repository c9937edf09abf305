"""Binary search for the longest accepted prefix of the path, and nothing after it."""

from __future__ import annotations

from nuqconv.search.space import SearchSpace
from nuqconv.search.strategies.base import Planner, View
from nuqconv.search.strategies.words import steps_of_path

__all__ = ["PrefixStrategy"]


class PrefixStrategy(Planner):
    """One ordered prefix, found by halving: how AMCT's automatic search goes about it.

    Int8 everywhere comes first; if that fails, nothing is found. Then the whole path, then halves of it, as if accuracy fell with every move.

    Args:
        space: What to choose from.
        max_layers: How many layers may have a codebook, those that save the most with one; None for any number.
    """

    def __init__(self, space: SearchSpace, max_layers: int | None = None) -> None:
        super().__init__()
        self._space = space
        limits = space.few_codebooks(space.uniform(), {}, max_layers)
        self._moves = space.path(ceilings=limits)

    def run(self, view: View) -> None:
        """Go through the search; see `Planner.run`."""
        levels = self._space.uniform()
        view.expect(2 + len(self._moves).bit_length())
        if not view.ask(levels, "int8 for all layers", 0.9).accepted:
            return
        low, high = 0, len(self._moves) + 1
        count = len(self._moves)
        while high - low > 1:
            step = steps_of_path(self._moves, count)
            if view.ask(self._space.apply(levels, self._moves[:count]), step).accepted:
                low = count
            else:
                high = count
            count = (low + high) // 2
