"""A progress bar on a terminal, and lines in the log elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from nuqconv.job.console import error_console
from nuqconv.search.run import Progress, Trial

__all__ = ["JobProgress", "job_progress"]


_NARROW = 110
_SILENCE = 5.0
"""Seconds after which a step says in the log how far it is."""
_LOG = logging.getLogger(__name__)


class JobProgress:
    """Shows the steps before a search and then its trials, each with the time that is left.

    Args:
        bar: Where to show them; None logs the beginning and the end of each step, and in between a line every few seconds.
        clock: Returns seconds.
    """

    def __init__(self, bar: Bar | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._bar = bar
        self._clock = clock
        self._tasks: dict[str, TaskID] = {}
        # When each step began, with how many parts done, and when it was last told of.
        self._begun: dict[str, tuple[float, int]] = {}
        self._told = 0.0

    def on_step(self, name: str, done: int, total: int) -> None:
        """Shows how many of a step's parts are done."""
        if self._bar is not None:
            self._bar.update(self._task(self._bar, name), total=total, completed=done)
        else:
            self._log(name, done, total)

    def _log(self, name: str, done: int, total: int) -> None:
        now = self._clock()
        first = name not in self._begun
        began, before = self._begun.setdefault(name, (now, done))
        if not first and done < total and now - self._told < _SILENCE:
            return
        self._told = now
        if first or done >= total or done <= before:
            _LOG.info("%s: %d of %d", name, done, total)
        else:
            left = (now - began) / (done - before) * (total - done)
            _LOG.info("%s: %d of %d, about %.0f s left", name, done, total, left)

    def on_trial(self, trial: Trial, progress: Progress) -> None:
        """Shows a trial of the search."""
        if self._bar is None:
            return
        verdict = "[green]accepted" if trial.accepted else "[red]rejected"
        best = "" if progress.best is None else f"[default]  best {progress.best.bytes:,.0f} bytes"
        self._bar.update(
            self._task(self._bar, "search"),
            total=progress.expected,
            completed=progress.done,
            state=f"{verdict} {trial.metric:.5g}{best}",
        )

    def _task(self, bar: Bar, name: str) -> TaskID:
        if name not in self._tasks:
            self._tasks[name] = bar.add_task(name, total=None, state="")
        return self._tasks[name]


@contextmanager
def job_progress(*, show: bool | None = None) -> Iterator[JobProgress]:
    """Shows how the main job goes on.

    Args:
        show: Whether to show bars; None shows them where standard error is a terminal.

    Yields:
        What steps and trials are reported to.
    """
    if not (sys.stderr.isatty() if show is None else show):
        yield JobProgress(None)
        return
    with Bar(*_columns(error_console().width), console=error_console()) as bar:
        yield JobProgress(bar)


def _columns(width: int) -> list[ProgressColumn]:
    """Returns what a bar has: on a narrow terminal the verdict goes before times and the bar itself."""
    name, state = TextColumn("[bold]{task.description}"), TextColumn("{task.fields[state]}")
    if width < _NARROW:
        return [name, MofNCompleteColumn(), state]
    return [
        name,
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        state,
    ]
