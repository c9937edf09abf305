"""``nuqconv report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    search: Annotated[
        Path,
        typer.Argument(
            metavar="JOURNAL_OR_PREFIX",
            help="The journal of a search, or the DIR/PREFIX that was given to nuqconv auto --save.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .html, .md for a pull request, or .json.")
    ] = Path("report.html"),
) -> None:
    """Write what a search found as one page, also while it runs or after it was stopped. The page needs no network and nothing beside it.

    Examples:
        nuqconv report out/model -o report.html
    """
    from nuqconv.cli.report import new_console
    from nuqconv.files.staging import check_targets
    from nuqconv.report.forms import check_form, write_report
    from nuqconv.report.sources import find_journal, report_of_journal
    from nuqconv.report.words import verdict
    from nuqconv.search.journal import journal_files

    check_form(output)
    journal = find_journal(search)
    check_targets([output], inputs=journal_files(journal))
    found = report_of_journal(journal)
    write_report(found, output)
    _, words = verdict(found.document)
    new_console().print(f"{output}: {' '.join(words)}", markup=False, soft_wrap=True)
