"""What a pool needs of its workers, and workers that are tasks of a given executor."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from nuqconv.errors import ConfigError, EvaluatorError
from nuqconv.parallel.shipping import Parcel, pack
from nuqconv.parallel.task import Answer, FilesHere, FilesSent, Task, evaluate, run_task
from nuqconv.search.evaluator import CheckedEvaluator

__all__ = ["Attempt", "GivenExecutor", "Job", "Workers", "worker_count"]


@dataclass(frozen=True)
class Job:
    """A model to be evaluated.

    Attributes:
        files: The model's files in this process.
        batch_num: Number of batches.
    """

    files: FilesHere
    batch_num: int


class Attempt(Protocol):
    """One try at a job."""

    @property
    def future(self) -> Future[Answer]:
        """What it gives; an exception means that the worker, not the evaluator, has failed."""

    def time_out(self) -> bool:
        """Take note that it takes too long; return whether it was ended, so that no answer can come of it any more."""

    def drop(self) -> None:
        """End it as far as that is possible; nobody waits for its answer."""

    def cause(self, error: BaseException) -> str:
        """Returns in words why the future has raised."""


class Workers(Protocol):
    """Processes or threads that evaluate models."""

    @property
    def count(self) -> int | None:
        """How many models they evaluate at once; None if that cannot be seen."""

    def begin(self, job: Job, *, whole: bool = False) -> Attempt:
        """Hand a job to a worker. May be called from several threads.

        Args:
            job: The job.
            whole: Whether the evaluator must travel with it, because a worker has said that it does not have it.

        Raises:
            EvaluatorError: No worker can take it.
        """

    def close(self) -> None:
        """Give back what is not the caller's."""


def worker_count(executor: Executor) -> int | None:
    """Returns how many tasks an executor runs at once, where it tells; None elsewhere."""
    for probe in (_of_standard_library, _of_mpi, _of_dask):
        count = probe(executor)
        if isinstance(count, int) and count > 0:
            return count
    return None


def _of_standard_library(executor: Any) -> object:
    return getattr(executor, "_max_workers", None)


def _of_mpi(executor: Any) -> object:
    return getattr(executor, "num_workers", None)


def _of_dask(executor: Any) -> object:
    threads = getattr(getattr(executor, "_client", None), "nthreads", None)
    return sum(threads().values()) if callable(threads) else None


@dataclass(eq=False)
class _Submitted:
    """A task of an executor."""

    future: Future[Answer]
    find_worker: Callable[[], bool]
    watched: bool = False

    def time_out(self) -> bool:
        self.watched = self.find_worker()
        return False

    def drop(self) -> None:
        # Only the end of a task that takes too long tells that its worker is of use again.
        if not self.watched:
            self.future.cancel()

    def cause(self, error: BaseException) -> str:
        return f"{type(error).__name__}: {error}"


class GivenExecutor:
    """Workers behind any `concurrent.futures.Executor`.

    Model files travel as bytes, and the evaluator with the first tasks; a worker that does not have it says so and gets it. The threads of a
    `ThreadPoolExecutor` share the evaluator itself, and the files.

    Args:
        executor: The executor, which stays open; or a function that makes one, which is closed in the end and replaced when it breaks.
        checked: The evaluator.

    Raises:
        EvaluatorError: The evaluator cannot be pickled.
        ConfigError: It is no executor.
    """

    def __init__(self, executor: Executor | Callable[[], Executor], checked: CheckedEvaluator) -> None:
        self._executor, self._factory = _executor_of(executor)
        self._checked = checked
        self._lock = threading.Lock()
        self._sent = 0
        self._unfinished: set[Future[Answer]] = set()
        self._digest, self._content = ("", b"") if self._in_threads else pack(checked.evaluator)

    @property
    def count(self) -> int | None:
        """How many tasks the executor runs at once; see `Workers.count`."""
        return worker_count(self._executor)

    def begin(self, job: Job, *, whole: bool = False) -> Attempt:
        """Submit a task; see `Workers.begin`."""
        if self._in_threads:
            submit: Callable[[], _Submitted] = partial(self._submit_here, job)
        else:
            submit = partial(self._submit, FilesSent.of(job.files), job.batch_num, whole=whole)
        with self._lock:
            try:
                attempt = submit()
            except Exception as error:
                if self._factory is None:
                    raise EvaluatorError(_broken(error)) from error
                _end(self._executor, hard=False)
                self._executor, self._sent = self._factory(), 0
                attempt = submit()
            self._unfinished.add(attempt.future)
        attempt.future.add_done_callback(self._unfinished.discard)
        return attempt

    def close(self) -> None:
        """Close the executor if it was made here, and end its processes if any of them is still busy."""
        for future in list(self._unfinished):
            future.cancel()
        if self._factory is not None:
            _end(self._executor, hard=any(not future.done() for future in list(self._unfinished)))

    @property
    def _in_threads(self) -> bool:
        return isinstance(self._executor, ThreadPoolExecutor)

    def _submit_here(self, job: Job) -> _Submitted:
        future = self._executor.submit(evaluate, self._checked, job.files, job.batch_num)
        return _Submitted(future, lambda: False)

    def _submit(self, files: FilesSent, batch_num: int, *, whole: bool) -> _Submitted:
        whole = whole or self._sent < (self.count or 1)
        self._sent += 1
        parcel = Parcel(self._digest, self._content) if whole else None
        task = Task(uuid.uuid4().hex, files, batch_num, self._digest, parcel)
        executor = self._executor
        future = self._send(executor, task)
        return _Submitted(future, lambda: self._shun_worker(executor, task, future))

    def _send(self, executor: Executor, task: Task) -> Future[Answer]:
        """Submit a task; for executors that want more said than that."""
        return executor.submit(run_task, task)

    def _shun_worker(self, executor: Executor, task: Task, future: Future[Answer]) -> bool:  # noqa: ARG002
        """Keep further tasks from the worker of one that takes too long, until that ends; return whether this can be done."""
        return False


def _executor_of(given: Any) -> tuple[Executor, Callable[[], Executor] | None]:
    """Returns the executor, and what makes another one if it was a function (or class) that was given."""
    if hasattr(given, "submit") and not isinstance(given, type):
        return given, None
    executor = given() if callable(given) else None
    if executor is None or not hasattr(executor, "submit"):
        raise ConfigError(
            f"executor: expected a concurrent.futures.Executor or a function that makes one, found {given!r}"
        )
    return executor, given


def _broken(error: BaseException) -> str:
    what = "is broken for good" if isinstance(error, BrokenExecutor) else "takes no further task"
    return (
        f"the executor {what}: {type(error).__name__}: {error}. One that a dying worker does not break is made by workers=N; "
        "or give a function that makes the executor, which is called again: executor=lambda: ProcessPoolExecutor(2)"
    )


def _end(executor: Any, *, hard: bool) -> None:
    """Close an executor that was made here; `hard` ends processes of the standard library's that are busy."""
    processes = list((getattr(executor, "_processes", None) or {}).values()) if hard else []
    if isinstance(executor, ThreadPoolExecutor) or hard:
        executor.shutdown(wait=False)
    else:
        executor.shutdown(wait=True)
    for process in processes:
        process.kill()
        process.join()
