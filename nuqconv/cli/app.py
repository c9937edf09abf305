"""The application and the table of its commands, one module each."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from nuqconv import __version__
from nuqconv.cli.lazy import VERBOSE_HELP, Place, group_of, make_app
from nuqconv.cli.messages import start_messages
from nuqconv.errors import ConfigError

__all__ = ["COMMANDS", "app"]

COMMANDS = {
    "auto": Place(
        "nuqconv.cli.auto",
        "Search the strongest quantization that the accuracy demand allows, and write the models and record files.",
    ),
    "quantize": Place(
        "nuqconv.cli.quantize",
        "Quantize a net as you say, without a search, and write the models and record files.",
    ),
    "config": Place("nuqconv.cli.config", "Write a quantization configuration for a model, ready to be edited."),
    "convert": Place("nuqconv.cli.convert", "Convert between Caffe and ONNX, or within one of them."),
    "compare": Place(
        "nuqconv.cli.compare",
        "Run two models, or one model in several runtimes, on the same inputs, compare every common blob, and name the layers that differ by "
        "themselves.",
    ),
    "reduce": Place(
        "nuqconv.cli.reduce",
        "Find the smallest part of a model that still differs in two runtimes, or with which a command still fails: for a bug report.",
    ),
    "dump": Place(
        "nuqconv.cli.dump",
        "Write the output of every layer as .npy files, in the naming of Ascend's comparator, from real Caffe or onnxruntime.",
    ),
    "evaluate": Place(
        "nuqconv.cli.evaluate",
        "Measure the metric of one or several models in one or several runtimes, side by side, and say which samples differ from the first.",
    ),
    "evaluator-template": Place(
        "nuqconv.cli.evaluator_template",
        "Write an evaluator of your own to start from, for nuqconv auto --evaluator.",
    ),
    "data": Place(
        "nuqconv.cli.data",
        "Say what the net sees of a data set, write it, or check how it is prepared: nuqconv data SOURCE, nuqconv data check MODEL.",
    ),
    "inspect": Place("nuqconv.cli.inspect", "Show what is in model, record, configuration and data files."),
    "report": Place(
        "nuqconv.cli.report_command",
        "Write what a search found as one page, also while it runs or after it was stopped. The page needs no network and nothing beside it.",
    ),
    "run": Place(
        "nuqconv.cli.run",
        "Run a script written for pycaffe: `import caffe` in it means nuqconv.pycaffe, whose nets need no Caffe.",
        # Everything behind the script is the script's.
        {"allow_interspersed_args": False, "ignore_unknown_options": True},
    ),
    "doctor": Place("nuqconv.cli.doctor", "Say which runtimes are there, and how to get the missing ones."),
    "trials": Place(
        "nuqconv.cli.trials",
        "Look into the journal of a search, also while it runs: what was tried, with what result, and what it is a search of.",
    ),
}
"""A command's module is imported when the command runs, and imports what it needs for its work when it works."""

app = make_app(
    name="nuqconv",
    cls=group_of(COMMANDS),
    add_completion=True,
    help="Finds the strongest non-uniform weight quantization of a trained Caffe model that your accuracy demand allows.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nuqconv {__version__}")
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
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help=VERBOSE_HELP)] = 0,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE",
            help="A Python module to import first, which registers layer types or runtimes; may be given several times.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options before the command."""
    del version
    _load_plugins(plugin or ())
    start_messages(verbose)
