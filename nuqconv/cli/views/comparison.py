"""What ``nuqconv compare`` shows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nuqconv.cli.report import new_table
from nuqconv.comparison import BlobComparison, CompareReport, Divergence

__all__ = ["print_comparison"]


def print_comparison(report: CompareReport, console: Console) -> None:
    """Prints the two sides, a table of all blobs that both have, and the first difference."""
    for letter, side in zip("ab", report.sides, strict=True):
        console.print(f"[bold]{letter}[/]  {escape(side)}", soft_wrap=True)
    shapes = ", ".join(f"{name} {_shape(shape)}" for name, shape in report.inputs.items())
    console.print(f"[bold]inputs[/]  {escape(shapes)}: {escape(report.source)}\n", soft_wrap=True)
    console.print(_table(report))
    console.print()
    for note in report.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    for name, reason in report.not_compared.items():
        console.print(f"[red]not compared:[/] {escape(name)}: {escape(reason)}", soft_wrap=True)
    if report.first is not None:
        _print_first(report.first, console)
    bad = sum(not item.agrees for item in report.blobs)
    within = f"rtol {report.rtol:g}, atol {report.atol:g}"
    if report.agrees:
        console.print(f"[bold green]all {len(report.blobs)} common blobs agree[/] ({within})", soft_wrap=True)
    elif bad:
        console.print(f"[bold red]{bad} of {len(report.blobs)} common blobs differ[/] ({within})", soft_wrap=True)
    else:
        console.print(
            f"[bold red]not proven:[/] the {len(report.blobs)} common blobs agree, but not all that was wanted is among them",
            soft_wrap=True,
        )


def _table(report: CompareReport) -> Table:
    numbers = ("max abs", "relative", "cosine", "top-1")
    table = new_table("blob", "layer", "type", "shape", *numbers, "", right=numbers)
    for item in report.blobs:
        top1 = "" if item.top1 is None else f"{item.top1:.0%}"
        verdict = "[green]equal" if item.agrees else f"[red]{item.differing:,} differ"
        table.add_row(
            escape(item.name),
            escape(item.layer),
            escape(item.layer_type),
            _shapes(item),
            f"{item.max_abs:.2e}",
            f"{item.relative:.2e}",
            f"{item.cosine:.6f}",
            top1,
            verdict,
        )
    return table


def _print_first(first: Divergence, console: Console) -> None:
    console.print(f"[bold red]first difference[/] in {escape(first.place)}", soft_wrap=True)
    if first.parameters:
        console.print(f"  parameters: {escape(first.parameters)}", soft_wrap=True)
    if first.index is not None and first.values is not None:
        place = ", ".join(map(str, first.index))
        values = f"{first.values[0]:.7g} against {first.values[1]:.7g}"
        console.print(f"  largest at {escape(first.blob)}\\[{place}]: {values}", soft_wrap=True)
    for number, cause in enumerate(first.causes):
        label = "likely cause" if number == 0 else "or"
        console.print(f"  {label}: {escape(cause)}", soft_wrap=True)
    if first.suspects:
        console.print(
            f"  could not be compared one by one before it: {escape(', '.join(first.suspects))}", soft_wrap=True
        )


def _shapes(item: BlobComparison) -> str:
    one, two = item.shapes
    return _shape(one) if one == two else f"{_shape(one)} | {_shape(two)}"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"
