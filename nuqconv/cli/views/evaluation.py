"""What ``nuqconv evaluate`` shows."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nuqconv.cli.report import new_table
from nuqconv.errors import some_of
from nuqconv.evaluators.side_by_side import EvaluatedSide, Evaluation
from nuqconv.search.metrics import Interval

__all__ = ["print_evaluation"]

_SHOWN = 5
"""Samples that differ which are named; all of them are in the JSON."""
_NARROW = 76


def print_evaluation(report: Evaluation, console: Console) -> None:
    """Prints the models, a table of their metrics, and which samples differ from the first."""
    models = list(dict.fromkeys(side.model for side in report.sides))
    for number, model in enumerate(models, 1):
        console.print(f"[bold]{number}[/]  {escape(model)}", soft_wrap=True)
    console.print()
    console.print(_table(report, models, narrow=console.width < _NARROW))
    console.print()
    for side in report.sides[1:]:
        if side.differing:
            names = escape(some_of(side.differing, _SHOWN))
            where = f"{models.index(side.model) + 1} in {side.runtime}"
            console.print(f"[bold]{where}[/] differs from the first on {names}", soft_wrap=True)
    for note in report.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)


def _table(report: Evaluation, models: list[str], *, narrow: bool) -> Table:
    """Returns the table; an interval holds 95 % of the draws of samples. Where there is little room the least interesting columns are left out."""
    held_against_first = report.measure is not None and report.measure.against_float
    columns: list[tuple[str, bool, Callable[[EvaluatedSide], str]]] = [
        ("", False, lambda side: str(models.index(side.model) + 1)),
        ("runtime", False, lambda side: side.runtime),
        (report.metric, True, lambda side: f"[bold]{report.shown(side.value)}"),
    ]
    if held_against_first or not narrow:
        columns.append(("95 %", False, lambda side: _ends(side.interval)))
    if not held_against_first:
        columns.append(("change", True, lambda side: f"{side.difference.estimate:+.3g}" if side.difference else ""))
        columns.append(("95 % ", False, lambda side: _ends(side.difference)))
    columns.append(("differ", True, lambda side: str(len(side.differing)) if side.difference else ""))
    if not narrow:
        columns.append(("ms", True, lambda side: f"{1000 * side.seconds / report.samples:.3g}"))
    table = new_table(
        *(heading for heading, _, _ in columns), right=tuple(heading for heading, right, _ in columns if right)
    )
    for side in report.sides:
        table.add_row(*(cell(side) for _, _, cell in columns))
    return table


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.3g}..{interval.high:.3g}"
