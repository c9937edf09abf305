"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Sequence

from nuqconv.errors import ConfigError

__all__ = ["parse_shapes"]


def parse_shapes(options: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Returns input shapes given as ``NAME:1,3,300,300``.

    Args:
        options: The options' texts; the part behind the last colon is the shape.

    Raises:
        ConfigError: Texts are not of that form, or a name occurs twice; all faults are listed.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    problems = []
    for text in options or ():
        name, colon, sizes = text.rpartition(":")
        parts = [part.strip() for part in sizes.replace("x", ",").split(",")]
        if not colon or not name or not all(part.isdecimal() and int(part) > 0 for part in parts):
            problems.append(f"'{text}': expected NAME:SIZE,SIZE,... with positive sizes, as data:1,3,300,300")
        elif name in shapes:
            problems.append(f"'{text}': the shape of '{name}' is given twice")
        else:
            shapes[name] = tuple(int(part) for part in parts)
    if problems:
        raise ConfigError("an input shape is wrong", problems)
    return shapes
