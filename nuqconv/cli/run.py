"""``nuqconv run``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["run"]


def run(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(help="The script.", exists=True, dir_okay=False)],
    args: Annotated[list[str] | None, typer.Argument(help="Its arguments.")] = None,
) -> None:
    """Run a script written for pycaffe: `import caffe` in it means nuqconv.pycaffe, whose nets need no Caffe.

    Nets run in onnxruntime, or with NUQCONV_PYCAFFE=caffe in real Caffe in a child process. `import amct_caffe` means nuqconv.compat.

    Exit code: the script's; 1 if it raised.

    Examples:
        nuqconv run evaluate.py
    """
    from nuqconv.compat import install
    from nuqconv.pycaffe.installation import run_as_program

    install()
    if context.parent is None or not context.parent.params.get("verbose"):
        # A script's own logging.basicConfig does nothing where there are handlers already.
        root = logging.getLogger()
        for handler in list(root.handlers):
            root.removeHandler(handler)
    raise typer.Exit(run_as_program(script, args or ()))
