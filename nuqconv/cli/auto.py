"""``nuqconv auto``."""

from __future__ import annotations

import math
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nuqconv.cli.data_options import DATA_HELP, Labels, Prep
from nuqconv.cli.lazy import names_in, one_of
from nuqconv.cli.messages import steps_told
from nuqconv.cli.options import (
    AllowUnknownFields,
    ExactSizes,
    Level,
    Model,
    Quick,
    Save,
    Stage,
    Weights,
    cores,
    method_of,
    parse_drop,
    parse_size,
    read_options,
)
from nuqconv.errors import ConfigError
from nuqconv.runtimes.table import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nuqconv.data import DataSet
    from nuqconv.formats.source import ModelFiles
    from nuqconv.job.result import NuqResult
    from nuqconv.runtimes.base import Runtime
    from nuqconv.search.metrics import Metric
    from nuqconv.search.objective import Objective

__all__ = ["auto"]


_SEARCH, _JOURNAL, _WORKERS = "The search", "Its journal", "Several evaluations at once"
_ISOLATION, _WHERE = "A crashing runtime", "What onnxruntime computes on"


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
    max_drop: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|PERCENT",
            help="Where more is better: how much may be lost; 0.01 and 1% are one percentage point of top1.",
        ),
    ] = None,
    max_error: Annotated[
        float | None, typer.Option(min=0, help="Where less is better, as for output_error: the largest value.")
    ] = None,
    evaluator: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:NAME",
            help="An evaluator of your own instead of --data, --metric and a limit: a class or a function in a file, or in a module; "
            "nuqconv evaluator-template writes one to start from.",
        ),
    ] = None,
    evaluator_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An argument for --evaluator; may be given several times."),
    ] = None,
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
    quick: Quick = False,
    runtime: Annotated[str, one_of("nuqconv.runtimes.table:NAMES", help="Where to evaluate.")] = DEFAULT,
    max_evaluations: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most quantized models to evaluate; by default {nuqconv.search.run:DEFAULT_MAX_EVALUATIONS}.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds after which no further model is evaluated.", rich_help_panel=_SEARCH),
    ] = None,
    max_layers: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many layers may have a codebook.", rich_help_panel=_SEARCH),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Instead of the smallest: the best metric in at most this size of all parameters, as 6MB, 600kB or 2MiB. "
            "No limit for the metric is needed then.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    strategy: Annotated[
        str,
        one_of("nuqconv.search.strategies:STRATEGIES", help="How to search.", rich_help_panel=_SEARCH),
    ] = "path",
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="End after so many evaluations without a smaller result.", rich_help_panel=_SEARCH),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(help="Journal of the search; by default SAVE_trials.sqlite.", rich_help_panel=_JOURNAL),
    ] = None,
    no_journal: Annotated[
        bool, typer.Option("--no-journal", help="Keep no journal: a stopped search is lost.", rich_help_panel=_JOURNAL)
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="If the journal is of another model, configuration or other data: keep it as NAME.1 and begin again.",
            rich_help_panel=_JOURNAL,
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Evaluate in so many processes at once.", rich_help_panel=_WORKERS),
    ] = None,
    trial_timeout: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds after which an evaluation is begun again in another process.", rich_help_panel=_WORKERS
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads of each model that runs in onnxruntime; by default all cores, with --workers a worker's share of them.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Where onnxruntime computes, as cuda,cpu: the first that can run an operator runs it. By default cpu.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    isolate: Annotated[
        bool,
        typer.Option(
            "--isolate",
            help="Run onnxruntime in a child process, so that a crash of it costs one try of one trial.",
            rich_help_panel=_ISOLATION,
        ),
    ] = False,
    memory_limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --isolate: MiB of memory that the child may have, Python and onnxruntime included.",
            rich_help_panel=_ISOLATION,
        ),
    ] = None,
    child_timeout: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="With --isolate: seconds that the child may take to load a model, or to run a batch; by default 600.",
            rich_help_panel=_ISOLATION,
        ),
    ] = None,
    on_crash: Annotated[
        str,
        one_of(
            "nuqconv.auto_nuq:ON_CRASH",
            help="A trial that ends or blocks its process at every try: stop the search, or count the trial as refused.",
            rich_help_panel=_ISOLATION,
        ),
    ] = "stop",
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
    allow_unknown_fields: AllowUnknownFields = False,
    stage: Stage = None,
    level: Level = 0,
    exact_sizes: ExactSizes = False,
) -> None:
    """Search the strongest quantization that the accuracy demand allows, and write the models and record files.

    A search that was stopped goes on when the same command is given again; "nuqconv trials show" lists what was tried.

    Examples:
        nuqconv auto deploy.prototxt weights.caffemodel --data set.npz --metric top1 --max-drop 0.01 --save out/model
        # Pictures, a folder for each class
        nuqconv auto deploy.prototxt weights.caffemodel --data photos/ --prep "bgr, resize 224x224, mean 104 117 123" --max-drop 1% --save out/model
        # Without labels
        nuqconv auto model.onnx --data set.npz --metric output_error --max-error 0.05 --save out/model
        # With an evaluator of your own
        nuqconv auto deploy.prototxt weights.caffemodel --evaluator my_eval.py:Evaluator --evaluator-arg data=photos --save out/model
    """
    from nuqconv.api import create_quant_config
    from nuqconv.auto_nuq import auto_nuq
    from nuqconv.cli.views.data import data_files
    from nuqconv.config import DEFAULT_BATCH_NUM
    from nuqconv.evaluators import BatchEvaluator
    from nuqconv.evaluators.loading import load_evaluator, parse_arguments
    from nuqconv.formats import open_model
    from nuqconv.job.output_files import model_name, output_prefix
    from nuqconv.search.metrics import parse_metric
    from nuqconv.search.run import DEFAULT_MAX_EVALUATIONS

    objective = _objective(max_layers, max_size)
    own, drop = None, None
    if evaluator is not None:
        elsewhere = None if runtime == DEFAULT else runtime
        _refuse_beside_evaluator(
            data=data,
            labels=labels,
            metric=metric,
            max_drop=max_drop,
            max_error=max_error,
            outputs=outputs,
            runtime=elsewhere,
            isolate=isolate or None,
            provider=provider,
            threads=threads,
        )
        own = load_evaluator(evaluator, parse_arguments(evaluator_arg or ()))
    elif data is None or evaluator_arg:
        raise ConfigError("give --data, or an --evaluator of your own with its --evaluator-arg")
    else:
        metric = metric or "top1"
        drop, max_error = _limit(parse_metric(metric), max_drop, max_error, needed=max_size is None)
    if journal is not None and no_journal:
        raise ConfigError("--journal and --no-journal exclude each other")
    place = _on(_runtime(runtime, isolate, memory_limit, child_timeout), provider, threads, workers)
    _check_reports(report, json, inputs=[model, weights, config, calibration, *data_files(data, prep, labels)])
    source = open_model(model, weights, read_options(allow_unknown_fields, stage, level, exact_sizes))
    prefix = output_prefix(save, model_name(source.paths, source.format))
    samples, ranges = _data_sets(source, data, prep, labels, calibration)
    shapes = _shapes(source, samples, batch_size)
    with ExitStack() as stack:
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
                    read_options=read_options(allow_unknown_fields, None, 0, exact_sizes),
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
            max_evaluations=DEFAULT_MAX_EVALUATIONS if max_evaluations is None else max_evaluations,
            timeout=timeout,
            patience=patience,
            objective=objective,
            weight_method=method_of(quick=quick),
            onnx=onnx,
            input_shapes=shapes,
            strategy=strategy,
            journal=journal or not no_journal,
            on_mismatch="restart" if restart else "refuse",
            workers=workers,
            trial_timeout=trial_timeout,
            on_crash="refuse" if on_crash == "refuse" else "stop",
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


def _runtime(name: str, isolate: bool, memory_limit: int | None, child_timeout: float | None) -> Runtime:
    """Returns the runtime with the limits of its child process."""
    from nuqconv.runtimes.table import RUNTIMES, runtime_named

    if not isolate:
        if memory_limit is not None or child_timeout is not None:
            raise ConfigError("--memory-limit and --child-timeout are limits of the child process; they need --isolate")
        return runtime_named(name)
    chosen = RUNTIMES[name]
    if "isolate" not in chosen.options():
        can = [other for other, runtime in RUNTIMES.items() if "isolate" in runtime.options()]
        raise ConfigError(f"--isolate is for {', '.join(can)}; {chosen.title} {chosen.isolation}")
    from nuqconv.runtimes.onnxruntime.isolated import LEAST_MEMORY

    if memory_limit is not None and memory_limit < LEAST_MEMORY >> 20:
        raise ConfigError(
            f"--memory-limit {memory_limit}: expected at least {LEAST_MEMORY >> 20} MiB, which onnxruntime takes before any model"
        )
    limit = None if memory_limit is None else memory_limit << 20
    return chosen.with_options(isolate=True, memory_limit=limit, timeout=child_timeout)


def _on(place: Runtime, provider: str | None, threads: int | None, workers: int | None) -> Runtime:
    """Returns the runtime with its devices and threads; workers share the cores."""
    from nuqconv.runtimes.table import RUNTIMES

    given = {"providers": provider, "threads": threads}
    refused = [name for name, value in given.items() if value is not None and name not in place.options()]
    if refused:
        can = [other for other, runtime in RUNTIMES.items() if set(refused) <= set(runtime.options())]
        raise ConfigError(f"--provider and --threads are for {', '.join(can)}; {place.title} decides that itself")
    if threads is None and workers is not None and workers > 1 and "threads" in place.options():
        threads = max(1, cores() // workers)
    options: dict[str, object] = {} if threads is None else {"threads": threads}
    if provider is not None:
        options["providers"] = tuple(name for name in names_in([provider]) if name)
    return place.with_options(**options) if options else place


def _objective(max_layers: int | None, max_size: str | None) -> Objective:
    from nuqconv.search.objective import NearestMetric, SmallestBytes

    if max_size is None:
        return SmallestBytes(max_layers)
    if max_layers is not None:
        raise ConfigError("--max-layers and --max-size exclude each other")
    return NearestMetric(parse_size(max_size))


def _limit(
    metric: Metric, max_drop: str | None, max_error: float | None, *, needed: bool
) -> tuple[float | None, float | None]:
    """Returns max_drop and max_error; a drop of an error, or a limit on an accuracy, would accept any model or none."""
    if not needed and max_drop is None and max_error is None:
        # Any metric is welcome, the nearest one wins.
        return (math.inf, None) if metric.higher_is_better else (None, math.inf)
    wanted, given = ("--max-drop", max_drop) if metric.higher_is_better else ("--max-error", max_error)
    if given is None or (max_drop is not None and max_error is not None):
        raise ConfigError(f"--metric {metric.text} needs {wanted}, and no other limit")
    return (None if max_drop is None else parse_drop(max_drop, share=metric.share)), max_error


def _refuse_beside_evaluator(**options: object) -> None:
    """An evaluator knows its data, its metric and what is demanded."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value not in (None, [])]
    if given:
        raise ConfigError(
            f"{', '.join(given)} go without --evaluator, which has data, metric and demand of its own; give it --evaluator-arg"
        )


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
