"""The application and its commands, one module each."""

from __future__ import annotations

import logging
from importlib import metadata
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from nuqconv.cli.auto import auto
from nuqconv.cli.compare import compare
from nuqconv.cli.config import config
from nuqconv.cli.convert import convert
from nuqconv.cli.doctor import doctor
from nuqconv.cli.inspect import inspect

__all__ = ["app"]

app = typer.Typer(
    name="nuqconv",
    help="Finds the strongest non-uniform weight quantization of a trained Caffe model that your accuracy demand allows.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command()(auto)
app.command()(config)
app.command()(convert)
app.command()(compare)
app.command()(inspect)
app.command()(doctor)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nuqconv {metadata.version('nuqconv')}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say more: -v each step, -vv everything.")
    ] = 0,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options before the command."""
    del version
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="[%X]")
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
