"""``nuqconv inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nuqconv.cli.model_options import Reading

__all__ = ["inspect"]


def inspect(
    files: Annotated[
        list[Path], typer.Argument(help="Files; a .prototxt followed by its .caffemodel is read as one model.")
    ],
    layers: Annotated[
        bool, typer.Option("--layers", "-l", help="Also list every layer with shapes, parameters and line.")
    ] = False,
    reading: Reading = Reading(),
) -> None:
    """Show what is in model, record, configuration and data files.

    Examples:
        nuqconv inspect deploy.prototxt weights.caffemodel --layers
        nuqconv inspect out/model_scale_offset_record.txt
    """
    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.files import print_files

    print_files(files, new_console(), layers=layers, options=reading.options())
