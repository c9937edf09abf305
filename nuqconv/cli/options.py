"""Options that several commands take."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from nuqconv.errors import ConfigError

__all__ = [
    "InputShape",
    "Model",
    "Save",
    "Seed",
    "Weights",
    "cores",
    "parse_drop",
    "parse_shapes",
    "parse_size",
]

Model = Annotated[Path, typer.Argument(help="The trained net, .prototxt or .onnx.")]
Weights = Annotated[Path | None, typer.Argument(help="Its weights, .caffemodel; left out for an .onnx model.")]
Save = Annotated[
    str,
    typer.Option(
        metavar="DIR/PREFIX",
        help="What the files to write begin with; in a folder that is there, PREFIX is the name of the model.",
    ),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME:SHAPE", help="Shape of a random input, as NAME:1,3,300,300; may be given several times."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the random inputs.")]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?)?b?", re.IGNORECASE | re.ASCII)


def parse_drop(text: str, *, share: bool) -> float:
    """Returns a loss that is allowed: ``0.01`` or ``1%``.

    Args:
        text: The option's text.
        share: Whether the metric is a share, from 0 to 1, so that a large number is asked back.

    Raises:
        ConfigError, EvaluatorError: The text is no number from 0 on, or a large share without ``%``, which mostly is a number of percent.
    """
    from nuqconv.evaluators.demand import LARGE_DROP, Demand

    found = Demand.of(max_drop=text).max_drop or 0.0
    if share and found >= LARGE_DROP and "%" not in text:
        meant = f"{found:g}% (or {found / 100:g})"
        raise ConfigError(
            f"--max-drop {text}: that is {100 * found:g} percentage points; is {meant} meant? Write {100 * found:g}% if it is not"
        )
    return found


def cores() -> int:
    """Returns how many cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


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


def parse_size(text: str) -> float:
    """Returns the bytes of a size such as ``6MB``, ``600 kB``, ``2.5MiB`` or ``123456``.

    Raises:
        ConfigError: The text is none, or no more than 0.
    """
    found = _SIZE.fullmatch(text.strip())
    size = float(found[1]) * _UNITS[(found[2] or "").lower()] if found else 0.0
    if size <= 0:
        raise ConfigError(
            f"'{text}' is no size: expected a positive number of bytes, or one with kB, MB, GB, KiB, MiB or GiB"
        )
    return size
