"""The search itself: asks a strategy for plans, has them evaluated, keeps the record and stops in time."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from nuqconv.errors import EvaluatorError, SearchError
from nuqconv.quantize.plan import Plan
from nuqconv.search.space import SearchSpace
from nuqconv.search.strategy import PathStrategy, Proposal, Strategy, Verdict
from nuqconv.search.trial import Progress, SearchOutcome, StopReason, Trial

__all__ = [
    "DEFAULT_MAX_EVALUATIONS",
    "Progress",
    "SearchOutcome",
    "StopReason",
    "Trial",
    "check_budget",
    "run_search",
]

_logger = logging.getLogger("nuqconv.search")

DEFAULT_MAX_EVALUATIONS = 32
"""Evaluations that a search may use unless told otherwise: enough for the binary search over hundreds of layers and some repair."""


def run_search(
    space: SearchSpace,
    *,
    evaluate: Callable[[Plan], float],
    satisfied: Callable[[float], bool],
    original: float,
    max_evaluations: int | None = DEFAULT_MAX_EVALUATIONS,
    timeout: float | None = None,
    on_trial: Callable[[Trial, Progress], None] | None = None,
    strategy: Strategy | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SearchOutcome:
    """Find the smallest plan that the evaluator accepts.

    No plan is evaluated twice. Whatever `evaluate` and `satisfied` raise passes through.

    Args:
        space: What to choose from.
        evaluate: Returns the metric of a plan.
        satisfied: Returns whether a metric is good enough.
        original: Metric of the original model.
        max_evaluations: Most evaluations, at least 1; None is any number.
        timeout: Seconds after which no further evaluation is begun; the one that runs is finished. None is any time.
        on_trial: Called after each evaluation.
        strategy: Chooses the plans; None is a new `PathStrategy`.
        clock: Returns the time in seconds.

    Raises:
        SearchError: No plan with at least one quantized layer satisfies; its `best` is the `Trial` whose metric is nearest to the
            original's. Or the budget is no budget.
        EvaluatorError: The original metric itself does not satisfy, or a metric is not finite.
    """
    check_budget(max_evaluations, timeout)
    if not satisfied(original):
        raise EvaluatorError(
            f"broken evaluator: the original model's own metric {original!r} does not satisfy it; "
            "it must accept a metric that equals the original one"
        )
    search = _Search(space, evaluate, satisfied, clock)
    chooser = PathStrategy(space) if strategy is None else strategy
    stopped_by = search.follow(chooser, max_evaluations, timeout, on_trial)
    if search.best is None:
        raise _nothing_found(search.trials, original, stopped_by)
    outcome = SearchOutcome(
        search.best, tuple(search.trials), original, stopped_by, search.elapsed(), space.float_bytes
    )
    _log_outcome(outcome)
    return outcome


class _Search:
    """The record of one search."""

    def __init__(
        self,
        space: SearchSpace,
        evaluate: Callable[[Plan], float],
        satisfied: Callable[[float], bool],
        clock: Callable[[], float],
    ) -> None:
        self._space = space
        self._evaluate = evaluate
        self._satisfied = satisfied
        self._clock = clock
        self._start = clock()
        self.trials: list[Trial] = []
        self.verdicts: dict[Plan, Verdict] = {}
        self.best: Trial | None = None

    def elapsed(self) -> float:
        """Return the seconds since the search began."""
        return self._clock() - self._start

    def follow(
        self,
        strategy: Strategy,
        max_evaluations: int | None,
        timeout: float | None,
        on_trial: Callable[[Trial, Progress], None] | None,
    ) -> StopReason:
        """Try what the strategy proposes until it ends or the budget is used; return which."""
        while proposals := strategy.propose(1):
            for proposal in proposals:
                plan = self._space.plan(proposal.levels)
                known = self.verdicts.get(plan)
                if known is not None:
                    strategy.tell(proposal, known)
                    continue
                if max_evaluations is not None and len(self.trials) >= max_evaluations:
                    return "max_evaluations"
                if timeout is not None and self.elapsed() >= timeout:
                    return "timeout"
                strategy.tell(proposal, self.run(plan, proposal))
                if on_trial is not None:
                    on_trial(self.trials[-1], self.progress(strategy.remaining(), max_evaluations))
        return "complete"

    def run(self, plan: Plan, proposal: Proposal) -> Verdict:
        """Evaluate a plan and record it."""
        begin = self._clock()
        metric = self._evaluate(plan)
        if not math.isfinite(metric):
            raise EvaluatorError(f"the metric of the plan {proposal.step!r} is {metric!r}; it must be a finite number")
        verdict = Verdict(metric, self._satisfied(metric))
        trial = Trial(
            number=len(self.trials) + 1,
            plan=plan,
            metric=metric,
            accepted=verdict.accepted,
            bytes=self._space.size(proposal.levels),
            seconds=self._clock() - begin,
            step=proposal.step,
            float_layers=self._space.floats(proposal.levels),
        )
        self.trials.append(trial)
        self.verdicts[plan] = verdict
        if trial.accepted and len(trial.float_layers) < len(self._space) and _is_better(trial, self.best):
            self.best = trial
        _logger.info(
            "trial %d: %s: metric %.6g %s, %.0f bytes, %.2f s",
            trial.number,
            trial.step,
            trial.metric,
            "accepted" if trial.accepted else "rejected",
            trial.bytes,
            trial.seconds,
        )
        return verdict

    def progress(self, remaining: int, limit: int | None) -> Progress:
        """Return how far the search is."""
        done = len(self.trials)
        expected = done + remaining if limit is None else min(done + remaining, limit)
        return Progress(done, expected, self.elapsed(), self.best)


def _is_better(trial: Trial, best: Trial | None) -> bool:
    if best is None:
        return True
    return (trial.bytes, len(trial.float_layers)) < (best.bytes, len(best.float_layers))


def check_budget(max_evaluations: int | None, timeout: float | None) -> None:
    """Check the limits of a search.

    Raises:
        SearchError: A limit is not positive; all faults are listed.
    """
    problems = []
    if max_evaluations is not None and (type(max_evaluations) is not int or max_evaluations < 1):
        problems.append(f"max_evaluations: expected a positive integer or None, found {max_evaluations!r}")
    if timeout is not None and not timeout > 0:
        problems.append(f"timeout: expected a positive number of seconds or None, found {timeout!r}")
    if problems:
        raise SearchError("the budget of the search is wrong", problems)


def _nothing_found(trials: list[Trial], original: float, stopped_by: StopReason) -> SearchError:
    budget = {
        "complete": "",
        "max_evaluations": "; the search was ended by max_evaluations, raise it",
        "timeout": "; the search was ended by timeout, raise it",
    }[stopped_by]
    nearest = min(trials, key=lambda trial: abs(trial.metric - original), default=None)
    if nearest is None:
        found = "not one evaluation was finished"
    else:
        found = f"nearest was trial {nearest.number} ({nearest.step}), metric {nearest.metric:.6g}"
    return SearchError(
        f"no plan with a quantized layer satisfies the evaluator: {len(trials)} evaluations, original metric {original:.6g}, "
        f"{found}{budget}. Loosen is_satisfied, or calibrate on more batches (batch_num)",
        best=nearest,
    )


def _log_outcome(outcome: SearchOutcome) -> None:
    best = outcome.best
    _logger.info(
        "search ended (%s) after %d evaluations: trial %d, metric %.6g, %.0f bytes, %.2f%% of float",
        outcome.stopped_by,
        outcome.evaluations,
        best.number,
        best.metric,
        best.bytes,
        100 * best.bytes / outcome.float_bytes if outcome.float_bytes else 100.0,
    )
    if outcome.reverted:
        _logger.warning("these layers stay in float, int8 fails with them: %s", ", ".join(outcome.reverted))
