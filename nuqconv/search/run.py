"""The search itself: asks a strategy for plans, has them evaluated, keeps the record and stops in time.

Evaluations may run side by side and finish in any order; the strategy hears of them in the order in which it proposed them, so that what
a search tries does not depend on which worker is faster.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from nuqconv.errors import EvaluatorError, SearchError
from nuqconv.quantize.plan import Plan
from nuqconv.search.objective import Objective, SmallestBytes, pareto_front
from nuqconv.search.pending import Outstanding, Submit, in_this_thread
from nuqconv.search.space import SearchSpace
from nuqconv.search.strategies import PathStrategy, Strategy
from nuqconv.search.trial import Progress, SearchOutcome, StopReason, Trial, TrialJournal

__all__ = [
    "DEFAULT_MAX_EVALUATIONS",
    "Progress",
    "SearchOutcome",
    "StopReason",
    "Submit",
    "Trial",
    "check_budget",
    "run_search",
]

_LOG = logging.getLogger(__name__)

DEFAULT_MAX_EVALUATIONS = 32
"""Evaluations that a search may use unless told otherwise: enough for the binary search over hundreds of layers and some repair."""


def run_search(
    space: SearchSpace,
    *,
    satisfied: Callable[[float], bool],
    original: float,
    evaluate: Callable[[Plan], float] | None = None,
    submit: Submit | None = None,
    parallel: int = 1,
    objective: Objective | None = None,
    journal: TrialJournal | None = None,
    strategy: Strategy | None = None,
    max_evaluations: int | None = DEFAULT_MAX_EVALUATIONS,
    timeout: float | None = None,
    patience: int | None = None,
    on_trial: Callable[[Trial, Progress], object] | None = None,
    on_lost: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SearchOutcome:
    """Find the best plan that the evaluator accepts.

    No plan is evaluated twice, not even while its first evaluation runs or when only the journal knows it. For the same verdicts the trials
    are the same, whatever the order in which evaluations finish; another `parallel` may lead to other trials.

    Args:
        space: What to choose from.
        satisfied: Returns whether a metric is good enough. It is asked about every trial, those of the journal too.
        original: Metric of the original model.
        evaluate: Returns the metric of a plan; called in this thread, one plan at a time. Either this or `submit` is given.
        submit: Begins the evaluation of a plan and returns its future.
        parallel: How many proposals may be outstanding at the same time, at least 1; more than 1 needs `submit`.
        objective: Which of the trials is the best; None is the smallest accepted plan. The strategy should be made for the same.
        journal: Knows earlier evaluations and records those that finish, each at once. A known plan counts as an evaluation.
        strategy: Chooses the plans; None is a new `PathStrategy`.
        max_evaluations: Most evaluations to begin, at least 1; None is any number.
        timeout: Seconds after which no further evaluation is begun; those that run are finished. None is any time.
        patience: Evaluations without a better result, counted from the first result on, after which no further one is begun; those that run
            are finished. None is any number.
        on_trial: Called after each evaluation, in the order in which they were proposed. When it returns True no further one is begun.
        on_lost: Called with words on an evaluation that ended or blocked its process at every try. It then counts as refused, is no trial, and is not
            recorded; None makes it an error.
        clock: Returns the time in seconds.

    Raises:
        SearchError: No trial can be the result; its `best` is the `Trial` whose metric is nearest to the original's. Or an argument is wrong.
        EvaluatorError: The original metric itself does not satisfy, a metric is not finite, or an evaluation failed: the message names the
            trial. Evaluations that have finished are in the journal, those that have not are cancelled; so it is with `KeyboardInterrupt`.
    """
    check_budget(max_evaluations, timeout, patience)
    begin = _submit_of(evaluate, submit, parallel, clock)
    if not satisfied(original):
        raise EvaluatorError(
            f"broken evaluator: the original model's own metric {original!r} does not satisfy it; "
            "it must accept a metric that equals the original one"
        )
    chooser = PathStrategy(space) if strategy is None else strategy
    limits = _Limits(parallel, max_evaluations, timeout, patience)
    record = _Record(SmallestBytes() if objective is None else objective, original, clock)
    with Outstanding(space, begin, satisfied, journal, on_lost) as outstanding:
        stopped_by = _follow(chooser, outstanding, record, limits, on_trial)
    if record.best is None:
        raise _nothing_found(record.trials, original, stopped_by)
    outcome = SearchOutcome(
        best=record.best,
        trials=tuple(record.trials),
        original=original,
        stopped_by=stopped_by,
        seconds=record.elapsed(),
        float_bytes=space.float_bytes,
        pareto=pareto_front(record.trials, original),
    )
    _log_outcome(outcome)
    return outcome


@dataclass(frozen=True)
class _Limits:
    """The budget of a search; see `run_search`."""

    parallel: int
    evaluations: int | None
    seconds: float | None
    patience: int | None

    def left(self, begun: int) -> int | None:
        """Returns how many evaluations may still be begun; None is any number."""
        return None if self.evaluations is None else self.evaluations - begun


class _Record:
    """The trials whose verdicts the strategy has, and the best of them."""

    def __init__(self, objective: Objective, original: float, clock: Callable[[], float]) -> None:
        self._objective = objective
        self._original = original
        self._clock = clock
        self._start = clock()
        self._rank: tuple[float, ...] = ()
        self._best_at = 0
        self.trials: list[Trial] = []
        self.best: Trial | None = None

    def elapsed(self) -> float:
        """Returns the seconds since the search began."""
        return self._clock() - self._start

    def add(self, trial: Trial) -> None:
        """Enter the next trial."""
        self.trials.append(trial)
        rank = self._objective.rank(trial, self._original)
        if rank is not None and (self.best is None or rank < self._rank):
            self.best, self._rank, self._best_at = trial, rank, len(self.trials)
        _LOG.info(
            "trial %d: %s: metric %.6g %s, %.0f bytes, %.2f s%s",
            trial.number,
            trial.step,
            trial.metric,
            "accepted" if trial.accepted else "rejected",
            trial.bytes,
            trial.seconds,
            f", {trial.worker}" if trial.worker else "",
        )

    def is_stuck(self, patience: int | None) -> bool:
        """Returns whether the best trial is `patience` trials ago; never before there is one."""
        return patience is not None and self.best is not None and len(self.trials) - self._best_at >= patience

    def progress(self, remaining: int, limit: int | None) -> Progress:
        """Returns how far the search is."""
        done = len(self.trials)
        expected = done + remaining if limit is None else min(done + remaining, limit)
        return Progress(done, expected, self.elapsed(), self.best)


def _follow(
    strategy: Strategy,
    outstanding: Outstanding,
    record: _Record,
    limits: _Limits,
    on_trial: Callable[[Trial, Progress], object] | None,
) -> StopReason:
    """Try what the strategy proposes until it ends or the budget is used; return which."""
    stop: StopReason | None = None
    while True:
        if stop is None:
            stop = _propose(strategy, outstanding, record, limits)
        if not len(outstanding):
            return stop or "complete"
        settled = outstanding.next()
        strategy.tell(settled.proposal, settled.verdict)
        if settled.trial is None or not settled.new:
            continue
        record.add(settled.trial)
        if on_trial is not None:
            remaining = max(strategy.remaining(), len(outstanding))
            if on_trial(settled.trial, record.progress(remaining, limits.evaluations)) is True:
                stop = stop or "callback"
        if stop is None and record.is_stuck(limits.patience):
            stop = "no_improvement"


def _propose(strategy: Strategy, outstanding: Outstanding, record: _Record, limits: _Limits) -> StopReason | None:
    """Begin as many proposals as may be outstanding; return why no further one may be begun, or None."""
    while (room := limits.parallel - len(outstanding)) > 0:
        left = limits.left(outstanding.begun)
        if left is not None and left <= 0:
            # Only when all verdicts are in can it be seen whether the strategy wants more than there is.
            if len(outstanding):
                return None
            left = 1
        proposals = strategy.propose(room if left is None else min(room, left))
        if not proposals:
            return None
        for proposal in proposals:
            new, evaluates = outstanding.cost(proposal)
            if new and limits.evaluations is not None and outstanding.begun >= limits.evaluations:
                return "max_evaluations"
            if evaluates and limits.seconds is not None and record.elapsed() >= limits.seconds:
                return "timeout"
            outstanding.add(proposal)
    return None


def check_budget(max_evaluations: int | None, timeout: float | None, patience: int | None = None) -> None:
    """Check the limits of a search.

    Raises:
        SearchError: A limit is not positive; all faults are listed.
    """
    problems = [
        f"{name}: expected a positive integer or None, found {value!r}"
        for name, value in (("max_evaluations", max_evaluations), ("patience", patience))
        if value is not None and (type(value) is not int or value < 1)
    ]
    if timeout is not None and not timeout > 0:
        problems.append(f"timeout: expected a positive number of seconds or None, found {timeout!r}")
    if problems:
        raise SearchError("the budget of the search is wrong", problems)


def _submit_of(
    evaluate: Callable[[Plan], float] | None, submit: Submit | None, parallel: int, clock: Callable[[], float]
) -> Submit:
    """Returns how evaluations are begun.

    Raises:
        SearchError: Not exactly one of `evaluate` and `submit` is given, or `parallel` does not go with it.
    """
    if type(parallel) is not int or parallel < 1:
        raise SearchError(f"parallel: expected a positive integer, found {parallel!r}")
    if submit is not None and evaluate is None:
        return submit
    if evaluate is None or submit is not None:
        raise SearchError("give run_search either evaluate or submit")
    if parallel > 1:
        raise SearchError(f"parallel is {parallel}, but evaluate runs one plan at a time; give submit instead")
    return in_this_thread(evaluate, clock)


def _nothing_found(trials: list[Trial], original: float, stopped_by: StopReason) -> SearchError:
    budget = {
        "max_evaluations": "; the search was ended by max_evaluations, raise it",
        "timeout": "; the search was ended by timeout, raise it",
        "callback": "; the search was ended by on_trial",
    }.get(stopped_by, "")
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
    _LOG.info(
        "search ended (%s) after %d evaluations: trial %d, metric %.6g, %.0f bytes, %.2f%% of float",
        outcome.stopped_by,
        outcome.evaluations,
        best.number,
        best.metric,
        best.bytes,
        100 * best.bytes / outcome.float_bytes if outcome.float_bytes else 100.0,
    )
    if outcome.reverted:
        _LOG.warning("these layers stay in float: %s", ", ".join(outcome.reverted))
