"""The command line."""

from __future__ import annotations

import sys
from typing import Any

import typer

from nuqconv.cli.app import app
from nuqconv.errors import NuqconvError, SearchError

__all__ = ["app", "main"]

_INTERRUPTED = 130
# What the parser of arguments raises; typer carries its own copy of it under a private name.
_WrongUsage: Any = typer.BadParameter.__mro__[2]


def main() -> None:
    """Runs the command line.

    Exit codes: 0 success, 1 the search found nothing that the evaluator accepts (or ``doctor`` misses a required part), 2 wrong usage or input,
    130 interrupted.
    """
    try:
        code = app(prog_name="nuqconv", standalone_mode=False)
    except NuqconvError as error:
        _say_error(str(error))
        sys.exit(1 if isinstance(error, SearchError) else 2)
    except _WrongUsage as error:
        # In plain words: what would frame them takes as long to import as all else that is needed here.
        error.show()
        sys.exit(error.exit_code)
    except typer.Abort:
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        typer.echo("interrupted; the outputs are as they were", err=True)
    sys.exit(code)


def _say_error(text: str) -> None:
    from rich.markup import escape

    from nuqconv.job.console import error_console

    console = error_console()
    # A terminal would break lines inside words; whoever reads a pipe wants them whole.
    console.print(f"[bold red]error:[/] {escape(text)}", soft_wrap=not console.is_terminal)
