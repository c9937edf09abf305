"""Worker processes of our own: each can die or hang without harm to the others, and is then replaced.

Every worker is a `ProcessPoolExecutor` with one process: the standard library's pool breaks as a whole when one of its processes dies, and cannot
end a task that hangs. Tasks hold paths only, so that no pipe to a dead process fills up.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import uuid
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import LifoQueue

from nuqconv.errors import ConfigError, EvaluatorError
from nuqconv.parallel.shipping import Parcel, pack
from nuqconv.parallel.task import Answer, Task, run_task
from nuqconv.parallel.workers import Attempt, Job
from nuqconv.search.evaluator import CheckedEvaluator

__all__ = ["LocalWorkers", "check_main_guard"]

_START_SECONDS = 300.0
"""A worker that does not answer for so long after its start never will."""

_EXIT_SECONDS = 5.0
"""How long a worker may take to exit by itself before it is killed."""

_GUARD = (
    'A worker imports the script that was started, so what the script does must stand under if __name__ == "__main__":'
)


def check_main_guard() -> None:
    """Stop a script that a worker process is importing before it does its work a second time.

    Raises:
        ConfigError: This process is a worker that has not finished its start.
    """
    # The standard library tells this case by the same attribute when such a process starts another one.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError(f"this is a worker process that is importing the script. {_GUARD}")


class _Worker:
    """One process."""

    def __init__(self, memory_limit: int | None) -> None:
        self.executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _start, (memory_limit,))
        self.killed = False
        try:
            pid = self.executor.submit(os.getpid).result(_START_SECONDS)
        except Exception as error:
            self.executor.shutdown(wait=False)
            raise EvaluatorError(
                f"a worker process could not be started: {type(error).__name__}: {error}. Its standard error says why. {_GUARD}"
            ) from error
        found = [process for process in multiprocessing.active_children() if process.pid == pid]
        self.process: BaseProcess | None = found[0] if found else None

    def kill(self) -> None:
        """End the process at once; its executor notices by itself."""
        self.killed = True
        if self.process is not None:
            self.process.kill()
            self.process.join(_EXIT_SECONDS)

    def close(self) -> None:
        """Let the process exit, and kill it if it does not."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        if self.process is not None:
            self.process.join(_EXIT_SECONDS)
            if self.process.is_alive():
                self.kill()

    def fate(self) -> str:
        """Returns in words how the process ended."""
        if self.process is None:
            return "the worker process ended"
        deadline = time.monotonic() + _EXIT_SECONDS
        # Another thread may have taken the code from the system and be about to note it.
        while (code := self.process.exitcode) is None and time.monotonic() < deadline:
            time.sleep(0.005)
        how = "" if code is None else f" with exit code {code}" if code >= 0 else f" by {_signal_name(-code)}"
        return f"worker process {self.process.pid} ended{how}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True, eq=False)
class _Running:
    """A task in a worker."""

    future: Future[Answer]
    worker: _Worker
    home: LocalWorkers

    def time_out(self) -> bool:
        self.drop()
        return True

    def drop(self) -> None:
        self.home.end(self)

    def cause(self, error: BaseException) -> str:
        return f"{self.worker.fate()} ({type(error).__name__})"


class LocalWorkers:
    """A fixed number of worker processes on this machine, started when they are first needed.

    Args:
        count: How many.
        checked: The evaluator.
        folder: Folder for the pickled evaluator.
        memory_limit: Bytes of memory that each may have, or None for any number.

    Raises:
        EvaluatorError: The evaluator cannot be pickled.
    """

    def __init__(self, count: int, checked: CheckedEvaluator, folder: Path, memory_limit: int | None = None) -> None:
        self.count: int | None = count
        self._memory_limit = memory_limit
        digest, content = pack(checked.evaluator)
        path = folder / "evaluator.pickle"
        path.write_bytes(content)
        self._parcel = Parcel(digest, path)
        self._lock = threading.Lock()
        self._busy: set[_Running] = set()
        self._alive: set[_Worker] = set()
        # None stands for a worker that is still to be started.
        self._free: LifoQueue[_Worker | None] = LifoQueue()
        for _ in range(count):
            self._free.put(None)

    def begin(self, job: Job, *, whole: bool = False) -> Attempt:  # noqa: ARG002  (every task names the evaluator's file)
        """Give a task to a free worker, and start one if need be; see `Workers.begin`."""
        worker = self._free.get()
        task = Task(uuid.uuid4().hex, job.files, job.batch_num, self._parcel.digest, self._parcel)
        try:
            worker, future = self._submit(worker, task)
        except BaseException:
            self._free.put(None)
            raise
        running = _Running(future, worker, self)
        with self._lock:
            self._busy.add(running)
        running.future.add_done_callback(lambda _: self._release(running))
        return running

    def end(self, running: _Running) -> None:
        """Kill the worker of a task that is still running."""
        with self._lock:
            if running in self._busy:
                running.worker.kill()

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            workers = list(self._alive)
            for running in self._busy:
                running.worker.kill()
        for worker in workers:
            worker.close()

    def _submit(self, worker: _Worker | None, task: Task) -> tuple[_Worker, Future[Answer]]:
        """Submit a task to a worker, or to a new one if there is none or it has died while it was idle."""
        if worker is not None:
            try:
                return worker, worker.executor.submit(run_task, task)
            except BrokenExecutor:
                self._discard(worker)
        worker = _Worker(self._memory_limit)
        with self._lock:
            self._alive.add(worker)
        return worker, worker.executor.submit(run_task, task)

    def _discard(self, worker: _Worker) -> None:
        # The executor is not shut down: this may run in its own thread, which then holds the lock for that.
        worker.kill()
        with self._lock:
            self._alive.discard(worker)

    def _release(self, running: _Running) -> None:
        """Make the place of a task that has ended free for the next one."""
        worker = running.worker
        with self._lock:
            self._busy.discard(running)
        lost = worker.killed or running.future.cancelled() or running.future.exception() is not None
        if lost:
            self._discard(worker)
        self._free.put(None if lost else worker)


def _start(memory_limit: int | None) -> None:
    """Prepare a worker process: an interrupt is the main process's to handle, and nothing outlives that one."""
    if memory_limit is not None:
        from nuqconv.runtimes.child.serve import limit_memory  # noqa: PLC0415  (there are systems without such limits)

        limit_memory(memory_limit)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), name="nuqconv-parent", daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
