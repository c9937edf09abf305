"""``nuqconv quantize``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nuqconv.cli.data_options import DATA_HELP, Labels, Prep
from nuqconv.cli.judging import Judging
from nuqconv.cli.model_options import Computing, Fitting, Reading
from nuqconv.cli.options import Model, Save, Weights
from nuqconv.errors import ConfigError

__all__ = ["quantize"]


def quantize(
    model: Model,
    save: Save,
    weights: Weights = None,
    data: Annotated[
        Path | None,
        typer.Option(help=f"To calibrate on; not needed if an --evaluator offers batches. {DATA_HELP}"),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What each layer becomes: 'conv1=16 ip1=int8 *=float', a number of levels from 2 to 256, int8 or float; "
            "* is all that are not named. By default all are int8.",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A quantization configuration instead; its num_steps is what NUQ layers get.")
    ] = None,
    prep: Prep = None,
    labels: Labels = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Also measure the original and the result on all of --data, top1 where a limit is given: {nuqconv.search.metrics:METRIC_NAMES}.",
        ),
    ] = None,
    judging: Judging = Judging(),
    record: Annotated[
        Path | None, typer.Option(help="Quantization factor record to write; by default beside the other files.")
    ] = None,
    batch_num: Annotated[
        int | None, typer.Option(min=1, help="Batches to calibrate on; by default what --config says, else at most 8.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in a batch.")] = 32,
    offset: Annotated[bool, typer.Option(help="Allow activations an offset (asymmetric) or not.")] = True,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write ONNX models too; always done for an .onnx model.")
    ] = False,
    fitting: Fitting = Fitting(),
    computing: Computing = Computing(),
    reading: Reading = Reading(),
) -> None:
    """Quantize a net as you say, without a search, and write the models and record files.

    Exit codes: 0 done, and as good as demanded; 1 written, but worse than --max-drop, --max-error or --evaluator allow; 2 wrong usage or input.

    Examples:
        nuqconv quantize deploy.prototxt weights.caffemodel --data set.npz --layers "conv1=16 *=int8" --save out/net
        # Uniform int8
        nuqconv quantize model.onnx --data set.npz --save out/net
        # One question instead of a search: is at most 1% lost?
        nuqconv quantize deploy.prototxt weights.caffemodel --data set.npz --layers "*=16" --max-drop 1% --save out/net
        # The same, asked of an evaluator of your own
        nuqconv quantize model.onnx --evaluator my_eval.py:Evaluator --evaluator-arg data=photos --layers "*=16" --save out/net
    """
    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.data import data_files, data_set, say_data
    from nuqconv.cli.views.quantized import print_quantized
    from nuqconv.files.staging import check_targets
    from nuqconv.formats import open_model
    from nuqconv.job.choice import parse_choice
    from nuqconv.job.options import PrepareOptions
    from nuqconv.job.output_files import OutputFiles, model_name, output_prefix, record_path
    from nuqconv.job.typed import quantize as run
    from nuqconv.search.metrics import parse_metric

    choice = None if layers is None else parse_choice(layers)
    own = judging.own(labels=labels, metric=metric)
    if own is None and data is None:
        raise ConfigError("give --data to calibrate on, or an --evaluator of your own with its --evaluator-arg")
    drop = max_error = None
    if judging.limited:
        metric = metric or "top1"
        drop, max_error = judging.limit(parse_metric(metric))
    source = open_model(model, weights, reading.options())
    prefix = output_prefix(save, model_name(source.paths, source.format))
    inputs = [*source.paths, *data_files(data, prep, labels), *([config] if config else [])]
    targets = OutputFiles.for_prefix(prefix, record or record_path(prefix))
    check_targets(targets.present().values(), inputs=inputs)
    samples = None if data is None else data_set(data, prep, labels, source)
    console = new_console()
    if samples is not None:
        say_data(samples, console)
    with computing.in_force():
        result = run(
            source,
            choice,
            data=samples,
            config=config,
            metric=metric,
            max_drop=drop,
            max_error=max_error,
            evaluator=own,
            batch_num=batch_num,
            batch_size=batch_size,
            activation_offset=offset,
            options=PrepareOptions(
                weight_method=fitting.method(), sequential=fitting.sequential, weights_only=fitting.weights_only
            ),
        )
    files = result.save(save, record=record, onnx=onnx)
    print_quantized(result, files, console)
    if result.accepted is False:
        raise typer.Exit(1)
