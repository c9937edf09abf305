"""What is wrong with a net whatever its layers are: names, sizes of blobs, and parameters that are no numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from nuqconv.files.bounded import LARGEST_BLOB, MOST_AXES

__all__ = ["MOST_LAYERS", "layer_problems", "name_problem", "shape_problem"]

# The deepest nets have a few thousand; each one takes about a kilobyte of memory, even from two bytes of a file.
MOST_LAYERS = 100_000

_LONGEST_NAME = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def name_problem(name: str, what: str) -> str | None:
    """Returns why a name cannot be used, or None.

    Names become lines of files, keys of records and words of messages.

    Args:
        name: The name.
        what: What it names, for the message.
    """
    if len(name) > _LONGEST_NAME:
        return f"{what} {name[:40]!r}... is {len(name)} characters long; at most {_LONGEST_NAME} are read"
    found = _CONTROL.search(name)
    if found is not None:
        return f"{what} {name!r} holds the control character {found[0]!r}; rename it"
    return None


def shape_problem(shape: Sequence[int]) -> str | None:
    """Returns why no blob of Caffe can have a shape of sizes that are not negative, or None."""
    if len(shape) > MOST_AXES:
        return f"has {len(shape)} axes; Caffe's blobs have at most {MOST_AXES}"
    # Python's integers do not overflow.
    count = prod(shape)
    if count > LARGEST_BLOB:
        sizes = "x".join(map(str, shape))
        return f"of shape {sizes} would hold {count} numbers; Caffe's blobs hold at most {LARGEST_BLOB}"
    return None


def layer_problems(message: Any, *, infinite: bool = False) -> list[str]:
    """Returns what is wrong with a LayerParameter's names and numbers, whatever its type is; some types allow infinite numbers."""
    problems = [] if message.type else ["has no type"]
    named = [(message.name, "the layer's name"), (message.type, "the layer's type")]
    named += [(blob, "blob") for blob in dict.fromkeys((*message.bottom, *message.top))]
    named += [(spec.name, "the shared parameter") for spec in message.param]
    problems += [problem for name, what in named if (problem := name_problem(name, what)) is not None]
    if "" in message.bottom or "" in message.top:
        problems.append("has a bottom or top without a name")
    return [*problems, *_wrong_numbers(message, infinite)]


def _wrong_numbers(message: Any, infinite: bool, path: str = "") -> Iterator[str]:
    """Yields the fields that are NaN or, unless ``infinite``, infinite; weights are looked at where they are read."""
    for field, value in message.ListFields():
        if field.name == "blobs" or field.name.endswith("filler"):
            continue
        items = value if hasattr(value, "append") else (value,)
        if field.message_type is not None:
            for item in items:
                yield from _wrong_numbers(item, infinite, f"{path}{field.name}.")
        elif field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            wrong = [item for item in items if math.isnan(item) or (math.isinf(item) and not infinite)]
            if wrong:
                yield f"{path}{field.name} is {wrong[0]}, expected a number"
