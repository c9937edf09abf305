"""``nuqconv reduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nuqconv.cli.data_options import DATA_HELP, Prep
from nuqconv.cli.lazy import names_in, one_of
from nuqconv.cli.model_options import Computing, Reading
from nuqconv.cli.options import (
    InputShape,
    Seed,
    parse_shapes,
)
from nuqconv.errors import ConfigError, NothingToReduceError
from nuqconv.runtimes.table import AUTO

__all__ = ["reduce"]

_COMMAND = "A command that fails"


def reduce(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(help="One or two models: a .prototxt followed by its .caffemodel, or an .onnx file."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write the part into.")] = Path(
        "reduced"
    ),
    runtime: Annotated[
        str | None,
        one_of(
            "nuqconv.runtimes.table:NAMES_AND_AUTO",
            several=True,
            help="The runtimes of the two sides, with a comma between them; of one name the second side's is chosen.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help=f"{DATA_HELP} The arrays of a .npz need not have one number of samples; of other data the first "
            "{nuqconv.comparison.inputs:SAMPLES} are taken. By default random numbers."
        ),
    ] = None,
    prep: Prep = None,
    input_shape: InputShape = None,
    seed: Seed = 0,
    rtol: Annotated[float, typer.Option(min=0, help="Relative tolerance.")] = 1e-3,
    atol: Annotated[
        float, typer.Option(min=0, help="Absolute tolerance; a multiple of the largest number where that exceeds 1.")
    ] = 1e-5,
    command: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="A command that fails with the model, instead of two sides that differ. {model}, {weights} and {inputs} in it are a part's files.",
            rich_help_panel=_COMMAND,
        ),
    ] = None,
    exit_code: Annotated[
        int | None,
        typer.Option(
            help="How it ends when it fails; by default with any code but 0, and then with the same one.",
            rich_help_panel=_COMMAND,
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="What its output has in it when it fails.", rich_help_panel=_COMMAND)
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1, help="Seconds that it may take; longer does not count as failing.", rich_help_panel=_COMMAND
        ),
    ] = 600.0,
    max_runs: Annotated[int, typer.Option(min=1, help="Most parts to look at; the smallest so far is written.")] = 200,
    computing: Computing = Computing(),
    reading: Reading = Reading(),
) -> None:
    """Find the smallest part of a model that still differs in two runtimes, or with which a command still fails: for a bug report.

    The folder then holds the part's model files, the inputs that its layers had in the whole model, and a README.txt with the command that shows it.

    Exit codes: 0 a part is written, 1 there is nothing to reduce, 2 wrong usage or input.

    Examples:
        nuqconv reduce deploy.prototxt weights.caffemodel --runtime caffe,onnxruntime -o bug
        # Two models
        nuqconv reduce deploy.prototxt weights.caffemodel model.onnx -o bug
        # A command that fails
        nuqconv reduce model.onnx --command "python check.py {model} {inputs}" -o bug
    """
    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.data import data_files, run_inputs
    from nuqconv.cli.views.reduction import Progress, print_nothing, print_reduced
    from nuqconv.comparison.reduction.reduce import reduce as reduce_model
    from nuqconv.comparison.reduction.result import possible_targets
    from nuqconv.files.staging import check_targets
    from nuqconv.formats import open_models

    options = reading.options()
    models = open_models(files, options)
    if len(models) > 2:
        raise ConfigError(f"{len(models)} models are given; a difference has two sides")
    names = [] if runtime is None else names_in([runtime])
    if len(names) > 2:
        raise ConfigError(f"--runtime names {len(names)} runtimes; there are two sides")
    if command is not None and names:
        raise ConfigError("--runtime is of two sides that differ; with --command the command says where the model runs")
    check_targets(possible_targets(output), inputs=[*files, *data_files(data, prep, None)])
    names += [AUTO] * (2 - len(names))
    plugins = [] if context.parent is None else context.parent.params.get("plugin") or []
    console = new_console()
    try:
        with computing.in_force(() if command else names), Progress() as progress:
            found = reduce_model(
                *models,
                command=command,
                exit_code=exit_code,
                text=text,
                timeout=timeout,
                inputs=None if data is None else run_inputs(data, prep, models[0]),
                runtimes=(names[0], names[1]),
                input_shapes=parse_shapes(input_shape),
                seed=seed,
                rtol=rtol,
                atol=atol,
                read_options=options,
                max_runs=max_runs,
                tool=" ".join(["nuqconv", *(f"--plugin {name}" for name in plugins)]),
                on_attempt=progress.tell,
            )
    except NothingToReduceError as error:
        print_nothing(error, console)
        raise typer.Exit(1) from error
    print_reduced(found, found.save(output), console)
