"""``nuqconv trials show``, ``nuqconv trials export`` and ``nuqconv trials write``."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from nuqconv.cli.helping import HelpfulCommand
from nuqconv.cli.lazy import make_app
from nuqconv.cli.options import Save

__all__ = ["trials"]

trials = make_app(
    help="Look into the journal of a search, also while it runs: what was tried, with what result, and what it is a search of.",
)

_FILE = typer.Argument(
    help="The journal; `nuqconv auto --save DIR/PREFIX` keeps it as DIR/PREFIX_trials.sqlite.", show_default=False
)


class Format(str, Enum):
    """What trials are exported as."""

    JSON = "json"
    CSV = "csv"


@trials.command(cls=HelpfulCommand)
def show(file: Annotated[Path, _FILE]) -> None:
    """Show what a journal holds: the search's identity, how far it is, the best trial, and a table of all trials.

    The percentage beside a size is its share of the size in float. The verdict is that of the search that asked last; with another
    demand the same metrics may be judged otherwise.

    Examples:
        nuqconv trials show out/model_trials.sqlite
    """
    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.trials import print_journal
    from nuqconv.search.journal import Journal

    with Journal.read(file) as journal:
        print_journal(journal, file, new_console())


@trials.command(cls=HelpfulCommand)
def export(
    file: Annotated[Path, _FILE],
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="json holds everything, with every plan; csv is one line for each trial. By default as FILE ends, else json.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; by default standard output.", metavar="FILE")
    ] = None,
) -> None:
    """Write the trials of a journal for other programs. Numbers keep every bit.

    Examples:
        nuqconv trials export out/model_trials.sqlite -o trials.csv
    """
    from nuqconv.cli.views.trials import csv_text, json_text
    from nuqconv.files.staging import check_targets, write_atomically
    from nuqconv.search.journal import Journal, journal_files

    if output is not None:
        check_targets([output], inputs=journal_files(file))
    if form is None:
        form = Format.CSV if output is not None and output.suffix.lower() == ".csv" else Format.JSON
    with Journal.read(file) as journal:
        text = (json_text if form is Format.JSON else csv_text)(journal)
    if output is None:
        # As it is: typer's own output would take terminal codes out of it.
        sys.stdout.write(text)
    else:
        write_atomically(output, text)


@trials.command(cls=HelpfulCommand)
def write(
    file: Annotated[Path, _FILE],
    trial: Annotated[int, typer.Argument(help="Number of the trial, as `nuqconv trials show` lists it.")],
    save: Save,
    record: Annotated[
        Path | None, typer.Option(help="Quantization factor record to write; by default beside the other files.")
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file of the model, where it has been moved since; given twice for .prototxt and .caffemodel."
        ),
    ] = None,
) -> None:
    """Write the models and record files of another trial than the best, without data or evaluator.

    Examples:
        nuqconv trials write out/model_trials.sqlite 7 --save out/model7
    """
    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.quantized import print_files
    from nuqconv.job.rewrite import write_trial
    from nuqconv.search.journal import Journal

    with Journal.read(file) as journal:
        files = write_trial(journal, trial, save, record=record, model=model)
    print_files(files, new_console())
