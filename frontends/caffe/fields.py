"""The fields of a piece of protobuf text as they stand, whatever a schema knows of them."""

from __future__ import annotations

import bisect
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nuqconv.errors import FormatError

__all__ = ["Field", "Fields", "Hints", "UnknownField", "parse_fields", "unknown_fields"]

_TOKEN = re.compile(
    r"""(?P<skip>[\s,;]+|\#[^\n]*)|(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<open>[{<])|(?P<close>[}>])|(?P<list>\[)|(?P<end>\])|(?P<colon>:)|(?P<word>[^\s{}<>"'#,;:\[\]]+)"""
)


@dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        name: Its name; an extension's stands in brackets.
        value: A scalar's text, or the fields of a message.
        text: The whole field to the letter.
        line: Line in the text parsed, from 1.
        column: Column there, from 1.
        start: Place of its first character there, from 0.
    """

    name: str
    value: str | Fields
    text: str
    line: int
    column: int
    start: int = 0


@dataclass(frozen=True)
class Fields:
    """The fields of one message in order."""

    items: tuple[Field, ...] = ()

    def message(self, name: str) -> Fields:
        """Returns the last sub-message called ``name``, or an empty one."""
        found = [item.value for item in self.items if item.name == name and isinstance(item.value, Fields)]
        return found[-1] if found else Fields()

    def messages(self, name: str) -> list[Fields]:
        """Returns all sub-messages called ``name``."""
        return [item.value for item in self.items if item.name == name and isinstance(item.value, Fields)]

    def scalars(self, name: str) -> list[str]:
        """Returns the texts of all scalars called ``name``, strings without their quotes."""
        return [item.value.strip("\"'") for item in self.items if item.name == name and isinstance(item.value, str)]

    def integers(self, name: str) -> list[int]:
        """Returns all scalars called ``name`` as integers.

        Raises:
            FormatError: One is none.
        """
        try:
            return [int(text, 0) for text in self.scalars(name)]
        except ValueError as error:
            raise FormatError(f"{name} is {self.scalars(name)[-1]}, expected an integer") from error

    def integer(self, name: str, default: int = 0) -> int:
        """Returns the last scalar called ``name`` as an integer, or ``default``."""
        return (self.integers(name) or [default])[-1]

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Returns the last scalar called ``name`` as a bool, or ``default``."""
        found = self.scalars(name)
        return found[-1] in ("true", "True", "t", "1") if found else default


@dataclass(frozen=True)
class UnknownField:
    """A field that the schema lacks.

    Attributes:
        place: File, line and column, as ``net.prototxt:5:3``.
        path: The messages around it inside of the layer, as ``convolution_param[0]``; empty for a field of the layer itself.
        name: Its name.
        text: The whole field to the letter.
        message: Name of the message type that lacks it.
        near: The known name that is the most like it, or None.
        start: Place of its first character in the text parsed, from 0.
        value: The word, if it is the value of a known field that is unknown.
    """

    place: str
    path: str
    name: str
    text: str
    message: str
    near: str | None
    start: int = 0
    value: str | None = None

    def __str__(self) -> str:
        hint = f"; did you mean '{self.near}'?" if self.near else ""
        if self.value is not None:
            return f"{self.place}: field '{self.name}' of {self.message} has no value '{self.value}'{hint}"
        return f"{self.place}: {self.message} has no field '{self.name}'{hint}"

    @property
    def messages(self) -> tuple[str, ...]:
        """Names of the messages around it inside of the layer, from the outermost."""
        return tuple(part.partition("[")[0] for part in self.path.split("/") if part)

    @property
    def only_for_training(self) -> bool:
        """Whether it stands in a filler or in the settings of a parameter, which say how weights begin and learn."""
        return any(name == "param" or name.endswith("filler") for name in self.messages)


def parse_fields(text: str) -> Fields:
    """Parses protobuf text without a schema.

    Args:
        text: Balanced text without unfinished strings.

    Raises:
        FormatError: The text is not made of fields.
    """
    return _Parser(text).fields(None)


class Hints:
    """Finds for a misspelt name the known one that is meant, as long as there are not too many to ask for."""

    def __init__(self, most: int = 100) -> None:
        self.left = most

    def nearest(self, name: str, known: Iterable[str]) -> str | None:
        """Returns the name that is the most like ``name``, or None."""
        self.left -= 1
        # Comparing takes time with the square of the length; what differs in length so much is not alike.
        fits = [other for other in known if abs(len(other) - len(name)) <= 0.4 * len(other)] if self.left >= 0 else []
        near = difflib.get_close_matches(name, fits, 1, 0.8)
        return near[0] if near else None


def unknown_fields(
    fields: Fields, descriptor: Any, place: Callable[[int, int], str], hints: Hints, *, path: str = ""
) -> Iterator[UnknownField]:
    """Yields every field that a message type lacks, and every field whose value is a word that its enumeration lacks, at any depth.

    Args:
        fields: What was parsed.
        descriptor: The protobuf descriptor of the message type.
        place: Turns line and column of the text parsed into a place in its file.
        hints: Finds the names that are meant.
        path: The messages around ``fields``.
    """
    known: Mapping[str, Any] = descriptor.fields_by_name
    counts: dict[str, int] = {}
    for item in fields.items:
        field = known.get(item.name)
        if field is None:
            near = hints.nearest(item.name, known)
            where = place(item.line, item.column)
            yield UnknownField(where, path, item.name, item.text, descriptor.name, near, item.start)
        elif field.enum_type is not None and isinstance(item.value, str) and _is_unknown_word(field, item.value):
            near, where = hints.nearest(item.value, field.enum_type.values_by_name), place(item.line, item.column)
            yield UnknownField(where, path, item.name, item.text, descriptor.name, near, item.start, item.value)
        elif isinstance(item.value, Fields) and field.message_type is not None:
            number = counts.get(item.name, 0)
            counts[item.name] = number + 1
            inner = f"{path}/{item.name}[{number}]".lstrip("/")
            yield from unknown_fields(item.value, field.message_type, place, hints, path=inner)


def _is_unknown_word(field: Any, word: str) -> bool:
    """Whether an enumeration lacks a word; a type of layer is more than a value, and protobuf's own message says what is wrong with it."""
    return field.name != "type" and word.isidentifier() and word not in field.enum_type.values_by_name


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [
            _Token(match.lastgroup or "", match.group(), match.start(), match.end())
            for match in _TOKEN.finditer(text)
            if match.lastgroup != "skip"
        ]
        self.next = 0

    @cached_property
    def line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def fields(self, closing: str | None) -> Fields:
        found: list[Field] = []
        while self.next < len(self.tokens):
            token = self._take()
            if token.kind == closing:
                return Fields(tuple(found))
            name = token.text
            if token.kind == "list":
                while self._peek() not in ("end", ""):
                    name += self._take().text
                name += self._take().text
            elif token.kind != "word":
                raise FormatError(f"expected a field name, found {token.text[:40]!r}")
            found.extend(self._values(name, token.start))
        if closing is not None:
            raise FormatError("a message is never closed")
        return Fields(tuple(found))

    def _values(self, name: str, start: int) -> list[Field]:
        if self._peek() == "colon":
            self._take()
        if self._peek() != "list":
            value = self._value()
            return [self._field(name, value, start)]
        self._take()
        values: list[str | Fields] = []
        while self._peek() not in ("end", ""):
            values.append(self._value())
        self._take()
        return [self._field(name, value, start) for value in values]

    def _value(self) -> str | Fields:
        token = self._take()
        if token.kind == "open":
            return self.fields("close")
        if token.kind not in ("word", "string"):
            raise FormatError(f"expected a value, found {token.text[:40]!r}")
        value = token.text
        while token.kind == "string" and self._peek() == "string":
            value += self._take().text
        return value

    def _field(self, name: str, value: str | Fields, start: int) -> Field:
        line = bisect.bisect_right(self.line_starts, start)
        text = self.text[start : self.tokens[self.next - 1].end]
        return Field(name, value, text, line, start - self.line_starts[line - 1] + 1, start)

    def _peek(self) -> str:
        return self.tokens[self.next].kind if self.next < len(self.tokens) else ""

    def _take(self) -> _Token:
        if self.next >= len(self.tokens):
            raise FormatError("the text ends in the middle of a field")
        self.next += 1
        return self.tokens[self.next - 1]
