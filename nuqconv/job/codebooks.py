"""The codebooks file: the levels of each NUQ layer, which no file of the format itself has a place for."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from nuqconv.errors import FormatError
from nuqconv.files.bounded import MOST_TEXT, read_bounded
from nuqconv.files.json_model import JsonModel, Text, problem, read_object
from nuqconv.files.safe_json import parse
from nuqconv.quantize.plan import Plan
from nuqconv.quantize.rounding import INT8_MAX, INT8_MIN

__all__ = ["Codebook", "codebooks_text", "read_codebooks"]


def _ascending(levels: list[int]) -> list[int]:
    if levels[0] < INT8_MIN or levels[-1] > INT8_MAX or any(low >= high for low, high in pairwise(levels)):
        raise problem(f"found {levels}; expected integers in [{INT8_MIN}, {INT8_MAX}], each larger than the one before")
    return levels


class Codebook(JsonModel):
    """The codebook of one layer.

    Attributes:
        num_steps: The most levels that it may have.
        levels: The integers that the layer's weights have, ascending.
    """

    num_steps: Annotated[int, Field(ge=1, le=256)]
    levels: Annotated[list[int], Field(min_length=1, max_length=256), AfterValidator(_ascending)]


class _File(JsonModel):
    version: Literal[1]
    codebooks: dict[Text, Codebook]


def codebooks_text(plan: Plan) -> str:
    """Returns the codebooks of a plan as JSON, a line for each layer."""
    books = {
        name: {"num_steps": layer.num_steps, "levels": list(layer.codebook)}
        for name, layer in plan.items()
        if layer.codebook is not None
    }
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(book)}" for name, book in books.items())
    return f'{{\n  "version": 1,\n  "codebooks": {{{chr(10) + lines + chr(10) + "  " if lines else ""}}}\n}}\n'


def read_codebooks(path: str | Path) -> dict[str, Codebook]:
    """Reads a codebooks file.

    Returns:
        The codebook of each layer by its name.

    Raises:
        FormatError: The file cannot be read or is none; all faults are listed.
    """
    try:
        content = parse(read_bounded(path, MOST_TEXT).decode("utf-8"))
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: is no JSON file: {error}") from error
    problems: list[str] = []
    found = read_object(_File, content, (), problems)
    if found is None:
        raise FormatError(f"{path}: is no codebooks file", problems)
    return found.codebooks
