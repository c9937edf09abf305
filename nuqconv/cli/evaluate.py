"""``nuqconv evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nuqconv.cli.data_options import DATA_HELP, Labels, Prep
from nuqconv.cli.lazy import names_in
from nuqconv.cli.messages import steps_told
from nuqconv.cli.model_options import Computing, Reading
from nuqconv.cli.options import parse_drop
from nuqconv.errors import ConfigError

__all__ = ["evaluate"]


def evaluate(
    files: Annotated[
        list[Path],
        typer.Argument(help="One or several models: a .prototxt followed by its .caffemodel, or an .onnx file."),
    ],
    data: Annotated[Path, typer.Option(help=DATA_HELP)],
    metric: Annotated[str, typer.Option(metavar="NAME", help="{nuqconv.search.metrics:METRIC_NAMES}.")] = "top1",
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            help="Where to run every model, with commas between names; those that nuqconv doctor lists. By default onnxruntime. "
            "A runtime passes over a format that it does not run.",
        ),
    ] = None,
    prep: Prep = None,
    labels: Labels = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(metavar="BLOB", help="A blob to judge instead of the nets' outputs; may be given several times."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in a batch.")] = 32,
    samples: Annotated[int | None, typer.Option(min=1, help="Most samples to run; by default all.")] = None,
    max_drop: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|PERCENT",
            help="Where more is better: how much less than the first a metric may be, as 0.01 or 1%, else exit code 1.",
        ),
    ] = None,
    max_error: Annotated[
        float | None, typer.Option(min=0, help="Where less is better: the largest value, else exit code 1.")
    ] = None,
    computing: Computing = Computing(),
    reading: Reading = Reading(),
    json: Annotated[Path | None, typer.Option(help="Write all of it as JSON to this file.")] = None,
) -> None:
    """Measure the metric of one or several models in one or several runtimes, side by side, and say which samples differ from the first.

    Exit codes: 0 done, and as good as demanded; 1 worse than --max-drop or --max-error allow; 2 wrong usage or input.

    Examples:
        nuqconv evaluate deploy.prototxt weights.caffemodel model.onnx --data set.npz --metric top1 --runtime caffe,onnxruntime
    """
    from rich.markup import escape

    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.data import data_files, data_set, say_data
    from nuqconv.cli.views.evaluation import print_evaluation
    from nuqconv.evaluators.demand import Demand
    from nuqconv.evaluators.side_by_side import evaluate_sides
    from nuqconv.files.staging import check_targets, write_atomically
    from nuqconv.formats import open_models
    from nuqconv.job.progress import job_progress
    from nuqconv.runtimes.table import DEFAULT, runtime_named
    from nuqconv.search.metrics import parse_metric

    measure = parse_metric(metric)
    demand = None
    if max_drop is not None or max_error is not None:
        drop = None if max_drop is None else parse_drop(max_drop, share=measure.share)
        demand = Demand(drop, max_error)
        demand.check_fits(measure)
    if json is not None:
        check_targets([json], inputs=[*files, *data_files(data, prep, labels)])
    names = [name for name in names_in(runtime or (DEFAULT,)) if name]
    if len(set(names)) != len(names):
        raise ConfigError(f"--runtime names one twice: {', '.join(names)}")
    with computing.in_force(names):
        runtimes = [runtime_named(name) for name in names]
        models = open_models(files, reading.options())
        found = data_set(data, prep, labels, models[0])
        console = new_console()
        say_data(found, console)
        count = len(found) if samples is None else min(samples, len(found))
        with steps_told(), job_progress() as shown:
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
    print_evaluation(report, console)
    if json is not None:
        write_atomically(json, report.to_json())
    refused = () if demand is None else report.refused(demand)
    for side in refused:
        console.print(f"[bold red]worse than demanded:[/] {escape(side.model)} in {side.runtime}", soft_wrap=True)
    if refused:
        raise typer.Exit(1)
