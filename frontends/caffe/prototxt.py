"""Reads a .prototxt layer by layer, so that every message names its line and an unknown layer is kept to the letter.

Layers of the old generations (``layers``, V1 and V0) come out as current ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from nuqconv.errors import FormatError, ModelError
from nuqconv.files.bounded import MOST_TEXT, read_bounded
from nuqconv.files.proto_text import ParseError, parse_text
from nuqconv.files.sniff import stranger
from nuqconv.frontends.caffe.checks import MOST_LAYERS
from nuqconv.frontends.caffe.fields import Fields, Hints, UnknownField, parse_fields, unknown_fields
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.frontends.caffe.upgrade import fold_padding, upgrade_v0, upgrade_v1

__all__ = ["LayerText", "Prototxt", "read_prototxt"]

_TOKEN = re.compile(
    r"""(?P<skip>[\s,;]+|\#[^\n]*)|(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<open>[{<])|(?P<close>[}>])|(?P<list>\[)|(?P<end>\])|(?P<word>[^\s{}<>"'#,;:\[\]]+)|(?P<colon>:)"""
)
_SEPARATOR = re.compile(r"(?:\s|#[^\n]*\n)*[,;]")
_VISIBLE = re.compile(r"\S")
_PAIRS = {"{": "}", "<": ">", "[": "]"}
# Caffe's own messages are 4 deep. Those who parse further call themselves for each level.
_DEEPEST = 64
_NETS = ("net", "train_net", "test_net")
_SOLVER = frozenset((*_NETS, "base_lr", "lr_policy", "max_iter", "solver_mode", "snapshot_prefix", "test_iter"))
_WEIGHTS = re.compile(r"\bblobs\s*[:{<]")


@dataclass(frozen=True)
class LayerText:
    """One layer.

    Attributes:
        message: The LayerParameter; fields that the schema lacks are missing from it.
        line: Line on which the entry starts.
        text: The entry as it stands, from ``layer`` to the closing brace; None where it is not this layer's present form.
        unknown: The fields that the schema lacks.
        read: All fields of the layer, whatever the schema knows; None stands for those of ``text``.
    """

    message: Any
    line: int
    text: str | None
    unknown: tuple[UnknownField, ...] = ()
    read: Fields | None = None

    @cached_property
    def fields(self) -> Fields:
        """All fields of the layer, whatever the schema knows."""
        if self.read is not None:
            return self.read
        return parse_fields(self.text or "").message("layer")


@dataclass(frozen=True)
class Prototxt:
    """A network definition.

    Attributes:
        path: The file.
        header: A NetParameter with everything outside of layers.
        layers: The layers in file order.
        unknown: Fields outside of layers that the schema lacks.
        notes: What was changed on reading, in words.
    """

    path: str
    header: Any
    layers: tuple[LayerText, ...]
    unknown: tuple[UnknownField, ...] = ()
    notes: tuple[str, ...] = ()


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
        The definition, V1 and V0 layers upgraded as Caffe does. Fields unknown to the schema are accepted here and listed in ``unknown``.

    Raises:
        FormatError: The file cannot be read, is empty, or is not protobuf text of a network; all faults with line and column.
    """
    path = str(path)
    try:
        data = read_bounded(path, MOST_TEXT)
        other = stranger(data)
        if other is not None:
            raise FormatError(f"{path}: {other}")
        text = data.decode("utf-8")
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path}: is no text file (byte {error.start} is not UTF-8); a .prototxt is expected here"
        ) from error
    return _parsed(path, text)


# A search reads the same text again and again with other weights. Nothing that is read is changed afterwards.
@lru_cache(maxsize=2)
def _parsed(path: str, text: str) -> Prototxt:
    if not text.strip():
        raise FormatError(f"{path}: is empty; a network definition (.prototxt) is expected here")
    entries = list(_entries(path, text))
    if len(entries) > MOST_LAYERS:
        raise FormatError(
            f"{path}: has {len(entries)} fields outside of layers and layers; at most {MOST_LAYERS} are read"
        )
    problems: list[str] = []
    notes: list[str] = []
    kinds = {entry.name for entry in entries}
    if not kinds & {"layer", "layers"} and kinds & _SOLVER:
        nets = [entry.text.partition(":")[2].strip() for entry in entries if entry.name in _NETS]
        raise FormatError(
            f"{path}: is a solver, which says how a net is trained; give the net itself"
            + (f", which it names: {', '.join(nets)}" if nets else "")
        )
    if {"layer", "layers"} <= kinds:
        line = next(entry.line for entry in entries if entry.name == "layers")
        problems.append(
            f"{path}:{line}: 'layers' (the old form) stands beside 'layer'; Caffe would read only one of them"
        )
    hints = Hints()
    layers = [_layer(path, entry, problems, hints) for entry in entries if entry.name == "layer"]
    old = [_layer(path, entry, problems, hints) for entry in entries if entry.name == "layers"]
    if not problems and old:
        layers = _upgraded(path, [layer for layer in old if layer is not None], problems, notes)
    header = NetParameter()
    unknown: list[UnknownField] = []
    for entry in entries:
        if entry.name in NetParameter.DESCRIPTOR.fields_by_name:
            if entry.name not in ("layer", "layers"):
                _parse(path, entry, header, problems)
            continue
        try:
            unknown += _unknown(path, entry, hints)
        except FormatError as error:
            problems.append(f"{path}:{entry.line}: {error}")
    if problems:
        raise FormatError(f"{path}: is not a valid network definition", problems)
    if not layers:
        raise FormatError(f"{path}: holds no layer; a network definition (.prototxt) is expected here")
    found = tuple(layer for layer in layers if layer is not None)
    return Prototxt(path, header, found, tuple(unknown), tuple(notes))


def _messages(entry: _Entry) -> Sequence[Fields]:
    try:
        return parse_fields(entry.text).messages(entry.name)
    except FormatError:
        return ()


def _layer(path: str, entry: _Entry, problems: list[str], hints: Hints) -> LayerText | None:
    """Parses a ``layer`` or ``layers`` entry; of the latter the message is a V1LayerParameter."""
    if _WEIGHTS.search(entry.text) and any(item.messages("blobs") for item in _messages(entry)):
        problems.append(
            f"{path}:{entry.line}: holds weights (blobs) as text, which are read from the .caffemodel only; load the net in Caffe and save it "
            "(net.save), and take the blobs out of this file"
        )
        return None
    net = NetParameter()
    unknown: tuple[UnknownField, ...] = ()
    try:
        parse_text(entry.text, net)
    except ParseError as error:
        try:
            unknown = _unknown(path, entry, hints)
            net = NetParameter()
            parse_text(_without(entry.text, unknown), net)
        except FormatError:
            problems.append(_message(path, entry, error))
            return None
        except ParseError as other:
            problems += [*map(str, unknown), _message(path, entry, other)]
            return None
        if not unknown:
            problems.append(_message(path, entry, error))
            return None
    messages = getattr(net, entry.name)
    if len(messages) != 1:
        problems.append(f"{path}:{entry.line}: holds {len(messages)} layers in one list; write '{entry.name}' for each")
        return None
    (message,) = messages
    return LayerText(message, entry.line, entry.text, unknown)


def _unknown(path: str, entry: _Entry, hints: Hints) -> tuple[UnknownField, ...]:
    def place(line: int, column: int) -> str:
        return f"{path}:{entry.line + line - 1}:{column}"

    found = unknown_fields(parse_fields(entry.text), NetParameter.DESCRIPTOR, place, hints)
    # What stands around a layer's field begins with the layer itself.
    return tuple(replace(item, path=item.path.partition("/")[2]) for item in found)


def _without(text: str, fields: Iterable[UnknownField]) -> str:
    """Returns a text with blanks for some fields, so that everything else stands where it stood.

    Protobuf can skip unknown fields itself, but copies the whole line for each of them.
    """
    parts, end = [], 0
    for field in fields:
        # Of a list there are as many fields as it has values.
        if field.start < end:
            continue
        parts.append(text[end : field.start])
        end = field.start + len(field.text)
        separator = _SEPARATOR.match(text, end)
        end = separator.end() if separator else end
        parts.append(_VISIBLE.sub(" ", text[field.start : end]))
    return "".join((*parts, text[end:]))


def _upgraded(path: str, layers: list[LayerText], problems: list[str], notes: list[str]) -> list[LayerText | None]:
    """Returns V1 or V0 layers as current ones."""
    flat = [layer.message.HasField("layer") for layer in layers]
    if any(flat) and not all(flat):
        problems += [
            f"{path}:{layer.line}: is a V1 layer, but the file holds V0 layers too"
            for layer, is_flat in zip(layers, flat, strict=True)
            if not is_flat
        ]
        return []
    generation, upgrade = ("V0", upgrade_v0) if any(flat) else ("V1", upgrade_v1)
    messages = [layer.message for layer in layers]
    try:
        messages = fold_padding(messages) if any(flat) else messages
    except ModelError as error:
        problems += [f"{path}: {problem}" for problem in error.problems]
        return []
    found: list[LayerText | None] = []
    for layer, message in zip(layers, messages, strict=True):
        if message is None:
            continue
        try:
            new = upgrade(message)
        except ModelError as error:
            problems.append(f"{path}:{layer.line}: {error}")
            continue
        read = new.fields if any(flat) else parse_fields(layer.text or "").message("layers")
        found.append(LayerText(new.message, layer.line, None, layer.unknown, read))
        notes += [
            f"{path}:{layer.line}: layer '{new.message.name}' ({new.message.type}): '{name}' does not belong to this type and is ignored, as in Caffe"
            for name in new.ignored
        ]
    folded = len(layers) - len(found) - len(problems)
    notes.append(
        f"{path}: {len(layers)} layers of the {generation} form are read as current ones"
        + (f", {folded} padding layers folded into the layers behind them" if folded > 0 else "")
    )
    return found


def _parse(path: str, entry: _Entry, net: Any, problems: list[str]) -> None:
    part = NetParameter()
    try:
        parse_text(entry.text, part)
    except ParseError as error:
        problems.append(_message(path, entry, error))
        return
    repeated = [
        field.name
        for field, _ in part.ListFields()
        if not hasattr(getattr(part, field.name), "append") and net.HasField(field.name)
    ]
    problems.extend(f"{path}:{entry.line}: '{name}' stands here a second time" for name in repeated)
    net.MergeFrom(part)


def _message(path: str, entry: _Entry, error: ParseError) -> str:
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
            _open(path, stack, token, line)
        elif kind in ("list", "end") and stack and stack[-1][0] != "[":
            # A list inside of a message is left to protobuf, so that a fault in one layer hides no other.
            continue
        elif kind == "list" and name:
            stack.append((token, line))
        elif kind in ("close", "end"):
            _close(path, stack, token, line)
            ended = not stack
        elif not stack and name:
            ended = kind != "colon"
            if ended and not valued:
                raise FormatError(f"{path}:{line}: expected ':' or '{{' after {name[:40]!r}, found {token[:40]!r}")
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
        raise FormatError(f"{path}:{first_line}: {name[:40]!r} has no value; the file may be truncated")


def _open(path: str, stack: list[tuple[str, int]], token: str, line: int) -> None:
    stack.append((token, line))
    if len(stack) > _DEEPEST:
        raise FormatError(
            f"{path}:{line}: messages are nested more than {_DEEPEST} deep; check that it is the right file"
        )


def _close(path: str, stack: list[tuple[str, int]], token: str, line: int) -> None:
    if not stack or _PAIRS[stack[-1][0]] != token:
        raise FormatError(f"{path}:{line}: '{token}' closes nothing")
    stack.pop()
