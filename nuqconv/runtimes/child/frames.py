"""The headers of frames that a child sends, checked before anything is allocated for what they announce.

The child runs native code, and maybe a user's Python layers, so what comes out of it may be anything.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from nuqconv.files.bounded import LARGEST_BLOB, MOST_AXES
from nuqconv.files.safe_json import parse
from nuqconv.runtimes.child.kind import ChildKind

__all__ = ["Announced", "header_length", "read_header"]

# Names and shapes of a net of 100,000 blobs fit into it.
_LONGEST_HEADER = 64 * 2**20
_OF_A_FAILURE = ("error", "message", "traceback")
_FLOAT = "<f4"


class Announced(NamedTuple):
    """An array that follows a header; its type is as numpy writes it."""

    name: str
    shape: tuple[int, ...]
    dtype: str = _FLOAT


def header_length(announced: int, kind: ChildKind) -> int:
    """Returns the length of a header as a frame announces it.

    Raises:
        ChildProcessFailedError: No header is that long.
    """
    if announced > _LONGEST_HEADER:
        raise kind.error(
            f"{kind.name} announces a header of {announced} bytes, more than the {_LONGEST_HEADER} that are read"
        )
    return announced


def read_header(text: bytes | bytearray, kind: ChildKind) -> tuple[dict[str, Any], list[Announced]]:
    """Reads the header of an answer.

    Args:
        text: Its bytes.
        kind: Who has sent it.

    Returns:
        Its fields without ``arrays``, and the arrays that follow.

    Raises:
        ChildProcessFailedError: It is no header of an answer.
    """
    try:
        fields = parse(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise kind.error(f"{kind.name} answered with a header that is no JSON: {error}") from error
    problem = _problem(fields, kind)
    if problem:
        raise kind.error(f"{kind.name} answered with a damaged header: {problem}")
    return fields, [Announced(name, tuple(shape), *dtype) for name, shape, *dtype in fields.pop("arrays")]


def _problem(fields: Any, kind: ChildKind) -> str:
    """Returns what is wrong with the content of a header, or an empty text."""
    if not isinstance(fields, dict) or type(fields.get("ok")) is not bool or not isinstance(fields.get("arrays"), list):
        return "it must be an object with 'ok' and 'arrays'"
    if not fields["ok"] and not all(isinstance(fields.get(key), str) for key in _OF_A_FAILURE):
        return f"a failure must have {', '.join(_OF_A_FAILURE)}"
    return next((problem for item in fields["arrays"] if (problem := _array_problem(item, kind))), "")


def _array_problem(item: Any, kind: ChildKind) -> str:
    """Returns what is wrong with what a header says of one array, or an empty text."""
    if not (isinstance(item, list) and len(item) in (2, 3) and isinstance(item[0], str) and isinstance(item[1], list)):
        return f"{item!r:.80} is no pair of name and shape"
    name, shape, *dtype = item
    if dtype and not (isinstance(dtype[0], str) and dtype[0] in kind.dtypes):
        return f"array {name!r:.80} has the type {dtype[0]!r:.80}"
    if len(shape) > MOST_AXES or not all(type(size) is int and size >= 0 for size in shape):
        return f"array {name!r:.80} has the shape {shape!r:.80}"
    if prod(max(size, 1) for size in shape) > LARGEST_BLOB:
        return f"array {name!r:.80} of shape {shape!r:.80} is larger than a blob can be"
    return ""
