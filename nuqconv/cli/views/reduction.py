"""What ``nuqconv reduce`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from nuqconv.cli.report import new_table, path_shown, sizes_text
from nuqconv.comparison.reduction.result import Attempt, Reduced
from nuqconv.errors import NothingToReduceError, left_out
from nuqconv.job.console import error_console

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Progress", "print_nothing", "print_reduced"]

_VERDICTS = {True: "[red]shows it[/]", False: "[green]does not[/]", None: "[yellow]no answer[/]"}
_MOST_LAYERS = 20


class Progress:
    """A line for each part that was looked at, also in a pipe; a context manager."""

    def __init__(self) -> None:
        self._console = error_console()
        self._stack = ExitStack()
        self._total = 0

    def __enter__(self) -> Self:
        self._status = self._stack.enter_context(self._console.status("running the whole model"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def tell(self, attempt: Attempt) -> None:
        """Prints a line."""
        self._total = self._total or attempt.layers
        self._status.update("looking for a smaller part")
        samples = "" if attempt.samples is None else f", {attempt.samples} {_plural('sample', attempt.samples)}"
        reason = f": {escape(attempt.words)}" if attempt.fails is None else ""
        self._console.print(
            f"run {attempt.number:>3}  {attempt.layers} of {self._total} layers{samples}  {_VERDICTS[attempt.fails]}{reason}",
            soft_wrap=not self._console.is_terminal,
        )


def print_nothing(error: NothingToReduceError, console: Console) -> None:
    """Prints why there is no part."""
    console.print(f"[yellow]not reduced:[/] {escape(str(error))}", soft_wrap=True)


def print_reduced(found: Reduced, files: Sequence[Path], console: Console) -> None:
    """Prints the layers that are left, what is fed to them, and where to find all that."""
    table = new_table("layer", "type")
    for name, kind in found.layers[:_MOST_LAYERS]:
        table.add_row(escape(name), escape(kind))
    console.print(table)
    if more := left_out(found.layers, _MOST_LAYERS):
        console.print(more)
    console.print()
    for name, shape in found.shapes.items():
        maker = found.made_by.get(name)
        origin = "" if maker is None else f", as layer '{maker}' makes it in the whole model"
        console.print(f"[bold]input[/]  {escape(name)} {sizes_text(shape)}{escape(origin)}", soft_wrap=True)
    console.print(f"[bold]seen[/]  {escape(found.seen)}", soft_wrap=True)
    if found.place:
        console.print(f"[bold]begins in[/]  {escape(found.place)}", soft_wrap=True)
    for cause in found.causes[:1]:
        console.print(f"  likely cause: {escape(cause)}", soft_wrap=True)
    folder = files[0].parent
    names = ", ".join(path.name for path in files)
    console.print(f"[bold]files[/]  {escape(path_shown(folder))}: {escape(names)}", soft_wrap=True)
    console.print(f"[bold]to see it[/]  {escape(_there(folder, found.command))}\n", soft_wrap=True)
    count, runs = len(found.layers), len(found.attempts)
    console.print(
        f"[bold green]{count} of {found.total} layers {'is' if count == 1 else 'are'} left[/], after {runs} {_plural('run', runs)}",
        soft_wrap=True,
    )


def _there(folder: Path, command: str) -> str:
    return f"cd {path_shown(folder)} && {command}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
