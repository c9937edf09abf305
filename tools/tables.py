"""What the tools share that make a document of tables from the registries of the code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["main", "put_section", "section"]


def section(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a heading with a table in Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]
    return f"## {title}\n\n" + "\n".join(lines) + "\n\n"


def main(target: Path, table: Callable[[], str]) -> None:
    """Writes a document, or with ``--check`` ends with exit code 1 if it is not current."""
    text = table()
    if "--check" in sys.argv[1:]:
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            sys.exit(f"{target} is not current; run python tools/{Path(sys.argv[0]).name}")
        return
    target.write_text(text, encoding="utf-8")


def put_section(target: Path, heading: str, text: str) -> None:
    """Puts a section into a document that others write parts of too: in the place of the one with its heading, or at the end.

    Args:
        target: The document.
        heading: The line that the section begins with, of two ``#``; an empty one is what goes before the first section.
        text: The section, with that line.
    """
    parts = target.read_text(encoding="utf-8").split("\n## ")
    parts = [parts[0], *(f"## {part}" for part in parts[1:])]
    names = ["", *(part.splitlines()[0] for part in parts[1:])]
    if heading in names:
        parts[names.index(heading)] = text
    else:
        parts.append(text)
    target.write_text("\n\n".join(part.strip("\n") for part in parts) + "\n", encoding="utf-8")
