"""What a search is made of: evaluations, how far it is, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nuqconv.quantize.plan import Plan

__all__ = ["Measured", "Progress", "SearchOutcome", "StopReason", "Trial"]

StopReason = Literal["complete", "max_evaluations", "timeout"]
"""Why a search ended: the strategy had nothing left to try, or the budget was used."""


@dataclass(frozen=True)
class Measured:
    """What one evaluation gave.

    Attributes:
        metric: What the evaluator returned.
        seconds: Time that the evaluation took.
        worker: Which process it ran in, as ``host:pid``; empty where it was not said.
    """

    metric: float
    seconds: float
    worker: str = ""


@dataclass(frozen=True)
class Trial:
    """One evaluation.

    Attributes:
        number: From 1, in the order of evaluation.
        plan: What was evaluated.
        metric: What the evaluator returned.
        accepted: Whether it satisfies the evaluator.
        bytes: Size of all layers of the plan.
        seconds: Time that the evaluation took.
        step: What was tried, in words.
        float_layers: Layers that the plan leaves in float.
    """

    number: int
    plan: Plan
    metric: float
    accepted: bool
    bytes: float
    seconds: float
    step: str
    float_layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        done: Evaluations done.
        expected: About how many there will be in all, at most `max_evaluations`; it may go up or down, and is never below `done`.
        seconds: Time since the search began.
        best: Smallest accepted trial so far, or None.
    """

    done: int
    expected: int
    seconds: float
    best: Trial | None


@dataclass(frozen=True)
class SearchOutcome:
    """The result of a search.

    Attributes:
        best: The smallest trial that the evaluator accepted.
        trials: All evaluations in order.
        original: Metric of the original model.
        stopped_by: Why the search ended.
        seconds: How long it took.
        float_bytes: Size of all layers in float.
    """

    best: Trial
    trials: tuple[Trial, ...]
    original: float
    stopped_by: StopReason
    seconds: float
    float_bytes: float

    @property
    def plan(self) -> Plan:
        """The plan that was found; the evaluator accepted exactly this one."""
        return self.best.plan

    @property
    def metric(self) -> float:
        """The metric of that plan."""
        return self.best.metric

    @property
    def evaluations(self) -> int:
        """How many plans were evaluated; the original model is not counted."""
        return len(self.trials)

    @property
    def reverted(self) -> tuple[str, ...]:
        """Layers that could be quantized and stay in float because the evaluator was not satisfied otherwise."""
        return self.best.float_layers
