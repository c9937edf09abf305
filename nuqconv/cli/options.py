"""Options that several commands take."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nuqconv.errors import ConfigError

if TYPE_CHECKING:
    from nuqconv.frontends.options import ReadOptions
    from nuqconv.quantize.compensate import WeightMethod

__all__ = [
    "AllowUnknownFields",
    "ExactSizes",
    "InputShape",
    "Level",
    "Model",
    "Quick",
    "Save",
    "Seed",
    "Stage",
    "Weights",
    "cores",
    "method_of",
    "parse_drop",
    "parse_shapes",
    "parse_size",
    "read_options",
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
Quick = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="A first look: each weight goes to the nearest level of its layer, instead of being fitted to the data. Takes much less time, and "
        "costs accuracy.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the random inputs.")]

_READING = "How a .prototxt is read"

AllowUnknownFields = Annotated[
    bool,
    typer.Option(
        "--allow-unknown-fields",
        help="Only note fields and words of the .prototxt that are not known; a layer whose result they may change is not computed.",
        rich_help_panel=_READING,
    ),
]
Stage = Annotated[
    list[str] | None,
    typer.Option(
        "--stage",
        metavar="NAME",
        help="A stage that selects layers by their include and exclude rules; may be given several times.",
        rich_help_panel=_READING,
    ),
]
Level = Annotated[
    int, typer.Option("--level", help="The level that selects layers by their rules.", rich_help_panel=_READING)
]

ExactSizes = Annotated[
    bool,
    typer.Option(
        "--exact-sizes",
        help="Take PriorBox sizes that are no whole numbers as they stand, like OpenCV; SSD Caffe cuts them.",
        rich_help_panel=_READING,
    ),
]


def read_options(
    allow_unknown_fields: bool, stage: Sequence[str] | None, level: int, exact_sizes: bool = False
) -> ReadOptions:
    """Returns how the files of models are read, from the options that every command with a model takes."""
    from nuqconv.frontends.options import ReadOptions

    stages = frozenset(stage or ())
    return ReadOptions(allow_unknown_fields=allow_unknown_fields, level=level, stages=stages, exact_sizes=exact_sizes)


def method_of(*, quick: bool) -> WeightMethod | None:
    """Returns how integers are chosen."""
    from nuqconv.job.run import DEFAULT_METHOD

    return None if quick else DEFAULT_METHOD


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
