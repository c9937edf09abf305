"""Writes docs/commands.md: every command with its arguments and options, as the program itself says them.

python tools/build_command_reference.py           # writes the file
python tools/build_command_reference.py --check   # exit code 1 if it is not current
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tables import main
from typer.main import get_command

from nuqconv.cli.app import COMMANDS, app
from nuqconv.cli.helping import HelpfulCommand, examples

TARGET = Path(__file__).resolve().parent.parent / "docs" / "commands.md"

HEAD = """# Commands

Made by `python tools/build_command_reference.py` from the program; do not edit. `nuqconv COMMAND --help` says the same in the terminal, and
`--help-all` also what is seldom used. `nuqconv --install-completion` lets the shell complete commands, options and names.

Exit codes of every command: 0 success, 1 a "no" (nothing was accepted, models differ, a demand is not met), 2 wrong usage or input, 130 interrupted.
"""
_ALSO = ("--help", "--help-all", "--verbose")


def commands() -> Iterator[tuple[str, Any]]:
    """Yields every command with its whole name."""

    def below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        parts = getattr(command, "commands", {})
        if not parts:
            yield name, command
        for part, inner in parts.items():
            yield from below(f"{name} {part}", inner)

    group: Any = get_command(app)
    for name in COMMANDS:
        yield from below(name, group.commands[name].load())


def cell(text: str) -> str:
    """Returns a text for a cell of a table; what could be taken for markup or a link is kept as it is."""
    return re.sub(r"([|<>*_\[\]])", r"\\\1", " ".join(text.split()))


def row(param: Any) -> str:
    """Returns an option or argument as a line of a table."""
    word = param.metavar or ""
    if param.param_type_name == "argument":
        shown = f"`{word}`"
    else:
        shown = ", ".join(f"`{name}`" for name in (*sorted(param.opts, key=len), *param.secondary_opts))
        shown += "" if param.is_flag or param.count else f" `{word}`".replace("|", r"\|")
    said = cell(param.help or "")
    default = param.default
    if param.required:
        said += " Required."
    elif default not in (None, False, (), [], 0) or (default == 0 and type(default) is int and not param.count):
        said += f" Default: `{param.secondary_opts[0] if param.is_flag and not default else default}`."
    return f"| {shown} | {said} |"


def panels(command: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yields the parameters as the help groups them."""
    found: dict[str, list[Any]] = {}
    for param in command.params:
        if getattr(param, "hidden", False) or any(name in _ALSO for name in param.opts):
            continue
        kind = "Arguments" if param.param_type_name == "argument" else "Options"
        found.setdefault(getattr(param, "rich_help_panel", None) or kind, []).append(param)
    yield from sorted(found.items(), key=lambda item: item[0] != "Arguments" and 1 + (item[0] != "Options"))


def table() -> str:
    """Returns the text of the file."""
    parts = [HEAD]
    for name, command in commands():
        if isinstance(command, HelpfulCommand):
            command.told()
        arguments = [param for param in command.params if param.param_type_name == "argument"]
        usage = " ".join(param.metavar if param.required else f"[{param.metavar}]" for param in arguments)
        parts.append(f"\n## nuqconv {name}\n\n    nuqconv {name} [OPTIONS] {usage}".rstrip() + "\n\n")
        parts.append("\n\n".join(cell(part) for part in command.help.split("\n\n")) + "\n")
        found = examples(command)
        if found:
            lines = [line for item in found for line in ([f"# {item.case}"] if item.case else []) + [item.command]]
            parts.append("\n```sh\n" + "\n".join(lines) + "\n```\n")
        for title, params in panels(command):
            parts.append(f"\n| {title} | |\n| --- | --- |\n" + "\n".join(map(row, params)) + "\n")
    return "".join(parts)


if __name__ == "__main__":
    main(TARGET, table)
