"""``nuqconv doctor``."""

from __future__ import annotations

import typer

__all__ = ["doctor"]


def doctor() -> None:
    """Say which runtimes are there, and how to get the missing ones.

    Exit code 1 if a part is missing that every job needs.
    """
    from rich.markup import escape

    from nuqconv.cli.report import new_console, new_table
    from nuqconv.runtimes.doctor import checks

    table = new_table("part", "status", "found")
    found = checks()
    for check in found:
        mark = "[green]ok" if check.ok else "[red]missing" if check.required else "[yellow]missing"
        table.add_row(check.name, mark, escape(check.found))
    console = new_console()
    console.print(table)
    for check in found:
        if not check.ok:
            console.print(f"\n[bold]{check.name}[/]: {escape(check.remedy)}", soft_wrap=True)
    if any(check.required and not check.ok for check in found):
        raise typer.Exit(1)
