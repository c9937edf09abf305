"""Evaluations that have begun: they finish in any order and are handed on in the order in which they were proposed."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

from nuqconv.errors import ChildProcessFailedError, EvaluatorError, LostEvaluationError, NuqconvError, SearchError
from nuqconv.quantize.plan import Plan
from nuqconv.search.space import SearchSpace
from nuqconv.search.strategies import Proposal, Verdict
from nuqconv.search.trial import Measured, Trial, TrialJournal

__all__ = ["Outstanding", "Settled", "Submit", "in_this_thread"]

_LOG = logging.getLogger(__name__)

Submit = Callable[[Plan], "Future[Measured]"]
"""Begins the evaluation of a plan."""


_LOST = Verdict(math.inf, accepted=False)


@dataclass(frozen=True)
class Settled:
    """A proposal whose verdict is there.

    Attributes:
        proposal: The proposal.
        trial: The evaluation of its plan, or None if it was lost.
        new: Whether this is the first proposal of the plan, so that the trial is a new one.
    """

    proposal: Proposal
    trial: Trial | None
    new: bool

    @property
    def verdict(self) -> Verdict:
        """What the evaluator said; what is lost is refused, and infinitely far from the original."""
        return _LOST if self.trial is None else Verdict(self.trial.metric, self.trial.accepted)


@dataclass(eq=False)
class _Run:
    """One evaluation: its trial when it has finished, or why there is none."""

    number: int
    plan: Plan
    proposal: Proposal
    trial: Trial | None = None
    error: BaseException | None = None


def in_this_thread(evaluate: Callable[[Plan], float], clock: Callable[[], float]) -> Submit:
    """Returns a `Submit` that evaluates at once, in the thread that calls it.

    What `evaluate` raises passes through it, but for an `EvaluatorError`, which comes out of the future like that of a worker.

    Args:
        evaluate: Returns the metric of a plan.
        clock: Returns the time in seconds.
    """

    def submit(plan: Plan) -> Future[Measured]:
        future: Future[Measured] = Future()
        begin = clock()
        try:
            metric = evaluate(plan)
        except EvaluatorError as error:
            future.set_exception(error)
        else:
            future.set_result(Measured(metric, clock() - begin))
        return future

    return submit


class Outstanding(AbstractContextManager["Outstanding"]):
    """The proposals whose verdicts the strategy has not been told yet.

    When the ``with`` is left by an exception, what has finished is still recorded and the rest cancelled.

    Args:
        space: What the proposals choose from.
        submit: Begins an evaluation.
        satisfied: Returns whether a metric is good enough.
        journal: Knows earlier evaluations, and records those that finish as soon as they are seen to have finished.
        on_lost: Called with words on an evaluation that was lost, which then counts as refused; None makes it an error.
    """

    def __init__(
        self,
        space: SearchSpace,
        submit: Submit,
        satisfied: Callable[[float], bool],
        journal: TrialJournal | None,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        self._space = space
        self._submit = submit
        self._satisfied = satisfied
        self._journal = journal
        self._on_lost = on_lost
        self._runs: dict[Plan, _Run] = {}
        self._queue: deque[tuple[Proposal, _Run, bool]] = deque()
        self._running: dict[Future[Measured], _Run] = {}
        # Not concurrent.futures.wait: that does not see a future that was cancelled before it ran.
        self._news = threading.Event()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def begun(self) -> int:
        """How many evaluations were begun, those included that the journal knew."""
        return len(self._runs)

    def cost(self, proposal: Proposal) -> tuple[bool, bool]:
        """Returns whether trying a proposal makes a new trial, and whether that needs the evaluator.

        Raises:
            SearchError: It is no state of the space.
        """
        problem = self._space.problem(proposal.levels)
        if problem:
            raise SearchError(f"the search strategy proposed {proposal.step!r}: {problem}")
        plan = self._space.plan(proposal.levels)
        new = plan not in self._runs
        return new, new and (self._journal is None or self._journal.known(plan) is None)

    def add(self, proposal: Proposal) -> None:
        """Begin the evaluation of a proposal's plan unless it has been begun before, and queue the proposal."""
        plan = self._space.plan(proposal.levels)
        run = self._runs.get(plan)
        new = run is None
        if run is None:
            future = self._begin(plan)
            run = self._runs[plan] = _Run(self.begun + 1, plan, proposal)
            # Not a part of the run, which is kept to the end of the search: a future holds all that its worker was given.
            self._running[future] = run
            future.add_done_callback(lambda _: self._news.set())
        self._queue.append((proposal, run, new))

    def next(self) -> Settled:
        """Wait for the first proposal in the queue and take it out.

        Raises:
            EvaluatorError: Its evaluation failed; the message names the trial.
        """
        proposal, run, new = self._queue.popleft()
        self._settle_finished()
        while run.trial is None and run.error is None:
            self._news.wait()
            self._settle_finished()
        if run.trial is None:
            error = _named(run)
            if self._on_lost is None or not _is_lost(run.error):
                raise error
            if new:
                self._on_lost(str(error))
        return Settled(proposal, run.trial, new)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        try:
            self._settle_finished()
        except NuqconvError as second:
            _LOG.warning("an evaluation that has finished could not be recorded: %s", second)
        for future in self._running:
            future.cancel()

    def _begin(self, plan: Plan) -> Future[Measured]:
        known = None if self._journal is None else self._journal.known(plan)
        if known is None:
            return self._submit(plan)
        future: Future[Measured] = Future()
        future.set_result(known)
        return future

    def _settle_finished(self) -> None:
        self._news.clear()
        finished = [future for future in self._running if future.done()]
        for future in finished:
            self._settle(self._running.pop(future), future)

    def _settle(self, run: _Run, future: Future[Measured]) -> None:
        """Judge and record an evaluation that has finished; a failure waits until it is the proposal's turn."""
        if future.cancelled():
            run.error = EvaluatorError("its evaluation was cancelled")
            return
        run.error = future.exception()
        if run.error is not None:
            return
        measured = future.result()
        if not math.isfinite(measured.metric):
            run.error = EvaluatorError(f"the metric is {measured.metric!r}; it must be a finite number")
            return
        try:
            accepted = self._satisfied(measured.metric)
        except Exception as error:  # noqa: BLE001  (raised when it is the proposal's turn)
            run.error = error
            return
        trial = Trial(
            number=run.number,
            plan=run.plan,
            metric=measured.metric,
            accepted=accepted,
            bytes=self._space.size(run.proposal.levels),
            seconds=measured.seconds,
            step=run.proposal.step,
            float_layers=self._space.floats(run.proposal.levels),
            worker=measured.worker,
        )
        if self._journal is not None:
            self._journal.record(
                run.plan, measured, trial.number, trial.step, trial.bytes, trial.accepted, trial.float_layers
            )
        run.trial = trial


def _is_lost(error: BaseException | None) -> bool:
    """Whether nobody can say how good the plan is, because its evaluation ended or blocked its process."""
    cause = None if error is None else error.__cause__
    return isinstance(error, LostEvaluationError) or (isinstance(cause, ChildProcessFailedError) and cause.ended)


def _named(run: _Run) -> BaseException:
    """Returns the error of an evaluation, with the trial's name if it is the evaluator's."""
    error = run.error
    where = f"trial {run.number} ({run.proposal.step})"
    if isinstance(error, EvaluatorError):
        named = EvaluatorError(f"{where}: {error}")
    elif isinstance(error, NuqconvError) or not isinstance(error, Exception):
        return error if error is not None else EvaluatorError(f"{where}: no result")
    else:
        named = EvaluatorError(f"{where}: its evaluation raised {type(error).__name__}: {error}")
    named.__cause__ = error
    return named
