"""The pool: makes of workers, an evaluator and a writer of model files what `run_search` evaluates plans with."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from nuqconv.errors import ConfigError, EvaluatorError, LostEvaluationError
from nuqconv.parallel.local import LocalWorkers
from nuqconv.parallel.on_dask import DaskWorkers, is_dask
from nuqconv.parallel.task import Answer, FilesHere, Kind
from nuqconv.parallel.workers import Attempt, GivenExecutor, Job, Workers
from nuqconv.quantize.plan import Plan
from nuqconv.runtimes.child.system import limit_problem
from nuqconv.search.evaluator import CheckedEvaluator
from nuqconv.search.trial import Measured

__all__ = ["PlanPool"]

_LOG = logging.getLogger(__name__)

_LOST = (
    "The evaluator, or the runtime that it calls, ends or blocks its process with this model: call eval_model on it by hand to see why, "
    "give the workers more memory or fewer of them, or raise trial_timeout"
)


class _DroppedError(Exception):
    """Nobody waits for the evaluation any more."""


class WorkerTraceback(Exception):  # noqa: N818  (the text of a traceback, the cause of another error)
    """The traceback in the worker of an error that is raised here."""


class PlanPool(AbstractContextManager["PlanPool"]):
    """Evaluates plans in several workers at once; its `submit` and `parallel` are for `run_search`.

    Each plan's model files are written here, in the thread that submits it. A worker that dies or, with `trial_timeout`, hangs costs a try: the
    trial is done again in another one. What the evaluator itself raises is not tried again.

    Args:
        evaluator: The user's evaluator, or a `CheckedEvaluator` of it. It is pickled now, unless the workers are threads: those share it, and
            its `eval_model` must bear that.
        write: Writes a plan's fake_quant model into the folder given and returns the paths of .prototxt and .caffemodel.
        batch_num: Number of batches for `eval_model`.
        workers: How many processes of its own to start on this machine. Either this or `executor` is given.
        executor: Where to run instead: a `concurrent.futures.Executor`, which stays the caller's, or a function without arguments that makes
            one, which is called again when it breaks.
        parallel: How many plans are to be evaluated at once; None is the number of workers, or 1 where the executor does not tell it.
        trial_timeout: Seconds without an answer after which a trial is done again: a process of our own is killed then, a task of an executor
            goes on and the first answer counts. Time in an executor's queue counts. None is any time.
        retries: How often a trial whose worker was lost is done again.
        folder: Where to make the temporary folder for model files; None is the system's place.
        memory_limit: Bytes of memory that a process of its own may have; None for any number.

    Raises:
        ConfigError: An argument is wrong.
        EvaluatorError: The evaluator is none, or cannot be pickled.
    """

    def __init__(
        self,
        evaluator: object,
        write: Callable[[Plan, Path], tuple[Path, Path]],
        batch_num: int,
        *,
        workers: int | None = None,
        executor: Executor | Callable[[], Executor] | None = None,
        parallel: int | None = None,
        trial_timeout: float | None = None,
        retries: int = 2,
        folder: Path | None = None,
        memory_limit: int | None = None,
    ) -> None:
        _check(workers, executor, parallel, trial_timeout, retries, memory_limit)
        checked = evaluator if isinstance(evaluator, CheckedEvaluator) else CheckedEvaluator(evaluator)
        self._write = write
        self._batch_num = batch_num
        self._trial_timeout = trial_timeout
        self._retries = retries
        self._number = 0
        self._running: dict[Future[Measured], threading.Thread] = {}
        self._closed = False
        self._folder = Path(tempfile.mkdtemp(prefix="nuqconv-trials-", dir=folder))
        try:
            self._workers: Workers
            if isinstance(executor, Executor) and is_dask(executor):
                self._workers = DaskWorkers(executor, checked)
            elif executor is not None:
                self._workers = GivenExecutor(executor, checked)
            else:
                self._workers = LocalWorkers(workers or 1, checked, self._folder, memory_limit)
            self._parallel = parallel or self._workers.count or 1
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    @property
    def parallel(self) -> int:
        """How many plans are to be evaluated at once."""
        return self._parallel

    def submit(self, plan: Plan) -> Future[Measured]:
        """Write a plan's model and begin its evaluation.

        Returns:
            The future of the metric. Its `cancel` always succeeds before there is a result, and ends what can be ended. It raises
            `EvaluatorError` when the evaluator fails or the trial was done `retries` times again and each time lost its worker.

        Raises:
            ConfigError: The pool is closed.
        """
        if self._closed:
            raise ConfigError("the pool of workers is closed; make a new one")
        self._number += 1
        folder = self._folder / f"plan-{self._number}"
        folder.mkdir()
        model, weights = self._write(plan, folder)
        future: Future[Measured] = Future()
        pursuit = _Pursuit(
            self._workers, Job(FilesHere(str(model), str(weights)), self._batch_num), self._trial_timeout, self._retries
        )
        future.add_done_callback(lambda done: pursuit.drop() if done.cancelled() else None)
        thread = threading.Thread(
            target=self._pursue, args=(pursuit, folder, future), name=f"nuqconv-plan-{self._number}", daemon=True
        )
        self._running[future] = thread
        thread.start()
        return future

    def close(self) -> None:
        """Cancel what runs, end the workers that are ours and remove the model files."""
        self._closed = True
        running = list(self._running.items())
        for future, _ in running:
            future.cancel()
        for _, thread in running:
            thread.join()
        self._workers.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pursue(self, pursuit: _Pursuit, folder: Path, future: Future[Measured]) -> None:
        """See a trial through to its result; runs in a thread of its own."""
        measured: Measured | None = None
        failure: BaseException | None = None
        try:
            measured = pursuit.result()
        except BaseException as error:  # noqa: BLE001  (handed on to the thread that waits)
            failure = error
        shutil.rmtree(folder, ignore_errors=True)
        self._running.pop(future, None)
        if future.set_running_or_notify_cancel():
            if measured is None:
                future.set_exception(failure)
            else:
                future.set_result(measured)


class _Pursuit:
    """The tries at one trial."""

    def __init__(self, workers: Workers, job: Job, trial_timeout: float | None, retries: int) -> None:
        self._workers = workers
        self._job = job
        self._trial_timeout = trial_timeout
        self._retries = retries
        self._attempts: list[Attempt] = []
        self._losses: list[str] = []
        self._deadline = 0.0
        self._dropped = False
        # Not concurrent.futures.wait: that does not see a future that was cancelled before it ran.
        self._news = threading.Event()

    def drop(self) -> None:
        """Give up: `result` ends what runs and raises."""
        self._dropped = True
        self._news.set()

    def result(self) -> Measured:
        """Returns what the first try that has an answer gives.

        Raises:
            EvaluatorError: The evaluator failed.
            LostEvaluationError: There was no answer in all tries.
        """
        try:
            self._begin()
            while True:
                self._wait()
                if self._dropped:
                    raise _DroppedError
                finished = next((attempt for attempt in self._attempts if attempt.future.done()), None)
                if finished is not None:
                    self._attempts.remove(finished)
                    measured = self._judge(finished)
                    if measured is not None:
                        return measured
                elif self._trial_timeout is not None and time.monotonic() >= self._deadline:
                    self._time_out()
        finally:
            for attempt in self._attempts:
                attempt.drop()

    def _begin(self, *, whole: bool = False) -> None:
        attempt = self._workers.begin(self._job, whole=whole)
        self._attempts.append(attempt)
        attempt.future.add_done_callback(lambda _: self._news.set())
        if self._trial_timeout is not None:
            self._deadline = time.monotonic() + self._trial_timeout

    def _wait(self) -> None:
        """Wait until a try has ended, the time is over or nobody waits any more."""
        if not any(attempt.future.done() for attempt in self._attempts):
            self._news.wait(None if self._trial_timeout is None else max(0.0, self._deadline - time.monotonic()))
        self._news.clear()

    def _time_out(self) -> None:
        if self._attempts and self._attempts[-1].time_out():
            self._attempts.pop()
        self._lose(f"no answer within {self._trial_timeout:g} s")

    def _judge(self, attempt: Attempt) -> Measured | None:
        """Returns the result of a try that has ended, or None after what is to be done next was begun."""
        if attempt.future.cancelled():
            self._lose("the executor cancelled it")
            return None
        error = attempt.future.exception()
        if error is not None:
            self._lose(attempt.cause(error))
            return None
        return self._read(attempt.future.result())

    def _read(self, answer: Answer) -> Measured | None:
        if answer.kind is Kind.EVALUATOR_FAILED:
            raise EvaluatorError(f"in worker {answer.worker}: {answer.message}") from WorkerTraceback(answer.trace)
        if answer.kind is Kind.WORKER_FAILED:
            self._lose(f"worker {answer.worker}: {answer.message}")
        elif answer.kind is Kind.NO_EVALUATOR:
            self._begin(whole=True)
        return answer.measured

    def _lose(self, cause: str) -> None:
        """Begin another try, unless there were enough."""
        self._losses.append(cause)
        if len(self._losses) > self._retries:
            tries = len(self._losses)
            raise LostEvaluationError(
                f"no worker finished the evaluation in {tries} {'try' if tries == 1 else 'tries'}. {_LOST}",
                self._losses,
            )
        _LOG.warning("an evaluation is done again: %s", cause)
        self._begin()


def _check(
    workers: int | None,
    executor: object,
    parallel: int | None,
    trial_timeout: float | None,
    retries: int,
    memory_limit: int | None,
) -> None:
    problems = []
    if (workers is None) == (executor is None):
        problems.append("workers, executor: give one of both")
    if memory_limit is not None and workers is None:
        problems.append("memory_limit: is that of processes of its own; it needs workers")
    problems += [
        f"{name}: expected a positive integer or None, found {value!r}"
        for name, value in (("workers", workers), ("parallel", parallel), ("memory_limit", memory_limit))
        if value is not None and (type(value) is not int or value < 1)
    ]
    if trial_timeout is not None and not trial_timeout > 0:
        problems.append(f"trial_timeout: expected a positive number of seconds or None, found {trial_timeout!r}")
    if type(retries) is not int or retries < 0:
        problems.append(f"retries: expected an integer that is not negative, found {retries!r}")
    unlimited = None if memory_limit is None else limit_problem()
    if unlimited is not None:
        problems.append(unlimited)
    if problems:
        raise ConfigError("the workers cannot be set up", problems)
