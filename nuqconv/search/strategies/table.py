"""The table of strategies, and how a strategy is made from a name, an object or a class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nuqconv.errors import SearchError
from nuqconv.search.objective import NearestMetric, Objective, SmallestBytes
from nuqconv.search.space import SearchSpace
from nuqconv.search.strategies.base import Strategy
from nuqconv.search.strategies.exhaustive import ExhaustiveStrategy
from nuqconv.search.strategies.greedy import GreedyRevertStrategy
from nuqconv.search.strategies.path import PathStrategy
from nuqconv.search.strategies.prefix import PrefixStrategy
from nuqconv.search.strategies.target import TargetSizeStrategy

__all__ = [
    "STRATEGIES",
    "NamedStrategy",
    "StrategyChoice",
    "StrategyFactory",
    "check_strategy",
    "make_strategy",
    "strategy_name",
]

StrategyFactory = Callable[[SearchSpace, Objective, float], Strategy]
"""Makes a strategy from what to choose from, what the search is for, and the metric of the original model."""

StrategyChoice = str | Strategy | StrategyFactory
"""A name in `STRATEGIES`, a strategy, or what makes one."""

_METHODS = ("propose", "tell", "remaining")


@dataclass(frozen=True)
class NamedStrategy:
    """A strategy of this package.

    Attributes:
        summary: What it does, in a few words.
        make: Makes one.
    """

    summary: str
    make: StrategyFactory


def _path(space: SearchSpace, objective: Objective, original: float) -> Strategy:
    if isinstance(objective, NearestMetric):
        return TargetSizeStrategy(space, objective, original)
    return PathStrategy(space, _max_layers(objective))


def _max_layers(objective: Objective) -> int | None:
    if not isinstance(objective, SmallestBytes):
        raise SearchError(
            "this search strategy looks for the smallest size; for the best metric at a size take path or exhaustive"
        )
    return objective.max_layers


STRATEGIES: Mapping[str, NamedStrategy] = MappingProxyType(
    {
        "path": NamedStrategy("the fewest evaluations, the least predicted loss first", _path),
        "prefix": NamedStrategy(
            "for comparison, halves one fixed order", lambda space, aim, _: PrefixStrategy(space, _max_layers(aim))
        ),
        "greedy": NamedStrategy(
            "for comparison, begins at the strongest and takes layers back",
            lambda space, aim, _: GreedyRevertStrategy(space, _max_layers(aim)),
        ),
        "exhaustive": NamedStrategy(
            "for comparison, every state of a small space", lambda space, aim, _: ExhaustiveStrategy(space, aim)
        ),
    }
)
"""The strategies by name; the first is the default."""


def check_strategy(choice: StrategyChoice) -> None:
    """Check that a choice names a strategy, is one, or can be called to make one.

    Raises:
        SearchError: It does not.
    """
    if isinstance(choice, str):
        if choice not in STRATEGIES:
            raise SearchError(f"there is no search strategy {choice!r}; there are {', '.join(STRATEGIES)}")
    elif not _is_strategy(choice) and not callable(choice):
        raise SearchError(
            f"strategy: expected a name ({', '.join(STRATEGIES)}), an object with the methods {', '.join(_METHODS)}, or a class or function "
            f"that makes one, found {type(choice).__name__}"
        )


def make_strategy(
    choice: StrategyChoice, space: SearchSpace, objective: Objective | None = None, original: float = 0.0
) -> Strategy:
    """Returns the strategy of a choice.

    Args:
        choice: Its name; or a strategy, which is returned as it is; or what makes one.
        space: What to choose from.
        objective: What the search is for; None is the smallest size.
        original: Metric of the original model.

    Raises:
        SearchError: There is none of this name, what was made is no strategy, or it refuses the space or the objective.
    """
    check_strategy(choice)
    if _is_strategy(choice):
        return choice  # type: ignore[return-value]
    make: StrategyFactory = STRATEGIES[choice].make if isinstance(choice, str) else choice  # type: ignore[assignment]
    found = make(space, SmallestBytes() if objective is None else objective, original)
    if not _is_strategy(found):
        raise SearchError(
            f"strategy: what was given made a {type(found).__name__}, expected an object with the methods {', '.join(_METHODS)}"
        )
    return found


def strategy_name(choice: StrategyChoice) -> str:
    """Returns what a choice is called: its name in `STRATEGIES`, or that of its class or function."""
    if isinstance(choice, str):
        return choice
    return str(getattr(choice, "__name__", type(choice).__name__))


def _is_strategy(choice: object) -> bool:
    return not isinstance(choice, type) and all(callable(getattr(choice, name, None)) for name in _METHODS)
