"""``nuqconv convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nuqconv.cli.model_options import Reading
from nuqconv.cli.options import Model, Weights, parse_shapes

__all__ = ["convert"]


def convert(
    model: Model,
    weights: Weights = None,
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="TARGET",
            help="What to write, which has to be said: .onnx, or .prototxt for a Caffe model of current layers.",
        ),
    ] = None,
    target_weights: Annotated[
        Path | None,
        typer.Argument(help="The .caffemodel to write beside a .prototxt; by default of the same name."),
    ] = None,
    opset: Annotated[
        int | None, typer.Option(help="ONNX opset, 13 or later; by default the newest that onnxruntime runs here.")
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:SHAPE", help="Another shape for an input, as NAME:1,3,300,300; may be given several times."
        ),
    ] = None,
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="Leave the batch size open (N) in the ONNX model.")
    ] = False,
    fold: Annotated[
        bool, typer.Option("--fold/--no-fold", help="Multiply BatchNorm and Scale into the weights beside them.")
    ] = False,
    integer: Annotated[
        bool, typer.Option("--integer", help="Of a deploy model: let quantized layers compute on integers in ONNX.")
    ] = False,
    outputs: Annotated[
        list[str] | None,
        typer.Option(metavar="BLOB", help="A blob to end at instead of the net's outputs; may be given several times."),
    ] = None,
    reading: Reading = Reading(),
    force: Annotated[
        bool, typer.Option("--force", help="Replace model files that nuqconv did not write, or that were edited since.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write the summary as JSON to this file.")] = None,
) -> None:
    """Convert between Caffe and ONNX, or within one of them.

    Examples:
        nuqconv convert deploy.prototxt weights.caffemodel model.onnx --dynamic-batch
        nuqconv convert model.onnx deploy.prototxt --input-shape x:1,3,48,192
    """
    from rich.markup import escape

    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.conversion import print_conversion
    from nuqconv.files.staging import check_targets, write_atomically
    from nuqconv.formats.convert import convert as convert_model
    from nuqconv.formats.convert import source_and_rest
    from nuqconv.job.console import error_console

    if json is not None:
        check_targets([json], inputs=[path for path in (model, weights, target, target_weights) if path is not None])
    console = new_console()
    with error_console().status(f"converting {escape(str(model))}"):
        source, targets = source_and_rest(model, [weights, target, target_weights], reading.options())
        result = convert_model(
            source,
            *targets[:3],
            opset=opset,
            input_shapes=parse_shapes(input_shape),
            dynamic_batch=dynamic_batch,
            fold=fold,
            integer=integer,
            outputs=outputs,
            force=force,
        )
    print_conversion(result, console)
    if json is not None:
        write_atomically(json, result.to_json())
