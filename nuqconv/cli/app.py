"""The application and its commands, one module each."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from nuqconv.cli.auto import auto
from nuqconv.cli.compare import compare
from nuqconv.cli.config import config
from nuqconv.cli.convert import convert
from nuqconv.cli.data import data
from nuqconv.cli.doctor import doctor
from nuqconv.cli.inspect import inspect
from nuqconv.cli.report_command import report
from nuqconv.cli.trials import trials
from nuqconv.errors import ConfigError

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
app.command()(report)
app.command()(doctor)
app.add_typer(data, name="data")
app.add_typer(trials, name="trials")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nuqconv {metadata.version('nuqconv')}")
        raise typer.Exit


def _load_plugins(names: Iterable[str]) -> None:
    # As with `python -m`, modules of the working directory can be named.
    sys.path.insert(0, str(Path.cwd()))
    try:
        for name in names:
            try:
                importlib.import_module(name)
            except Exception as error:
                raise ConfigError(
                    f"--plugin {name}: importing the module raised {type(error).__name__}: {error}"
                ) from error
    finally:
        sys.path.pop(0)


@app.callback()
def options(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say more: -v each step, -vv everything.")
    ] = 0,
    plugin: Annotated[
        list[str] | None,
        typer.Option(help="A Python module to import first, which registers layer types; may be given several times."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options before the command."""
    del version
    _load_plugins(plugin or ())
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="[%X]")
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
