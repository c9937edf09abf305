"""Which plan to try next: one module for each strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from nuqconv.errors import SearchError
from nuqconv.search.objective import NearestMetric, Objective, SmallestBytes
from nuqconv.search.space import SearchSpace
from nuqconv.search.strategies.base import Planner, Proposal, Strategy, Verdict, View
from nuqconv.search.strategies.exhaustive import ExhaustiveStrategy
from nuqconv.search.strategies.greedy import GreedyRevertStrategy
from nuqconv.search.strategies.path import PathStrategy
from nuqconv.search.strategies.prefix import PrefixStrategy
from nuqconv.search.strategies.target import TargetSizeStrategy

__all__ = [
    "STRATEGIES",
    "ExhaustiveStrategy",
    "GreedyRevertStrategy",
    "PathStrategy",
    "Planner",
    "PrefixStrategy",
    "Proposal",
    "Strategy",
    "TargetSizeStrategy",
    "Verdict",
    "View",
    "check_strategy",
    "strategy_named",
]

_Factory = Callable[[SearchSpace, Objective, float], Strategy]


def _path(space: SearchSpace, objective: Objective, original: float) -> Strategy:
    if isinstance(objective, NearestMetric):
        return TargetSizeStrategy(space, objective, original)
    return PathStrategy(space, _max_layers(objective))


def _prefix(space: SearchSpace, objective: Objective, original: float) -> Strategy:
    del original
    return PrefixStrategy(space, _max_layers(objective))


def _greedy(space: SearchSpace, objective: Objective, original: float) -> Strategy:
    del original
    return GreedyRevertStrategy(space, _max_layers(objective))


def _exhaustive(space: SearchSpace, objective: Objective, original: float) -> Strategy:
    del original
    return ExhaustiveStrategy(space, objective)


def _max_layers(objective: Objective) -> int | None:
    if not isinstance(objective, SmallestBytes):
        raise SearchError(
            "this search strategy looks for the smallest size; for the best metric at a size take path or exhaustive"
        )
    return objective.max_layers


STRATEGIES: Mapping[str, _Factory] = MappingProxyType(
    {"path": _path, "prefix": _prefix, "greedy": _greedy, "exhaustive": _exhaustive}
)
"""The strategies by name; the first is the default."""


def check_strategy(name: str) -> None:
    """Check that there is a strategy of a name.

    Raises:
        SearchError: There is none.
    """
    if name not in STRATEGIES:
        raise SearchError(f"there is no search strategy {name!r}; there are {', '.join(STRATEGIES)}")


def strategy_named(
    name: str, space: SearchSpace, objective: Objective | None = None, original: float = 0.0
) -> Strategy:
    """Return a new strategy.

    Args:
        name: Its name.
        space: What to choose from.
        objective: What the search is for; None is the smallest size.
        original: Metric of the original model.

    Raises:
        SearchError: There is none of this name, or it refuses the space or the objective.
    """
    check_strategy(name)
    return STRATEGIES[name](space, SmallestBytes() if objective is None else objective, original)
