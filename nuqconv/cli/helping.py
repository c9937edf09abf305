"""How the help of a command looks: words for kinds of values, examples as blocks, seldom-used options behind --help-all, old names not at all."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperOption

__all__ = [
    "HELP_ALL",
    "OLD_NAMES",
    "SELDOM",
    "Example",
    "HelpfulCommand",
    "dress",
    "entries",
    "examples",
    "read",
    "say_kind",
]

HELP_ALL = "--help-all"
SELDOM = frozenset(
    {
        "Its journal",
        "Several evaluations at once",
        "A crashing runtime",
        "What onnxruntime computes on",
        "How a .prototxt is read",
        "For a device",
    }
)
"""Panels of options that only --help-all shows."""

OLD_NAMES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "compare": {"--outputs": ("--blob",), "--samples": ("--limit",)},
    "convert": {"--outputs": ("--output",)},
}
"""What options of a command were called, by what they are called now; taken as before, and in no help."""

_WORDS: Mapping[type, str] = {Path: "FILE", int: "N", float: "NUMBER", str: "TEXT"}
_CONSTANT = re.compile(r"\{([\w.]+:\w+)\}")
_EXAMPLES = re.compile(r"(?ms)^Examples?:\n((?:[ \t]+\S[^\n]*\n?|\n(?=[ \t]+\S))+)")
_MARGIN = "    "


class Example(NamedTuple):
    """A command, and in which case one would give it."""

    command: str
    case: str = ""


def read(place: str) -> Any:
    """Returns what stands at ``module:NAME``."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def entries(table: str) -> dict[str, str]:
    """Returns the names in a table at ``module:NAME``, each with what is said of it."""
    found: Mapping[str, object] | Iterable[str] = read(table)
    if isinstance(found, Mapping):
        return {key: str(getattr(entry, "summary", "")) for key, entry in found.items()}
    return dict.fromkeys(found, "")


def examples(command: Any) -> tuple[Example, ...]:
    """Returns the examples of a command, which its docstring has below ``Examples:``; a comment above one says its case."""
    return getattr(command, "examples", ())


class HelpfulCommand(TyperCommand):
    """A command whose help says what is in the tables of its options, and a constant for each ``{module:NAME}``."""

    def told(self) -> None:
        """Reads what the texts of options name."""
        for param in self.params:
            table = getattr(param.callback, "table", None)
            if table is not None and isinstance(param, TyperOption):
                known = entries(table)
                said = "; ".join(f"{name}: {summary}" for name, summary in known.items() if summary)
                name = "NAME,..." if getattr(param.callback, "several", False) else "NAME"
                param.metavar = name if said else "|".join(known)
                told = f"{said}." if said and said not in (param.help or "") else ""
                param.help = " ".join(filter(None, (param.help, told)))
            if isinstance(param, TyperOption) and param.help:
                param.help = _CONSTANT.sub(lambda place: str(read(place[1])), param.help)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Prints the help, with --help-all all of it."""
        self.told()
        whole = bool(ctx.meta.get(HELP_ALL))
        seldom = [param for param in self.params if isinstance(param, TyperOption) and param.rich_help_panel in SELDOM]
        seldom = [] if whole else seldom
        for param in seldom:
            param.hidden = True
        try:
            super().format_help(ctx, formatter)
        finally:
            for param in seldom:
                param.hidden = False
        _print_end(examples(self), list(dict.fromkeys(str(param.rich_help_panel) for param in seldom)))


def dress(command: Any, path: str) -> None:
    """Gives a command and those in it what their help needs; the parser takes the old names of options.

    Args:
        command: As Typer made it.
        path: Its name, with those of the commands that it is in.
    """
    for name, part in getattr(command, "commands", {}).items():
        dress(part, f"{path} {name}")
    if getattr(command, "commands", {}):
        return
    text, found = _split(inspect.cleandoc(command.help or ""))
    # The lines of a paragraph are as long as the terminal is wide.
    command.help, command.examples = re.sub(r"(?<=\S)\n(?=\S)", " ", text), found
    kinds = _kinds(command.callback)
    for param in command.params:
        say_kind(param, kinds.get(param.name))
        old = OLD_NAMES.get(path, {}).get(next(iter(param.opts), ""), ())
        if old:
            _take_also(param, old)
    if not isinstance(command, HelpfulCommand):
        return
    if any(getattr(param, "rich_help_panel", None) in SELDOM for param in command.params):
        command.params.append(_help_all_option())


def _split(text: str) -> tuple[str, tuple[Example, ...]]:
    """Takes the examples out of a help text."""
    found: list[Example] = []
    for block in _EXAMPLES.findall(text):
        case = ""
        for line in textwrap.dedent(block).splitlines():
            if line.startswith("#"):
                case = line.lstrip("# ")
            elif line.strip():
                found.append(Example(line.strip(), case))
                case = ""
    return _EXAMPLES.sub("", text).strip(), tuple(found)


def _kinds(function: Any) -> dict[str, type]:
    """Returns of what kind each parameter of a command is; of a list what is in it."""
    found: dict[str, type] = {}
    for name, hint in get_type_hints(function).items() if function is not None else ():
        kind = _kind(hint)
        if kind is not None:
            found[name] = kind
    return found


def _kind(hint: Any) -> type | None:
    if isinstance(hint, type) and get_origin(hint) is None:
        return None if hint is type(None) else hint
    return next((kind for part in get_args(hint) if (kind := _kind(part)) is not None), None)


def say_kind(param: Any, kind: type | None = None) -> None:
    """Says what the value of a parameter is in one word, where nothing was said of it; a flag has none."""
    if isinstance(param, TyperOption):
        if param.is_flag or param.count:
            _say_no_kind(param)
            # A flag that is not given, or a count of none, goes without saying.
            param.show_default = bool(param.secondary_opts) and param.show_default
        elif param.metavar is None and kind is not None:
            choices = [str(entry.value) for entry in kind] if issubclass(kind, Enum) else []
            param.metavar = "|".join(choices) or _WORDS.get(kind)
    else:
        # An argument's name says it; where a command says the name, it says whether it may be left out.
        name = str(param.name).upper() + ("..." if param.nargs != 1 else "")
        said = vars(param).setdefault("said", param.metavar)
        param.metavar = said or name
        shown = said or (name if param.required else f"[{name}]")
        param._usage_display_name = lambda: shown  # noqa: SLF001
        _say_no_kind(param)
    # Whoever gives a number out of range is told so.
    param._get_number_range_help_str = lambda: None  # noqa: SLF001


def _say_no_kind(param: Any) -> None:
    param.display_type_rich = lambda **_: None


def _take_also(param: Any, old: tuple[str, ...]) -> None:
    own = param.add_to_parser

    def add_to_parser(parser: Any, ctx: Any) -> None:
        shown = param.opts
        param.opts = [*shown, *old]
        try:
            own(parser, ctx)
        finally:
            param.opts = shown

    param.add_to_parser = add_to_parser


def _show_all(ctx: typer.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        ctx.meta[HELP_ALL] = True
        typer.echo(ctx.get_help())
        raise typer.Exit


def _nothing(
    whole: Annotated[
        bool,
        typer.Option(HELP_ALL, is_eager=True, expose_value=False, callback=_show_all, help="Show all options."),
    ] = False,
) -> None:
    del whole


def _help_all_option() -> Any:
    holder = typer.Typer(add_completion=False)
    holder.command()(_nothing)
    (option,) = typer.main.get_command(holder).params
    return option


def _print_end(found: tuple[Example, ...], hidden: list[str]) -> None:
    """Prints the examples, each on lines of its own that a shell takes, and which panels were left out."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    width = console.width - 1 if console.is_terminal or "COLUMNS" in os.environ else sys.maxsize
    for number, example in enumerate(found):
        if not number:
            console.print()
            console.print(" [bold]Examples[/]" if len(found) > 1 else " [bold]Example[/]")
        if example.case:
            console.print(Text(f"{_MARGIN}# {example.case}", style="dim"), soft_wrap=True)
        for line in _lines(example.command, width):
            console.print(Text(line), soft_wrap=True)
    if found:
        console.print()
    if hidden:
        console.print(Text(f" {HELP_ALL} shows more: {'; '.join(hidden)}", style="dim"))
        console.print()


def _lines(command: str, width: int) -> Iterator[str]:
    """Yields a command in lines that end in a backslash where it goes on; an option stays with its value."""
    words = re.findall(r"""-[\w-]+ (?:"[^"]*"|[^\s"-]\S*)|(?:"[^"]*"|[^\s"])+""", command)
    line = _MARGIN + words[0]
    for word in words[1:]:
        if len(line) + len(word) + 3 > width:
            yield f"{line} \\"
            line = f"{_MARGIN * 2}{word}"
        else:
            line += f" {word}"
    yield line
