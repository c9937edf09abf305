"""``nuqconv compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nuqconv.cli.lazy import one_of
from nuqconv.cli.options import parse_shapes
from nuqconv.errors import ConfigError
from nuqconv.runtimes.table import AUTO

if TYPE_CHECKING:
    from nuqconv.comparison.compare import Model
    from nuqconv.ir import Array

__all__ = ["compare"]


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(help="One or two models: a .prototxt followed by its .caffemodel, or an .onnx file."),
    ],
    runtime: Annotated[
        list[str] | None,
        one_of(
            "nuqconv.runtimes.table:NAMES_AND_AUTO",
            help="Runtime of the first model; given twice, of the second too.",
        ),
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option(help="Inputs, .npz with one array for each input blob; by default random numbers.")
    ] = None,
    input_shape: Annotated[
        list[str] | None, typer.Option(help="Shape of a random input, as NAME:1,3,300,300; may be given several times.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random inputs.")] = 0,
    blob: Annotated[
        list[str] | None, typer.Option(help="A blob to compare instead of all; may be given several times.")
    ] = None,
    rtol: Annotated[float, typer.Option(min=0, help="Relative tolerance.")] = 1e-3,
    atol: Annotated[
        float, typer.Option(min=0, help="Absolute tolerance; a multiple of the largest number where that exceeds 1.")
    ] = 1e-5,
    json: Annotated[Path | None, typer.Option(help="Write the report as JSON to this file.")] = None,
) -> None:
    """Run two models, or one model in two runtimes, on the same inputs, compare every common blob, and name the first layer that differs.

    Exit codes: 0 they agree, 1 they differ, 2 wrong usage or input.

    Example: nuqconv compare deploy.prototxt weights.caffemodel model.onnx
    """
    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.comparison import print_comparison
    from nuqconv.comparison.compare import compare as compare_models
    from nuqconv.files.staging import check_targets, write_atomically

    if json is not None:
        check_targets([json], inputs=[*files, *([inputs] if inputs else [])])
    models, names = _models(files), [*(runtime or ())]
    if len(names) > 2:
        raise ConfigError(f"--runtime is given {len(names)} times; there are two sides")
    names += [AUTO] * (2 - len(names))
    console = new_console()
    with console.status("running both"):
        report = compare_models(
            *models,
            inputs=None if inputs is None else _inputs(inputs),
            runtimes=(names[0], names[1]),
            blobs=blob,
            input_shapes=parse_shapes(input_shape),
            seed=seed,
            rtol=rtol,
            atol=atol,
        )
    print_comparison(report, console)
    if json is not None:
        write_atomically(json, report.to_json())
    if not report.agrees:
        raise typer.Exit(1)


def _models(files: Sequence[Path]) -> list[Model]:
    from nuqconv.formats import open_models

    models = open_models(files)
    if len(models) > 2:
        raise ConfigError(f"{len(models)} models are given; two can be compared")
    return [(model.model, model.weights) if model.format.runs_in_caffe else model.model for model in models]


def _inputs(path: Path) -> dict[str, Array]:
    """The arrays of a file; whole numbers become float32, as blobs are."""
    from nuqconv.data.datafile import read_arrays

    return {name: array.astype("float32") for name, array in read_arrays(path).items()}
