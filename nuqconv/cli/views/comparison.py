"""What ``nuqconv compare`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nuqconv.cli.report import new_table
from nuqconv.comparison import BlobComparison, CompareReport, Divergence
from nuqconv.comparison.report import Column, Role, Verdict
from nuqconv.comparison.tolerance import Tolerance
from nuqconv.errors import left_out

__all__ = ["print_comparison"]

_MOST_ROOTS = 12
_LEGEND = " root: differs by itself; inherited: because its inputs do."
_WIDE, _NARROW, _NARROWEST = 120, 90, 66
_STYLES = {Role.EQUAL: "green", Role.ROOT: "bold red", Role.INHERITED: "yellow", Role.MEMORY: "cyan"}


def print_comparison(report: CompareReport, console: Console) -> None:
    """Prints the sides, a table of all blobs that they have in common, and the layers that differ for a reason of their own."""
    for letter, side in zip(_letters(report), report.sides, strict=True):
        console.print(f"[bold]{letter}[/]  {escape(side)}", soft_wrap=True)
    shapes = ", ".join(f"{name} {_shape(shape)}" for name, shape in report.inputs.items())
    console.print(f"[bold]inputs[/]  {escape(shapes)}: {escape(report.source)}\n", soft_wrap=True)
    ran = [column for column in report.columns if not column.failure]
    if len(report.columns) == 1 and ran:
        console.print(_table(report.columns[0], console))
        console.print()
    elif ran:
        console.print(_columns(report, console))
        console.print(f"Numbers: the relative error.{'' if report.agrees else _LEGEND}\n")
    for note in report.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    for letter, column in zip(_letters(report)[1:], report.columns, strict=True):
        mark = f"[bold]{letter}[/]  " if len(report.columns) > 1 else ""
        for name, reason in column.not_compared.items():
            console.print(f"{mark}[red]not compared:[/] {escape(name)}: {escape(reason)}", soft_wrap=True)
        _print_roots(column.roots, mark, console)
        console.print(f"{mark}{_verdict(column, report.tolerance)}", soft_wrap=True)
        _print_needed(column, report.tolerance, console)


def _letters(report: CompareReport) -> list[str]:
    return [ascii_lowercase[place % 26] for place in range(len(report.sides))]


def _table(column: Column, console: Console) -> Table:
    """One side: every measure of each blob, as far as the terminal is wide enough."""
    wide, narrowest = console.width >= _WIDE, console.width < _NARROWEST
    numbers = ("max abs", "relative", "cosine", "top-1")
    shown = ("relative",) if narrowest else numbers if wide else numbers[:2]
    # Most blobs are called like their layers.
    others = any(item.layer != item.name for item in column.blobs)
    headings = (
        "blob",
        *(("layer",) if others and console.width >= _NARROW else ()),
        *(() if narrowest else ("type",)),
        *(("shape",) if console.width >= _NARROW else ()),
        *shown,
        "",
    )
    table = new_table(*headings, right=numbers)
    for item in column.blobs:
        cells = {
            "blob": escape(item.name),
            "layer": escape(item.layer),
            "type": escape(item.layer_type),
            "shape": _shapes(item),
            "max abs": f"{item.max_abs:.2e}",
            "relative": f"{item.relative:.2e}",
            "cosine": f"{item.cosine:.6f}",
            "top-1": "" if item.top1 is None else f"{item.top1:.0%}",
            "": _word(item),
        }
        table.add_row(*(cells[heading] for heading in headings))
    return table


def _word(item: BlobComparison) -> str:
    style = _STYLES[item.role]
    if item.agrees and item.role is not Role.MEMORY:
        return f"[{style}]equal[/]"
    text = item.role.value
    if not item.agrees and item.role is not Role.MEMORY:
        text = f"{text}: {item.differing:,} differ" if item.shapes[0] == item.shapes[1] or item.differing else text
        text += f" ({item.said})" if item.said else ""
    return f"[{style}]{escape(text)}[/]"


def _columns(report: CompareReport, console: Console) -> Table:
    """Several sides: a column for each with its relative errors."""
    names = [column.runtime for column in report.columns]
    heads = [f"{letter} {name}" for letter, name in zip(_letters(report)[1:], names, strict=True)]
    more = ("layer", "type", "shape") if console.width >= _WIDE else ("type",) if console.width >= _NARROW else ()
    table = new_table("blob", *more, *heads, right=())
    rows: dict[str, dict[str, BlobComparison]] = {}
    for head, column in zip(heads, report.columns, strict=True):
        for item in column.blobs:
            rows.setdefault(item.name, {})[head] = item
    for name, found in rows.items():
        item = next(iter(found.values()))
        cells = {"layer": escape(item.layer), "type": escape(item.layer_type), "shape": _shape(item.shapes[0])}
        table.add_row(escape(name), *(cells[heading] for heading in more), *(_cell(found.get(head)) for head in heads))
    return table


def _cell(item: BlobComparison | None) -> str:
    if item is None:
        return "[dim]-[/]"
    return f"[{_STYLES[item.role]}]{item.role.value if not item.agrees or item.role is Role.MEMORY else 'equal'}[/] {item.relative:.1e}"


def _print_roots(roots: Sequence[Divergence], mark: str, console: Console) -> None:
    for number, root in enumerate(roots[:_MOST_ROOTS]):
        _print_root(root, "first difference" if number == 0 else "another difference", mark, console)
    if more := left_out(roots, _MOST_ROOTS):
        names = ", ".join(root.layer for root in roots[_MOST_ROOTS:])
        console.print(f"{mark}[bold red]{more}[/]: {escape(names)}", soft_wrap=True)


def _print_root(root: Divergence, word: str, mark: str, console: Console) -> None:
    console.print(f"{mark}[bold red]{word}[/] in {escape(root.place)}", soft_wrap=True)
    if root.alone:
        console.print("  what follows is the layer alone, fed the inputs that it has on the first side", soft_wrap=True)
    if root.parameters:
        console.print(f"  parameters: {escape(root.parameters)}", soft_wrap=True)
    if root.index is not None and root.values is not None:
        place = ", ".join(map(str, root.index))
        values = f"{root.values[0]:.7g} against {root.values[1]:.7g}"
        console.print(f"  largest at {escape(root.blob)}\\[{place}]: {values}", soft_wrap=True)
    for number, cause in enumerate(root.causes):
        label = "likely cause" if number == 0 else "or"
        console.print(f"  {label}: {escape(cause)}", soft_wrap=True)
    if root.suspects:
        console.print(
            f"  could not be compared one by one before it: {escape(', '.join(root.suspects))}", soft_wrap=True
        )


def _verdict(column: Column, tolerance: Tolerance) -> str:
    count = len(column.blobs)
    if column.verdict is Verdict.FAILED:
        return f"[bold red]did not run:[/] {escape(column.side)}: {escape(column.failure)}"
    within = f"({_within(tolerance)})"
    if column.verdict is Verdict.AGREE:
        return f"[bold green]all {count} common blobs agree[/] {within}"
    if column.verdict is Verdict.DIFFER:
        bad = sum(item.differs for item in column.blobs)
        roots = f", {len(column.roots)} of them for reasons of their own" if len(column.roots) < bad else ""
        return f"[bold red]{bad} of {count} common blobs differ[/]{roots} {within}"
    if column.not_compared:
        return f"[bold red]not proven:[/] the {count} common blobs agree, but not all that was wanted is among them"
    return f"[bold yellow]not proven:[/] all {count} common blobs agree {within}, but {escape(column.doubt)}"


def _within(tolerance: Tolerance) -> str:
    share = "" if tolerance.quantile == 1 else f", {tolerance.quantile:g} of the numbers"
    return f"rtol {tolerance.rtol:g}, atol {tolerance.atol:g}{share}"


def _shapes(item: BlobComparison) -> str:
    one, two = item.shapes
    return _shape(one) if one == two else f"{_shape(one)} | {_shape(two)}"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"


def _print_needed(column: Column, tolerance: Tolerance, console: Console) -> None:
    """Prints the smallest tolerances that would pass, and those of blobs that have one of their own."""
    own = [item for item in column.blobs if item.tolerance != tolerance]
    if column.failure:
        return
    if len(own) < len(column.blobs):
        if column.needed is None:
            text = "no tolerance would pass, since shapes differ, or one side is NaN or infinite"
        elif not column.needed.atol:
            text = "equal to the last bit"
        else:
            rtol, atol = column.needed.rtol, column.needed.atol
            relative = "" if rtol is None else f"--rtol {rtol:g}, or "
            text = f"smallest tolerance that would pass, the other one as it is: {relative}--atol {atol:g}"
        console.print(f"[dim]{text}[/]", soft_wrap=True)
    for item in own:
        needed = "none would pass"
        if item.needed is not None:
            relative = "" if item.needed.rtol is None else f"rtol {item.needed.rtol:g} or "
            needed = f"{relative}atol {item.needed.atol:g} would"
        console.print(f"[dim]{escape(item.name)}: {_within(item.tolerance)}; {needed}[/]", soft_wrap=True)
