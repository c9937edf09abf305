"""The command line."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape

from nuqconv.cli.app import app
from nuqconv.errors import NuqconvError, SearchError

__all__ = ["app", "main"]

_INTERRUPTED = 130


def main() -> None:
    """Runs the command line.

    Exit codes: 0 success, 1 the search found nothing that the evaluator accepts (or ``doctor`` misses a required part), 2 wrong usage or input,
    130 interrupted.
    """
    errors = Console(stderr=True, soft_wrap=True)
    try:
        app(prog_name="nuqconv")
    except NuqconvError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}")
        sys.exit(1 if isinstance(error, SearchError) else 2)
    except SystemExit as ended:
        # The application turns an interrupt into this code, without a word.
        if ended.code == _INTERRUPTED:
            errors.print("interrupted; the outputs are as they were")
        raise
