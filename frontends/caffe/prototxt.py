"""Reads a .prototxt layer by layer, so that every message names its line and an unknown layer is kept to the letter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from nuqconv.errors import FormatError, UnsupportedError
from nuqconv.frontends.caffe.schema import NetParameter

__all__ = ["LayerText", "Prototxt", "read_prototxt"]

_TOKEN = re.compile(
    r"""(?P<skip>[\s,;]+|\#[^\n]*)|(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<open>[{<])|(?P<close>[}>])|(?P<word>[^\s{}<>"'#,;:]+)|(?P<colon>:)"""
)
_PAIRS = {"{": "}", "<": ">"}


@dataclass(frozen=True)
class LayerText:
    """One ``layer`` entry.

    Attributes:
        message: The parsed LayerParameter; fields that the schema lacks are missing from it.
        line: Line on which the entry starts.
        text: The entry as it stands, from ``layer`` to the closing brace.
        unknown: What the schema did not understand, or None.
    """

    message: Any
    line: int
    text: str
    unknown: str | None = None


@dataclass(frozen=True)
class Prototxt:
    """A network definition: its path, everything outside of layers, and the layers in file order."""

    path: str
    header: Any
    layers: tuple[LayerText, ...]


@dataclass(frozen=True)
class _Entry:
    name: str
    line: int
    text: str


def read_prototxt(path: str | Path) -> Prototxt:
    """Reads a network definition.

    Args:
        path: The .prototxt file, UTF-8.

    Returns:
        The definition. Fields unknown to the schema are accepted here and reported in ``LayerText.unknown``.

    Raises:
        FormatError: The file cannot be read, is empty, or is not protobuf text of a network; all faults with line and column.
        UnsupportedError: The file is of an old generation (``layers``).
    """
    path = str(path)
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path}: is no text file (byte {error.start} is not UTF-8); a .prototxt is expected here"
        ) from error
    if not text.strip():
        raise FormatError(f"{path}: is empty; a network definition (.prototxt) is expected here")
    entries = list(_entries(path, text))
    if any(entry.name == "layers" for entry in entries):
        line = next(entry.line for entry in entries if entry.name == "layers")
        raise UnsupportedError(
            f"{path}:{line}: 'layers' is the old V1 or V0 form of a network; convert the file with Caffe's upgrade_net_proto_text first"
        )
    problems: list[str] = []
    layers = [_layer(path, entry, problems) for entry in entries if entry.name == "layer"]
    header = NetParameter()
    for entry in entries:
        if entry.name != "layer":
            _parse(path, entry, header, problems)
    if problems:
        raise FormatError(f"{path}: is not a valid network definition", problems)
    if not layers:
        raise FormatError(f"{path}: holds no layer; a network definition (.prototxt) is expected here")
    return Prototxt(path, header, tuple(layer for layer in layers if layer is not None))


def _layer(path: str, entry: _Entry, problems: list[str]) -> LayerText | None:
    net = NetParameter()
    try:
        text_format.Parse(entry.text, net)
    except text_format.ParseError as error:
        found = _message(path, entry, error)
        net = NetParameter()
        try:
            text_format.Parse(entry.text, net, allow_unknown_field=True)
        except text_format.ParseError:
            problems.append(found)
            return None
        return LayerText(net.layer[0], entry.line, entry.text, found)
    return LayerText(net.layer[0], entry.line, entry.text)


def _parse(path: str, entry: _Entry, net: Any, problems: list[str]) -> None:
    part = NetParameter()
    try:
        text_format.Parse(entry.text, part)
    except text_format.ParseError as error:
        problems.append(_message(path, entry, error))
        return
    repeated = [
        field.name
        for field, _ in part.ListFields()
        if not hasattr(getattr(part, field.name), "append") and net.HasField(field.name)
    ]
    problems.extend(f"{path}:{entry.line}: '{name}' stands here a second time" for name in repeated)
    net.MergeFrom(part)


def _message(path: str, entry: _Entry, error: text_format.ParseError) -> str:
    line, column = error.GetLine(), error.GetColumn()
    text = re.sub(r"^\d+:\d+ : ", "", str(error)).replace("nuqconv.caffe.", "")
    # The tokenizer repeats the offending source line in front of some messages.
    text = re.sub(r"^'.*?': ", "", text, flags=re.DOTALL)
    return f"{path}:{entry.line + (line or 1) - 1}:{column or 1}: {text}"


def _tokens(path: str, text: str) -> Iterator[tuple[str, str, int, int]]:
    """Yields kind, token, line and position of every token that is not blank or a comment."""
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise FormatError(f"{path}:{line}: a string that starts here does not end on its line")
        if match.lastgroup and match.lastgroup != "skip":
            yield match.lastgroup, match.group(), line, position
        line += text.count("\n", position, match.end())
        position = match.end()


def _entries(path: str, text: str) -> Iterator[_Entry]:
    """Splits the file at its top-level fields."""
    stack: list[tuple[str, int]] = []
    start, first_line, name, valued = 0, 1, "", False
    for kind, token, line, position in _tokens(path, text):
        ended = False
        if kind == "open":
            if not stack and not name:
                raise FormatError(f"{path}:{line}: '{token}' without a field name before it")
            stack.append((token, line))
        elif kind == "close":
            if not stack or _PAIRS[stack[-1][0]] != token:
                raise FormatError(f"{path}:{line}: '{token}' closes nothing")
            stack.pop()
            ended = not stack
        elif not stack and name:
            ended = kind != "colon"
            if ended and not valued:
                raise FormatError(f"{path}:{line}: expected ':' or '{{' after '{name}', found {token[:40]!r}")
            valued = True
        elif not stack:
            start, first_line, name, valued = position, line, token, False
        if ended:
            yield _Entry(name, first_line, text[start : position + len(token)])
            name = ""
    if stack:
        token, line = stack[-1]
        raise FormatError(f"{path}:{line}: '{token}' is never closed; the file may be truncated")
    if name:
        raise FormatError(f"{path}:{first_line}: '{name}' has no value; the file may be truncated")
