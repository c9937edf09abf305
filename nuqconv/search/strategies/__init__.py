"""Which plan to try next: one module for each strategy."""

from __future__ import annotations

from nuqconv.search.strategies.base import Planner, Proposal, Strategy, Verdict, View
from nuqconv.search.strategies.exhaustive import ExhaustiveStrategy
from nuqconv.search.strategies.greedy import GreedyRevertStrategy
from nuqconv.search.strategies.path import PathStrategy
from nuqconv.search.strategies.prefix import PrefixStrategy
from nuqconv.search.strategies.table import (
    STRATEGIES,
    NamedStrategy,
    StrategyChoice,
    StrategyFactory,
    check_strategy,
    make_strategy,
    strategy_name,
)
from nuqconv.search.strategies.target import TargetSizeStrategy

__all__ = [
    "STRATEGIES",
    "ExhaustiveStrategy",
    "GreedyRevertStrategy",
    "NamedStrategy",
    "PathStrategy",
    "Planner",
    "PrefixStrategy",
    "Proposal",
    "Strategy",
    "StrategyChoice",
    "StrategyFactory",
    "TargetSizeStrategy",
    "Verdict",
    "View",
    "check_strategy",
    "make_strategy",
    "strategy_name",
]
