"""A progress bar on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from nuqconv.search.trials import Progress, Trial

__all__ = ["OnTrial", "trial_progress"]

OnTrial = Callable[[Trial, Progress], None]


@contextmanager
def trial_progress(*, show: bool | None = None) -> Iterator[OnTrial | None]:
    """Shows the trials of a search with the time that is left.

    Args:
        show: Whether to show a bar; None shows it where standard error is a terminal.

    Yields:
        What the search calls after each trial, or None when nothing is shown.
    """
    if not (sys.stderr.isatty() if show is None else show):
        yield None
        return
    columns = (
        TextColumn("[bold]search"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("search", total=None, state="")

        def on_trial(trial: Trial, progress: Progress) -> None:
            verdict = "[green]accepted" if trial.accepted else "[red]rejected"
            best = "" if progress.best is None else f"[default]  best {progress.best.bytes / 1024:,.0f} KiB"
            bar.update(
                task, total=progress.expected, completed=progress.done, state=f"{verdict} {trial.metric:.5g}{best}"
            )

        yield on_trial
