"""``nuqconv compare``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nuqconv.cli.options import parse_shapes
from nuqconv.cli.report import new_console, new_table
from nuqconv.comparison import BlobComparison, Divergence
from nuqconv.comparison.compare import CompareReport, Model
from nuqconv.comparison.compare import compare as compare_models
from nuqconv.data.datafile import read_arrays
from nuqconv.errors import ConfigError
from nuqconv.files.staging import check_targets, write_atomically
from nuqconv.formats import open_models
from nuqconv.ir import Array

__all__ = ["compare"]


class Runtime(str, Enum):
    """Where a model runs."""

    AUTO = "auto"
    CAFFE = "caffe"
    ONNXRUNTIME = "onnxruntime"
    OPENCV = "opencv"
    CAFFE2ONNX = "caffe2onnx"


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(help="One or two models: a .prototxt followed by its .caffemodel, or an .onnx file."),
    ],
    runtime: Annotated[
        list[Runtime] | None,
        typer.Option(
            help="Runtime of the first model; given twice, of the second too. auto is real Caffe where it is there, else onnxruntime."
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
    if json is not None:
        check_targets([json], inputs=[*files, *([inputs] if inputs else [])])
    models, names = _models(files), [item.value for item in runtime or ()]
    if len(names) > 2:
        raise ConfigError(f"--runtime is given {len(names)} times; there are two sides")
    names += [Runtime.AUTO.value] * (2 - len(names))
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
    _print(report, console)
    if json is not None:
        write_atomically(json, report.to_json())
    if not report.agrees:
        raise typer.Exit(1)


def _models(files: Sequence[Path]) -> list[Model]:
    models = open_models(files)
    if len(models) > 2:
        raise ConfigError(f"{len(models)} models are given; two can be compared")
    return [(model.model, model.weights) if model.format.runs_in_caffe else model.model for model in models]


def _inputs(path: Path) -> dict[str, Array]:
    """The arrays of a file; whole numbers become float32, as blobs are."""
    return {name: array.astype("float32") for name, array in read_arrays(path).items()}


def _print(report: CompareReport, console: Console) -> None:
    for letter, side in zip("ab", report.sides, strict=True):
        console.print(f"[bold]{letter}[/]  {escape(side)}", soft_wrap=True)
    shapes = ", ".join(f"{name} {_shape(shape)}" for name, shape in report.inputs.items())
    console.print(f"[bold]inputs[/]  {escape(shapes)}: {escape(report.source)}\n", soft_wrap=True)
    console.print(_table(report))
    console.print()
    for note in report.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    for name, reason in report.not_compared.items():
        console.print(f"[red]not compared:[/] {escape(name)}: {escape(reason)}", soft_wrap=True)
    if report.first is not None:
        _print_first(report.first, console)
    bad = sum(not item.agrees for item in report.blobs)
    within = f"rtol {report.rtol:g}, atol {report.atol:g}"
    if report.agrees:
        console.print(f"[bold green]all {len(report.blobs)} common blobs agree[/] ({within})", soft_wrap=True)
    elif bad:
        console.print(f"[bold red]{bad} of {len(report.blobs)} common blobs differ[/] ({within})", soft_wrap=True)
    else:
        console.print(
            f"[bold red]not proven:[/] the {len(report.blobs)} common blobs agree, but not all that was wanted is among them",
            soft_wrap=True,
        )


def _table(report: CompareReport) -> Table:
    numbers = ("max abs", "relative", "cosine", "top-1")
    table = new_table("blob", "layer", "type", "shape", *numbers, "", right=numbers)
    for item in report.blobs:
        top1 = "" if item.top1 is None else f"{item.top1:.0%}"
        verdict = "[green]equal" if item.agrees else f"[red]{item.differing:,} differ"
        table.add_row(
            escape(item.name),
            escape(item.layer),
            escape(item.layer_type),
            _shapes(item),
            f"{item.max_abs:.2e}",
            f"{item.relative:.2e}",
            f"{item.cosine:.6f}",
            top1,
            verdict,
        )
    return table


def _print_first(first: Divergence, console: Console) -> None:
    console.print(f"[bold red]first difference[/] in {escape(first.place)}", soft_wrap=True)
    if first.parameters:
        console.print(f"  parameters: {escape(first.parameters)}", soft_wrap=True)
    if first.index is not None and first.values is not None:
        place = ", ".join(map(str, first.index))
        values = f"{first.values[0]:.7g} against {first.values[1]:.7g}"
        console.print(f"  largest at {escape(first.blob)}\\[{place}]: {values}", soft_wrap=True)
    for number, cause in enumerate(first.causes):
        label = "likely cause" if number == 0 else "or"
        console.print(f"  {label}: {escape(cause)}", soft_wrap=True)
    if first.suspects:
        console.print(
            f"  could not be compared one by one before it: {escape(', '.join(first.suspects))}", soft_wrap=True
        )


def _shapes(item: BlobComparison) -> str:
    one, two = item.shapes
    return _shape(one) if one == two else f"{_shape(one)} | {_shape(two)}"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"
