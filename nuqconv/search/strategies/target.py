"""The best metric at a given size."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from nuqconv.errors import SearchError
from nuqconv.search.objective import NearestMetric
from nuqconv.search.space import FLOAT_LEVEL, Levels, SearchSpace
from nuqconv.search.strategies.base import Planner, Proposal, Verdict, View
from nuqconv.search.strategies.words import least_harm

__all__ = ["TargetSizeStrategy"]

_POWERS = (1.0, 0.5, 2.0)
"""Predicted losses may be off by a power: what they say about many mild layers against few strong ones is tried both ways."""

_AT_ONCE = 4


class TargetSizeStrategy(Planner):
    """Fills a size with as little loss as possible, then looks around.

    1. The states of the least predicted loss that fit (a knapsack), with the losses as they are and raised to powers.
    2. From the best of them: one layer is made milder, and others pay for it at the least predicted loss for each byte, or one layer is made
       stronger and others are made milder for what it saves; layers of large predicted loss first. It goes on from a state with a better
       metric, and ends when no neighbour is better.

    Args:
        space: What to choose from.
        objective: Gives the size.
        original: Metric of the original model.

    Raises:
        SearchError: No state is that small, or the original model is.
    """

    def __init__(self, space: SearchSpace, objective: NearestMetric, original: float) -> None:
        super().__init__()
        most, least = objective.max_bytes, space.size(space.smallest())
        if least > most:
            raise SearchError(
                f"{most:,.0f} bytes cannot be reached: all parameters have {least:,.0f} bytes with every layer at its strongest, "
                f"{space.untouched_bytes:,.0f} of them in layers that are not quantized; allow more, or let the configuration quantize more layers"
            )
        if space.float_bytes <= most:
            raise SearchError(
                f"the model has {space.float_bytes:,.0f} bytes in float, which {most:,.0f} allow; demand a smaller size"
            )
        self._space = space
        self._objective = objective
        self._most = most
        self._original = original
        self._starts = [
            Proposal(_filled(space, space.mildest(most, power), most), least_harm(most, power)) for power in _POWERS
        ]
        self._around: dict[Levels, tuple[list[Proposal], Iterator[Proposal]]] = {}

    def run(self, view: View) -> None:
        """Go through the search; see `Planner.run`."""
        view.expect(len(_POWERS) + 2 * len(self._space))
        starts = list({proposal.levels: proposal for proposal in self._starts}.values())
        best, place = self._best(starts, view.ask_all(starts))
        number = 0
        while some := self._group(best, number):
            view.expect(2 * len(self._space) - number * _AT_ONCE)
            found, rank = self._best(some, view.ask_all(some))
            number += 1
            if rank < place:
                best, place, number = found, rank, 0

    def _best(self, proposals: Sequence[Proposal], verdicts: Sequence[Verdict]) -> tuple[Levels, tuple[float, ...]]:
        places = [
            self._objective.place(
                verdict.metric, self._original, self._space.size(proposal.levels), accepted=verdict.accepted
            )
            for proposal, verdict in zip(proposals, verdicts, strict=True)
        ]
        best = min(range(len(places)), key=places.__getitem__)
        return proposals[best].levels, places[best]

    def _group(self, levels: Levels, number: int) -> list[Proposal]:
        """Returns the next few neighbours of a state; they are made when they are asked for, and kept."""
        made, more = self._around.setdefault(levels, ([], self._neighbours(levels)))
        made += itertools.islice(more, max(0, (number + 1) * _AT_ONCE - len(made)))
        return made[number * _AT_ONCE : (number + 1) * _AT_ONCE]

    def _neighbours(self, levels: Levels) -> Iterator[Proposal]:
        space = self._space
        found = {levels}
        for index in sorted(range(len(space)), key=lambda index: (-space.layers[index].loss(levels[index]), index)):
            for step, word in ((-1, "milder"), (1, "stronger")):
                level = levels[index] + step
                if not FLOAT_LEVEL <= level < len(space.layers[index].options):
                    continue
                other = self._settled((*levels[:index], level, *levels[index + 1 :]), index)
                if other is not None and other not in found:
                    found.add(other)
                    yield Proposal(other, f"exchange: {space.layers[index].name} {word}, others make up for it")

    def _settled(self, levels: Levels, kept: int) -> Levels | None:
        """Returns a state that fits and leaves little room, with one layer as it is; None if there is none."""
        space = self._space
        over = space.size(levels) - self._most
        if over > 0:
            state = list(levels)
            payable = tuple(FLOAT_LEVEL if index == kept else level for index, level in enumerate(levels))
            moves = [*space.path(payable), *space.win_back(levels, {kept: FLOAT_LEVEL})]
            for move in sorted(moves, key=lambda move: (move.rate, move.layer, move.stop)):
                over -= space.layers[move.layer].size(state[move.layer]) - space.layers[move.layer].size(move.stop)
                state[move.layer] = move.stop
                if over <= 0:
                    break
            levels = tuple(state)
        return None if over > 0 else _filled(space, levels, self._most, kept)


def _filled(space: SearchSpace, levels: Levels, most: float, kept: int = -1) -> Levels:
    """Returns a state with layers made milder as far as the size allows: those first that gain most for a byte."""
    state, room = list(levels), most - space.size(levels)
    while True:
        best, gain = None, 0.0
        for index, layer in enumerate(space.layers):
            level = state[index]
            if index == kept or level == FLOAT_LEVEL:
                continue
            more = layer.size(level - 1) - layer.size(level)
            gained = layer.loss(level) - layer.loss(level - 1)
            if more <= room and gained > gain * max(more, 1e-9):
                best, gain = index, gained / max(more, 1e-9)
        if best is None:
            return tuple(state)
        room -= space.layers[best].size(state[best] - 1) - space.layers[best].size(state[best])
        state[best] -= 1
