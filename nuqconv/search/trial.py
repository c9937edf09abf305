"""What a search is made of: evaluations, how far it is, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from nuqconv.quantize.plan import Plan

__all__ = ["Measured", "Progress", "SearchOutcome", "StopReason", "Trial", "TrialJournal"]

StopReason = Literal["complete", "max_evaluations", "timeout", "no_improvement", "callback"]
"""Why a search ended: the strategy had nothing left to try, the budget was used, `patience` evaluations brought nothing better, or a
callback said so."""


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
        number: From 1, in the order in which the strategy proposed.
        plan: What was evaluated.
        metric: What the evaluator returned.
        accepted: Whether it satisfies the evaluator.
        bytes: Size of all parameters of the model in the plan.
        seconds: Time that the evaluation took.
        step: What was tried, in words.
        float_layers: Layers that the plan leaves in float.
        worker: Which process evaluated it, as ``host:pid``; empty where it was not said.
    """

    number: int
    plan: Plan
    metric: float
    accepted: bool
    bytes: float
    seconds: float
    step: str
    float_layers: tuple[str, ...] = ()
    worker: str = ""

    def __repr__(self) -> str:
        verdict = "accepted" if self.accepted else "rejected"
        return f"<Trial {self.number}, {self.step}: metric {self.metric:.6g} {verdict}, {self.bytes:,.0f} bytes>"


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        done: Evaluations done whose verdict the strategy has.
        expected: About how many there will be in all, at most `max_evaluations`; it may go up or down, and is never below `done`.
        seconds: Time since the search began.
        best: Best trial so far by the objective, or None.
    """

    done: int
    expected: int
    seconds: float
    best: Trial | None


@dataclass(frozen=True)
class SearchOutcome:
    """The result of a search.

    Attributes:
        best: The best trial by the objective; unless told otherwise, the smallest one that the evaluator accepted.
        trials: All evaluations in the order in which they were proposed.
        original: Metric of the original model.
        stopped_by: Why the search ended.
        seconds: How long it took.
        float_bytes: Size of all parameters in float.
        pareto: The trials, by size, for which there is no other that is no larger and has a metric no farther from the original's, and
            is better in one of both. Of equal ones the first; whether they are accepted does not matter.
    """

    best: Trial
    trials: tuple[Trial, ...]
    original: float
    stopped_by: StopReason
    seconds: float
    float_bytes: float
    pareto: tuple[Trial, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<SearchOutcome metric {self.metric:.6g} of {self.original:.6g}, {self.best.bytes:,.0f} of {self.float_bytes:,.0f} bytes, "
            f"{self.evaluations} trials ({self.stopped_by})>"
        )

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


class TrialJournal(Protocol):
    """Keeps finished evaluations, so that a search that was interrupted does not repeat them."""

    def known(self, plan: Plan) -> Measured | None:
        """Returns what the evaluation of a plan gave, or None if it is not recorded."""

    def record(
        self,
        plan: Plan,
        measured: Measured,
        number: int,
        step: str,
        bytes: float,  # noqa: A002  (the name that trials give it)
        accepted: bool,
        float_layers: Sequence[str] = (),
    ) -> None:
        """Keep a finished evaluation, or enter a known one under the number, step and verdict that it has now."""
