"""``nuqconv compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nuqconv.cli.data_options import DATA_HELP, Prep
from nuqconv.cli.lazy import names_in, one_of
from nuqconv.cli.model_options import Computing, Reading
from nuqconv.cli.options import (
    InputShape,
    Seed,
    parse_shapes,
    parse_size,
)
from nuqconv.errors import ConfigError
from nuqconv.runtimes.table import AUTO

if TYPE_CHECKING:
    from nuqconv.comparison.compare import Model
    from nuqconv.comparison.quantization import QuantizationReport
    from nuqconv.data import DataSet
    from nuqconv.formats.source import ModelFiles
    from nuqconv.frontends.options import ReadOptions
    from nuqconv.ir import Array

__all__ = ["compare"]

_QUANTIZED = "A model and the same model quantized"
_EQUAL = "What counts as equal"
_FILES = "Results of a runtime that is not everywhere"


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(help="One or two models: a .prototxt followed by its .caffemodel, or an .onnx file."),
    ],
    runtime: Annotated[
        list[str] | None,
        one_of(
            "nuqconv.runtimes.table:NAMES_AND_AUTO",
            several=True,
            help="The runtimes, with commas between names: the first is that of the first model, which the others are held against, a column each. "
            "A single model runs in all of them, the second of two in all but the first.",
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(hidden=True),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help=f"{DATA_HELP} The arrays of a .npz need not have one number of samples; of other data the first "
            "{nuqconv.comparison.inputs:SAMPLES} are taken, where no model is quantized. By default random numbers."
        ),
    ] = None,
    prep: Prep = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Most samples of --data.", rich_help_panel=_QUANTIZED)
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Exit with 1 if an output of the quantized model has a larger relative error; without it the exit code is 0.",
            rich_help_panel=_QUANTIZED,
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Compare number by number, though one of the models is quantized.",
            rich_help_panel=_QUANTIZED,
        ),
    ] = False,
    input_shape: InputShape = None,
    seed: Seed = 0,
    outputs: Annotated[
        list[str] | None,
        typer.Option(metavar="BLOB", help="A blob to compare instead of all; may be given several times."),
    ] = None,
    rtol: Annotated[float, typer.Option(min=0, help="Relative tolerance.", rich_help_panel=_EQUAL)] = 1e-3,
    atol: Annotated[
        float,
        typer.Option(
            min=0,
            help="Absolute tolerance; a multiple of the largest number where that exceeds 1.",
            rich_help_panel=_EQUAL,
        ),
    ] = 1e-5,
    quantile: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of a blob's numbers that must be within the tolerance.", rich_help_panel=_EQUAL
        ),
    ] = 1.0,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BLOB:rtol=X,atol=Y,quantile=Z",
            help="Tolerance of a blob, or of all that a pattern such as 'fc*' fits; may be given several times.",
            rich_help_panel=_EQUAL,
        ),
    ] = None,
    function: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py[:NAME]",
            help="A function of yours that decides instead of tolerances: compare(name, found, reference) returns True or False, or a pair of that "
            "and a text.",
            rich_help_panel=_EQUAL,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write inputs and all results of the first side to this .npz file.", rich_help_panel=_FILES),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Take the results in a file of --save for the first side, with its inputs: what runs here is held against them.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    memory: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Memory that the blobs of one side may take at once; more of them are compared in several runs.",
        ),
    ] = "512MiB",
    computing: Computing = Computing(),
    reading: Reading = Reading(),
    json: Annotated[Path | None, typer.Option(help="Write the report as JSON to this file.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write it as a page to this file.", rich_help_panel=_QUANTIZED)
    ] = None,
) -> None:
    """Run two models, or one model in several runtimes, on the same inputs, compare every common blob, and name the layers that differ by themselves.

    Of a model and the same model quantized by nuqconv it says instead where the quantization hurts: the error of every quantized layer, in the
    network and alone.

    Exit codes: 0 no difference was found, 1 they differ, 2 wrong usage or input.

    Examples:
        nuqconv compare deploy.prototxt weights.caffemodel model.onnx
        # One model in several runtimes
        nuqconv compare deploy.prototxt weights.caffemodel --runtime caffe,opencv,onnxruntime
        # Where quantization hurts
        nuqconv compare deploy.prototxt weights.caffemodel out/net_fake_quant_model.prototxt out/net_fake_quant_weights.caffemodel --data set.npz
    """
    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.comparison import print_comparison
    from nuqconv.cli.views.data import data_files, data_set, run_inputs
    from nuqconv.comparison.compare import CompareOptions
    from nuqconv.comparison.compare import compare as compare_models
    from nuqconv.comparison.quantization import compare_quantized
    from nuqconv.comparison.tolerance import Tolerance, parse_tolerances
    from nuqconv.evaluators.loading import load_function
    from nuqconv.files.staging import check_targets, write_atomically
    from nuqconv.formats import open_models
    from nuqconv.job.console import error_console

    targets = [path for path in (json, html, save) if path is not None]
    read = [*files, *data_files(inputs, None, None), *data_files(data, prep, None), *filter(None, [against])]
    check_targets(targets, inputs=read)
    shapes, options = parse_shapes(input_shape), reading.options()
    if inputs is not None and data is not None:
        raise ConfigError("--inputs and --data exclude each other")
    by_number = exact or runtime or outputs or tolerance or function or save or against
    pair = None if by_number else _quantized(files, shapes, options)
    if pair is not None:
        taken: DataSet | Mapping[str, Array] | None = None if inputs is None else run_inputs(inputs, prep, pair[0])
        if data is not None:
            taken = data_set(data, prep, None, pair[0])
        with computing.in_force(), error_console().status("running both"):
            found = compare_quantized(
                *pair, data=taken, limit=samples, input_shapes=shapes, seed=seed, max_error=max_error
            )
        _show_quantized(found, json, html)
        return
    inputs = data if inputs is None else inputs
    only = {
        "--prep": None if inputs else prep,
        "--samples": samples,
        "--max-error": max_error,
        "--html": html,
    }
    given = [name for name, value in only.items() if value is not None]
    if given:
        raise ConfigError(
            f"{', '.join(given)}: is for a float model and the same model quantized, and these are not; "
            "other models are compared number by number, on --data or random numbers, and --json writes their report"
        )
    names = names_in(runtime or (AUTO,))
    default = Tolerance(rtol, atol, quantile)
    with computing.in_force(names), error_console().status("running all sides"):
        report = compare_models(
            *_models(files, options),
            inputs=None if inputs is None else run_inputs(inputs, prep, open_models(files, options)[0]),
            runtimes=names,
            options=CompareOptions(
                blobs=outputs,
                input_shapes=shapes,
                seed=seed,
                tolerance=default,
                tolerances=parse_tolerances(tolerance, default),
                function=None if function is None else load_function(function, "compare"),
                memory=int(parse_size(memory)),
                save=save,
                against=against,
            ),
        )
    print_comparison(report, new_console())
    if json is not None:
        write_atomically(json, report.to_json())
    if not report.agrees:
        raise typer.Exit(1)


def _show_quantized(report: QuantizationReport, json: Path | None, html: Path | None) -> None:
    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.quantization import print_quantization
    from nuqconv.files.staging import write_atomically
    from nuqconv.report.html.comparison import comparison_page

    print_quantization(report, new_console())
    for path, make in ((json, report.to_json), (html, partial(comparison_page, report))):
        if path is not None:
            write_atomically(path, make())
    if not report.agrees:
        raise typer.Exit(1)


def _quantized(
    files: Sequence[Path], shapes: Mapping[str, tuple[int, ...]], options: ReadOptions
) -> tuple[ModelFiles, ModelFiles] | None:
    """Returns a float model and the same one quantized, if these are such."""
    from nuqconv.comparison.quantization import original_and_quantized
    from nuqconv.formats import ReadOptions, open_models

    models = open_models(files, options)
    return (
        original_and_quantized(models[0], models[1], ReadOptions(shapes, cut_for_inference=True))
        if len(models) == 2
        else None
    )


def _models(files: Sequence[Path], options: ReadOptions) -> list[Model]:
    from nuqconv.formats import open_models

    models = open_models(files, options)
    if len(models) > 2:
        raise ConfigError(f"{len(models)} models are given; two can be compared")
    return list(models)
