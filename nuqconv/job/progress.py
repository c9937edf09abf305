"""A progress bar on a terminal, and lines in the log elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
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
_LOG = logging.getLogger(__name__)


class JobProgress:
    """Shows the steps before a search and then its trials, each with the time that is left.

    Args:
        bar: Where to show them; None logs the beginning and the end of each step.
    """

    def __init__(self, bar: Bar | None) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}
        self._begun: set[str] = set()

    def on_step(self, name: str, done: int, total: int) -> None:
        """Shows how many of a step's parts are done."""
        if self._bar is not None:
            self._bar.update(self._task(self._bar, name), total=total, completed=done)
        elif name not in self._begun or done == total:
            self._begun.add(name)
            _LOG.info("%s: %d of %d", name, done, total)

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
