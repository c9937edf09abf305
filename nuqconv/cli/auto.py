"""``nuqconv auto``."""

from __future__ import annotations

import math
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nuqconv.cli.data_options import DATA_HELP, Labels, Prep
from nuqconv.cli.judging import Judging
from nuqconv.cli.lazy import one_of
from nuqconv.cli.messages import steps_told
from nuqconv.cli.model_options import Computing, Fitting, Reading
from nuqconv.cli.options import Model, Save, Weights, cores
from nuqconv.cli.search_options import Isolation, Journaling, Searching, Workers
from nuqconv.errors import ConfigError
from nuqconv.runtimes.table import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nuqconv.data import DataSet
    from nuqconv.formats.source import ModelFiles
    from nuqconv.job.result import NuqResult
    from nuqconv.search.metrics import Metric

__all__ = ["auto"]


def auto(
    model: Model,
    save: Save,
    weights: Weights = None,
    data: Annotated[Path | None, typer.Option(help=DATA_HELP)] = None,
    prep: Prep = None,
    labels: Labels = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What to measure, top1 by default: {nuqconv.search.metrics:METRIC_NAMES}; with parameters as "
            "psnr:border=4,y, see docs/metrics.md.",
        ),
    ] = None,
    judging: Judging = Judging(),
    config: Annotated[
        Path | None, typer.Option(help="Quantization configuration; by default all that can be compressed may be.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Quantization factor record to write; by default beside the other files."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Data to calibrate on, of the same kinds and prepared alike; by default --data itself."),
    ] = None,
    batch_num: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Batches to calibrate on, by default {nuqconv.config:DEFAULT_BATCH_NUM}; a --config says it itself.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in a batch.")] = 32,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BLOB", help="A blob to evaluate instead of the net's outputs; may be given several times."
        ),
    ] = None,
    runtime: Annotated[str, one_of("nuqconv.runtimes.table:NAMES", help="Where to evaluate.")] = DEFAULT,
    searching: Searching = Searching(),
    journaling: Journaling = Journaling(),
    workers: Workers = Workers(),
    equalize: Annotated[
        bool,
        typer.Option(
            help="Divide channels of inner blobs by powers of two where the metric of int8 is no worse for it; the outputs stay the same.",
            rich_help_panel="How integers are chosen",
        ),
    ] = True,
    fitting: Fitting = Fitting(),
    computing: Computing = Computing(),
    isolation: Isolation = Isolation(),
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx", help="Write ONNX models too: fake_quant, QDQ, and packed NUQ; always done for an .onnx model."
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="Write the result to this file: a page (.html), a text for a pull request (.md), or .json."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the result as JSON to this file.")] = None,
    reading: Reading = Reading(),
) -> None:
    """Search the strongest quantization that the accuracy demand allows, and write the models and record files.

    A search that was stopped goes on when the same command is given again; "nuqconv trials show" lists what was tried.

    Examples:
        nuqconv auto deploy.prototxt weights.caffemodel --data set.npz --metric top1 --max-drop 0.01 --save out/model
        # Pictures, a folder for each class
        nuqconv auto deploy.prototxt weights.caffemodel --data photos/ --prep "bgr, resize 224x224, mean 104 117 123" --max-drop 1% --save out/model
        # Without labels
        nuqconv auto model.onnx --data set.npz --metric output_error --max-error 0.05 --save out/model
        # Down to 4 levels, weights alone: for runtimes that compute in float
        nuqconv auto model.onnx --data set.npz --metric output_error --max-error 0.05 --levels 64,16,8,4 --weights-only --save out/model
        # With an evaluator of your own
        nuqconv auto deploy.prototxt weights.caffemodel --evaluator my_eval.py:Evaluator --evaluator-arg data=photos --save out/model
    """
    from nuqconv.api import create_quant_config
    from nuqconv.auto_nuq import auto_nuq
    from nuqconv.cli.views.data import data_files
    from nuqconv.config import DEFAULT_BATCH_NUM
    from nuqconv.evaluators import BatchEvaluator
    from nuqconv.formats import open_model
    from nuqconv.job.output_files import model_name, output_prefix
    from nuqconv.search.metrics import parse_metric

    objective, levels = searching.objective(), searching.codebooks()
    own = judging.own(
        data=data,
        labels=labels,
        metric=metric,
        outputs=outputs,
        runtime=None if runtime == DEFAULT else runtime,
        isolate=isolation.isolate or None,
        provider=computing.provider,
        threads=computing.threads,
    )
    drop = max_error = None
    if own is None:
        if data is None:
            raise ConfigError("give --data, or an --evaluator of your own with its --evaluator-arg")
        metric = metric or "top1"
        drop, max_error = _limit(parse_metric(metric), judging, needed=searching.max_size is None)
    kept = journaling.place
    with ExitStack() as stack:
        stack.enter_context(computing.in_force([runtime]))
        place = workers.sharing(isolation.runtime(runtime), cores())
        how = reading.options()
        _check_reports(report, json, inputs=[model, weights, config, calibration, *data_files(data, prep, labels)])
        source = open_model(model, weights, how)
        prefix = output_prefix(save, model_name(source.paths, source.format))
        samples, ranges = _data_sets(source, data, prep, labels, calibration)
        shapes = _shapes(source, samples, batch_size)
        stack.enter_context(steps_told())
        if samples is not None:
            own = stack.enter_context(
                BatchEvaluator(
                    samples,
                    metric=metric or "top1",
                    max_drop=drop,
                    max_error=max_error,
                    outputs=tuple(outputs) if outputs else None,
                    batch_size=batch_size,
                    calibration=ranges,
                    runtime=place,
                    # What the search writes has the chosen layers only.
                    read_options=replace(how, level=0, stages=frozenset()),
                )
            )
        if config is None:
            config = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "config.json"
            create_quant_config(config, source, None, batch_num=batch_num or DEFAULT_BATCH_NUM, input_shapes=shapes)
        elif batch_num is not None:
            raise ConfigError(
                f"--batch-num {batch_num} is given beside {config}, which says batch_num itself; leave one of them out"
            )
        _say(samples, ranges, batch_size * _batch_num(config, source, shapes))
        result = auto_nuq(
            source,
            None,
            own,
            config,
            record or prefix.with_name(f"{prefix.name}_scale_offset_record.txt"),
            prefix,
            calibration_data=None if samples is not None else ranges,
            max_evaluations=searching.most_evaluations,
            timeout=searching.timeout,
            patience=searching.patience,
            objective=objective,
            levels=levels,
            weight_method=fitting.method(),
            equalize=equalize,
            sequential=fitting.sequential,
            weights_only=fitting.weights_only,
            onnx=onnx,
            input_shapes=shapes,
            strategy=searching.strategy,
            journal=kept,
            on_mismatch=journaling.on_mismatch,
            workers=workers.workers,
            trial_timeout=workers.trial_timeout,
            on_crash=isolation.crash_choice,
        )
    _show(result, save, prefix, metric or "metric")
    _write_reports(result, report, json)


def _check_reports(report: Path | None, json: Path | None, *, inputs: Iterable[Path | None]) -> None:
    from nuqconv.files.staging import check_targets
    from nuqconv.report.forms import check_form

    if report is not None:
        check_form(report)
    wanted = [path for path in (report, json) if path is not None]
    check_targets(wanted, inputs=[path for path in inputs if path is not None])


def _write_reports(result: NuqResult, report: Path | None, json: Path | None) -> None:
    from nuqconv.report.forms import write_report
    from nuqconv.report.sources import report_of_result

    for path, form in ((report, None), (json, ".json")):
        if path is not None:
            write_report(report_of_result(result), path, form)


def _show(result: NuqResult, save: str, prefix: Path, metric: str) -> None:
    from rich.markup import escape

    from nuqconv.cli.report import new_console, print_result

    console = new_console()
    if prefix != Path(save):
        console.print(
            f"{escape(save)} is a folder; the files in it are called {escape(prefix.name)}_*\n", soft_wrap=True
        )
    print_result(result, console, metric)


def _limit(metric: Metric, judging: Judging, *, needed: bool) -> tuple[float | None, float | None]:
    """Returns max_drop and max_error."""
    if not needed and not judging.limited:
        # Any metric is welcome, the nearest one wins.
        return (math.inf, None) if metric.higher_is_better else (None, math.inf)
    return judging.limit(metric)


def _data_sets(
    source: ModelFiles, data: Path | None, prep: str | None, labels: Path | None, calibration: Path | None
) -> tuple[DataSet | None, DataSet | None]:
    """Returns what to evaluate on, and what to calibrate on where these are other data."""
    from nuqconv.cli.views.data import data_set, like

    if data is None:
        return None, None if calibration is None else data_set(calibration, prep, None, source)
    samples = data_set(data, prep, labels, source)
    if calibration is None:
        return samples, None
    return samples, like(samples, data_set(calibration, prep, None)).for_net(source.inputs())


def _shapes(source: ModelFiles, samples: DataSet | None, batch_size: int) -> dict[str, tuple[int, ...]] | None:
    """Returns the shapes of inputs, or None where the files say them all."""
    from nuqconv.job.asked import data_shapes

    return data_shapes(source, samples, batch_size) or None


def _say(samples: DataSet | None, ranges: DataSet | None, used: int) -> None:
    """Says what the net sees, and on how many samples it is calibrated."""
    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.data import say_data

    console = new_console()
    if samples is not None:
        say_data(samples, console, "" if ranges else f"; calibrated on {min(used, len(samples))} of them")
    if ranges is not None:
        say_data(ranges, console, f"; {min(used, len(ranges))} of them are used", word="calibration")


def _batch_num(config: Path, source: ModelFiles, shapes: Mapping[str, Sequence[int]] | None) -> int:
    """Returns the batches that a configuration calibrates on."""
    from nuqconv.config import load_config
    from nuqconv.formats import ReadOptions
    from nuqconv.job.layer_facts import layer_facts

    return load_config(config, layer_facts(source.read(ReadOptions(shapes or {})).graph)).batch_num
