"""``nuqconv evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nuqconv.cli.data_options import DATA_HELP, Labels, Prep, data_files, data_set, say_data
from nuqconv.cli.report import new_console, new_table
from nuqconv.errors import ConfigError
from nuqconv.evaluators.demand import Demand
from nuqconv.evaluators.side_by_side import EvaluatedSide, Evaluation, evaluate_sides
from nuqconv.files.staging import check_targets, write_atomically
from nuqconv.formats import open_models
from nuqconv.job.progress import job_progress
from nuqconv.runtimes.table import DEFAULT, runtime_named
from nuqconv.search.metrics import Interval, metric_names, parse_metric

__all__ = ["evaluate"]

_SHOWN = 5
"""Samples that differ which are named; all of them are in the JSON."""
_NARROW = 76


def evaluate(
    files: Annotated[
        list[Path],
        typer.Argument(help="One or several models: a .prototxt followed by its .caffemodel, or an .onnx file."),
    ],
    data: Annotated[Path, typer.Option(help=DATA_HELP)],
    metric: Annotated[str, typer.Option(help=f"{metric_names()}.")] = "top1",
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            help="Where to run every model: caffe,onnxruntime,opencv or fewer; a runtime passes over a format that it does not run.",
        ),
    ] = None,
    prep: Prep = None,
    labels: Labels = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(help="A blob to judge instead of the nets' outputs; may be given several times."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in a batch.")] = 32,
    samples: Annotated[int | None, typer.Option(min=1, help="Most samples to run; by default all.")] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            min=0, help="Where more is better: how much less than the first a metric may be, else exit code 1."
        ),
    ] = None,
    max_error: Annotated[
        float | None, typer.Option(min=0, help="Where less is better: the largest value, else exit code 1.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write all of it as JSON to this file.")] = None,
) -> None:
    """Measure the metric of one or several models in one or several runtimes, side by side, and say which samples differ from the first.

    Exit codes: 0 done, and as good as demanded; 1 worse than --max-drop or --max-error allow; 2 wrong usage or input.

    Example: nuqconv evaluate deploy.prototxt weights.caffemodel model.onnx --data set.npz --metric top1 --runtime caffe,onnxruntime
    """
    measure = parse_metric(metric)
    demand = None
    if max_drop is not None or max_error is not None:
        demand = Demand(max_drop, max_error)
        demand.check_fits(measure)
    if json is not None:
        check_targets([json], inputs=[*files, *data_files(data, prep, labels)])
    names = [name.strip() for text in runtime or (DEFAULT,) for name in text.split(",") if name.strip()]
    if len(set(names)) != len(names):
        raise ConfigError(f"--runtime names one twice: {', '.join(names)}")
    runtimes = [runtime_named(name) for name in names]
    models = open_models(files)
    found = data_set(data, prep, labels, models[0])
    console = new_console()
    say_data(found, console)
    count = len(found) if samples is None else min(samples, len(found))
    with job_progress() as shown:
        report = evaluate_sides(
            models,
            found,
            measure,
            runtimes,
            outputs=outputs,
            batch_size=batch_size,
            samples=samples,
            on_batch=lambda done: shown.on_step("samples", done, count),
        )
    _print(report, console)
    if json is not None:
        write_atomically(json, report.to_json())
    refused = () if demand is None else report.refused(demand)
    for side in refused:
        console.print(f"[bold red]worse than demanded:[/] {escape(side.model)} in {side.runtime}", soft_wrap=True)
    if refused:
        raise typer.Exit(1)


def _print(report: Evaluation, console: Console) -> None:
    models = list(dict.fromkeys(side.model for side in report.sides))
    for number, model in enumerate(models, 1):
        console.print(f"[bold]{number}[/]  {escape(model)}", soft_wrap=True)
    console.print()
    console.print(_table(report, models, narrow=console.width < _NARROW))
    console.print()
    for side in report.sides[1:]:
        if side.differing:
            more = f" and {len(side.differing) - _SHOWN} more" if len(side.differing) > _SHOWN else ""
            names = escape(", ".join(side.differing[:_SHOWN]))
            where = f"{models.index(side.model) + 1} in {side.runtime}"
            console.print(f"[bold]{where}[/] differs from the first on {names}{more}", soft_wrap=True)
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
