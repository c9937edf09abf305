"""``nuqconv config``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nuqconv.cli.model_options import Reading
from nuqconv.cli.options import Weights

__all__ = ["config"]


def config(
    model: Annotated[Path, typer.Argument(help="The net, .prototxt or .onnx.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The configuration to write, JSON.")],
    weights: Weights = None,
    definition: Annotated[
        Path | None, typer.Option(help="A simplified configuration (protobuf text) to follow.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="LAYER", help="A layer to leave in float; may be given several times.")
    ] = None,
    batch_num: Annotated[
        int | None,
        typer.Option(min=1, help="Batches to calibrate on; by default {nuqconv.config:DEFAULT_BATCH_NUM}."),
    ] = None,
    offset: Annotated[bool, typer.Option(help="Allow activations an offset (asymmetric) or not.")] = True,
    ddr_rate: Annotated[
        float | None,
        typer.Option(
            help="Let only layers be compressed for which the device itself would find it worth while, at this memory rate.",
            rich_help_panel="For a device",
        ),
    ] = None,
    reading: Reading = Reading(),
) -> None:
    """Write a quantization configuration for a model, ready to be edited.

    Examples:
        nuqconv config deploy.prototxt weights.caffemodel -o config.json
    """
    from rich.markup import escape

    from nuqconv.api import create_quant_config
    from nuqconv.cli.report import config_table, new_console
    from nuqconv.config import DEFAULT_BATCH_NUM, load_config
    from nuqconv.formats import open_model
    from nuqconv.job.layer_facts import layer_facts

    source = open_model(model, weights, reading.options())
    create_quant_config(
        output,
        source,
        None,
        skip_layers=skip,
        batch_num=DEFAULT_BATCH_NUM if batch_num is None else batch_num,
        activation_offset=offset,
        config_defination=definition,
        device_rule=ddr_rate,
    )
    graph = source.read().graph
    console = new_console()
    console.print(config_table(load_config(output, layer_facts(graph)), graph))
    console.print(f"\nwritten to {escape(str(output))}", soft_wrap=True)
