"""``nuqconv doctor``."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nuqconv.doctor import checks

__all__ = ["doctor"]


def doctor() -> None:
    """Say which runtimes are there, and how to get the missing ones.

    Exit code 1 if a part is missing that every job needs.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("part", "", "found"):
        table.add_column(heading)
    found = checks()
    for check in found:
        mark = "[green]ok" if check.ok else "[red]missing" if check.required else "[yellow]missing"
        table.add_row(check.name, mark, escape(check.found))
    console = Console(soft_wrap=True)
    console.print(table)
    for check in found:
        if not check.ok:
            console.print(f"\n[bold]{check.name}[/]: {escape(check.remedy)}")
    if any(check.required and not check.ok for check in found):
        raise typer.Exit(1)
