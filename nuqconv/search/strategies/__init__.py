"""Which plan to try next: one module for each strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from nuqconv.errors import SearchError
from nuqconv.search.space import SearchSpace
from nuqconv.search.strategies.base import Planner, Proposal, Strategy, Verdict, View
from nuqconv.search.strategies.exhaustive import ExhaustiveStrategy
from nuqconv.search.strategies.greedy import GreedyRevertStrategy
from nuqconv.search.strategies.path import PathStrategy
from nuqconv.search.strategies.prefix import PrefixStrategy

__all__ = [
    "STRATEGIES",
    "ExhaustiveStrategy",
    "GreedyRevertStrategy",
    "PathStrategy",
    "Planner",
    "PrefixStrategy",
    "Proposal",
    "Strategy",
    "Verdict",
    "View",
    "check_strategy",
    "strategy_named",
]

STRATEGIES: Mapping[str, Callable[[SearchSpace], Strategy]] = MappingProxyType(
    {
        "path": PathStrategy,
        "prefix": PrefixStrategy,
        "greedy": GreedyRevertStrategy,
        "exhaustive": ExhaustiveStrategy,
    }
)
"""The strategies by name; the first is the default."""


def check_strategy(name: str) -> None:
    """Check that there is a strategy of a name.

    Raises:
        SearchError: There is none.
    """
    if name not in STRATEGIES:
        raise SearchError(f"there is no search strategy {name!r}; there are {', '.join(STRATEGIES)}")


def strategy_named(name: str, space: SearchSpace) -> Strategy:
    """Return a new strategy.

    Raises:
        SearchError: There is none of this name, or it refuses the space.
    """
    check_strategy(name)
    return STRATEGIES[name](space)
