"""Workers of a Dask cluster: its executor, and how to stay away from those of its workers that hang.

Dask replaces a worker that dies by itself and does its tasks again. A worker that hangs looks idle to its scheduler, which would send it the next
trials too; so it is found out where a task that took too long runs, and that worker gets nothing more until the task ends after all.
"""

from __future__ import annotations

import logging
from concurrent.futures import Executor, Future
from typing import Any

from nuqconv.parallel.task import Answer, Task, run_task
from nuqconv.parallel.workers import GivenExecutor
from nuqconv.search.evaluator import CheckedEvaluator

__all__ = ["DaskWorkers", "is_dask"]

_LOG = logging.getLogger(__name__)


def is_dask(executor: Any) -> bool:
    """Returns whether an executor is what ``distributed.Client.get_executor()`` makes."""
    return hasattr(getattr(executor, "_client", None), "processing")


class DaskWorkers(GivenExecutor):
    """Workers behind the executor of a ``distributed.Client``; see `GivenExecutor` for the arguments."""

    def __init__(self, executor: Executor, checked: CheckedEvaluator) -> None:
        super().__init__(executor, checked)
        self._shunned: dict[str, str] = {}
        """Worker addresses by the key of the task that hangs there."""

    def _send(self, executor: Executor, task: Task) -> Future[Answer]:
        client: Any = executor._client  # type: ignore[attr-defined]  # noqa: SLF001  (it has no public name)
        options: dict[str, Any] = {"key": _key(task)}
        if self._shunned:
            shunned = set(self._shunned.copy().values())
            others = [address for address in client.nthreads() if address not in shunned]
            options |= {"workers": others} if others else {}
        return executor.submit(run_task, task, **options)

    def _shun_worker(self, executor: Executor, task: Task, future: Future[Answer]) -> bool:
        client: Any = executor._client  # type: ignore[attr-defined]  # noqa: SLF001
        found = [address for address, keys in client.processing().items() if _key(task) in keys]
        for address in found:
            _LOG.warning("no trial is sent to worker %s until it answers", address)
            self._shunned[task.key] = address
        future.add_done_callback(lambda _: self._shunned.pop(task.key, None))
        return bool(found)


def _key(task: Task) -> str:
    return f"nuqconv-trial-{task.key}"
