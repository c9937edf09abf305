"""``nuqconv evaluator-template``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["evaluator_template"]

_DEFAULT = Path("my_eval.py")


def evaluator_template(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write; one that is there stays as it is.")
    ] = _DEFAULT,
) -> None:
    """Write an evaluator of your own to start from, for nuqconv auto --evaluator.

    Examples:
        nuqconv evaluator-template -o my_eval.py
    """
    from importlib.resources import files

    from rich.markup import escape

    from nuqconv.cli.report import new_console
    from nuqconv.errors import ConfigError
    from nuqconv.files.staging import write_atomically

    if output.suffix != ".py" or not output.stem.isidentifier():
        raise ConfigError(f"{output}: is imported as a module, so call it something like my_eval.py")
    if output.exists():
        raise ConfigError(f"{output}: is there already, and may hold your work; give another name")
    write_atomically(output, files("nuqconv.cli.templates").joinpath("evaluator.txt").read_text(encoding="utf-8"))
    console = new_console()
    console.print(f"written to {escape(str(output))}", soft_wrap=True)
    console.print(
        f"next: nuqconv auto deploy.prototxt weights.caffemodel --evaluator {escape(str(output))}:Evaluator --evaluator-arg data=FILE "
        "--save out/model",
        soft_wrap=True,
    )
