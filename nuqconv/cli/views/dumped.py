"""What ``nuqconv dump`` shows."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from nuqconv.cli.report import narrow, new_table, path_shown, sizes_text
from nuqconv.comparison.dump import Dumped

__all__ = ["print_dumped"]


def print_dumped(found: Dumped, folder: Path, console: Console) -> None:
    """Prints a row for each file, and where they are."""
    wide = ("layer", "type", "blob", "shape", "numbers", "file")
    headings = ("layer", "shape", "file") if narrow(console) else wide
    table = new_table(*headings)
    for top in found.tops:
        told = {
            "layer": escape(top.layer),
            "type": escape(top.kind),
            "blob": escape(top.blob),
            "shape": sizes_text(top.shape),
            "numbers": top.dtype,
            "file": escape(top.file.name),
        }
        table.add_row(*(told[heading] for heading in headings))
    console.print(table)
    console.print()
    console.print(f"[bold]run in[/]  {escape(found.runtime)}", soft_wrap=True)
    console.print(f"[bold]inputs[/]  {escape(found.source)}", soft_wrap=True)
    for note in found.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    count = len(found.tops)
    console.print(f"[bold green]{count} files[/] in {escape(path_shown(folder))}", soft_wrap=True)
