"""``nuqconv dump``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nuqconv.cli.data_options import DATA_HELP, Prep
from nuqconv.cli.lazy import one_of
from nuqconv.cli.model_options import Computing, Reading
from nuqconv.cli.options import (
    InputShape,
    Seed,
    parse_shapes,
)
from nuqconv.errors import ConfigError
from nuqconv.runtimes.table import AUTO

__all__ = ["dump"]


def dump(
    files: Annotated[
        list[Path], typer.Argument(help="The model: a .prototxt followed by its .caffemodel, or an .onnx file.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write the files into.")],
    data: Annotated[Path | None, typer.Option(help=f"By default random numbers. {DATA_HELP}")] = None,
    prep: Prep = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="How many of --data; by default as many as the model's batch has.")
    ] = None,
    runtime: Annotated[
        str, one_of("nuqconv.runtimes.table:NAMES_AND_AUTO", help="Where the model runs: real Caffe or onnxruntime.")
    ] = AUTO,
    input_shape: InputShape = None,
    seed: Seed = 0,
    timestamp: Annotated[
        int | None,
        typer.Option(min=0, help="The number in the names, of up to 16 digits; by default the time in microseconds."),
    ] = None,
    computing: Computing = Computing(),
    reading: Reading = Reading(),
) -> None:
    """Write the output of every layer as .npy files, in the naming of Ascend's comparator, from real Caffe or onnxruntime.

    The files are called LAYER.INDEX.TIMESTAMP.npy, with _ for / and . of the layer's name. Each holds what that layer made, also where a later
    layer changes the blob in place, and the .prototxt stays as it is.

    Examples:
        nuqconv dump deploy.prototxt weights.caffemodel --data set.npz -o dumps/float
        # The quantized model
        nuqconv dump out/net_deploy_model.prototxt out/net_deploy_weights.caffemodel --data set.npz -o dumps/int8
    """
    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.data import data_files, data_set
    from nuqconv.cli.views.dumped import print_dumped
    from nuqconv.comparison.dump import dump as dump_model
    from nuqconv.files.staging import check_targets
    from nuqconv.formats import open_models
    from nuqconv.job.console import error_console

    if data is None and not (prep is None and samples is None):
        raise ConfigError("--prep and --samples are for --data")
    models = open_models(files, reading.options())
    if len(models) != 1:
        raise ConfigError(f"{len(models)} models are given; dump them one after the other, into folders of their own")
    check_targets([output / "layer.npy"], inputs=[*files, *data_files(data, prep, None)])
    taken = None if data is None else data_set(data, prep, None, models[0])
    with computing.in_force([runtime]), error_console().status("running the model"):
        found = dump_model(
            models[0],
            output,
            data=taken,
            samples=samples,
            runtime=runtime,
            input_shapes=parse_shapes(input_shape),
            seed=seed,
            timestamp=timestamp,
        )
    print_dumped(found, output, new_console())
