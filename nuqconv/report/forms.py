"""The forms that a report can have: what the ending of a file says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from nuqconv.errors import ConfigError
from nuqconv.files.staging import write_atomically
from nuqconv.report.html import html_page
from nuqconv.report.markdown import markdown_page
from nuqconv.report.sources import Report

__all__ = ["FORMS", "check_form", "write_report"]

FORMS: Mapping[str, Callable[[Report], str]] = {
    ".html": html_page,
    ".md": lambda report: markdown_page(report.document),
    ".json": lambda report: report.document.to_json(),
}
"""What makes the text of a report, by the ending of its file."""


def check_form(path: Path) -> None:
    """Checks that the ending of a file says a form.

    Raises:
        ConfigError: It does not.
    """
    if path.suffix.lower() not in FORMS:
        raise ConfigError(f"{path}: a report ends in one of {', '.join(FORMS)}, which says its form")


def write_report(report: Report, path: Path, form: str | None = None) -> None:
    """Writes a report in a form of the table, by default the one that the ending of its file says; the same report gives the same bytes.

    Raises:
        ConfigError: The ending says none.
        OutputError: The file cannot be written; what stood there before is as it was.
    """
    if form is None:
        check_form(path)
    write_atomically(path, FORMS[form or path.suffix.lower()](report))
