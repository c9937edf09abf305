"""Every state of a small space."""

from __future__ import annotations

from nuqconv.errors import SearchError
from nuqconv.search.objective import NearestMetric, Objective, SmallestBytes
from nuqconv.search.space import FLOAT_LEVEL, SearchSpace
from nuqconv.search.strategies.base import Planner, View

__all__ = ["MAX_STATES", "ExhaustiveStrategy"]

MAX_STATES = 4096
"""Larger spaces are refused."""


class ExhaustiveStrategy(Planner):
    """Tries all states that may be the result. The smallest size is the first that is accepted, in the order of sizes, whatever the metric does.

    Args:
        space: What to choose from.
        objective: What the search is for.

    Raises:
        SearchError: The space has more than `MAX_STATES` states.
    """

    def __init__(self, space: SearchSpace, objective: Objective | None = None) -> None:
        super().__init__()
        if space.state_count > MAX_STATES:
            raise SearchError(
                f"{len(space)} layers have {space.state_count:,} states, and an exhaustive search tries at most {MAX_STATES:,}; "
                "choose another strategy, or let the configuration search fewer layers"
            )
        aim = SmallestBytes() if objective is None else objective
        states = [state for state in space.states() if aim.allows(space.plan(state), space.size(state))]
        self._states = sorted(states, key=lambda state: (space.size(state), state.count(FLOAT_LEVEL), state))
        self._all = isinstance(objective, NearestMetric)

    def run(self, view: View) -> None:
        """Go through the search; see `Planner.run`."""
        for number, state in enumerate(self._states):
            view.expect(len(self._states) - number)
            accepted = view.ask(state, f"state {number + 1} of {len(self._states)} by size", 0.01).accepted
            if accepted and not self._all:
                return
