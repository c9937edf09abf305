"""JSON with the line of each key, and without what JSON itself leaves to chance: duplicate keys, NaN and infinities."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from nuqconv.errors import ConfigError
from nuqconv.files.json_model import key_path
from nuqconv.files.safe_json import check_depth

__all__ = ["JsonDocument", "KeyPath", "Problem", "listed", "parse_json"]

KeyPath = tuple[str | int, ...]
# The line, and the text without it.
Problem = tuple[int, str]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """A parsed text.

    Attributes:
        value: The top value.
        place: Where the top value stands, and all in it.
        problems: Duplicate keys and numbers that JSON does not have.
    """

    value: object
    place: _Place
    problems: tuple[Problem, ...]

    def line(self, path: KeyPath) -> int:
        """Returns the line of a key, or of the nearest key around it that exists."""
        place = self.place
        for part in path:
            if part not in place.inside:
                break
            place = place.inside[part]
        return place.line

    def problem(self, path: KeyPath, text: str) -> Problem:
        """Returns a problem at a key."""
        return self.line(path), f"{key_path(path)}: {text}"


def listed(problems: Iterable[Problem]) -> list[str]:
    """Returns the problems as text, in the order of their lines."""
    return [f"line {line}: {text}" for line, text in sorted(problems, key=lambda problem: problem[0])]


def parse_json(text: str, source: str) -> JsonDocument:
    """Parses a JSON text.

    Args:
        text: The text.
        source: Its file, for messages.

    Raises:
        ConfigError: It is no JSON.
    """
    try:
        check_depth(text)
    except ValueError as error:
        raise ConfigError(f"{source}: the JSON is refused: {error}; check that it is the right file") from error
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from error
    except ValueError as error:
        raise ConfigError(f"{source}: a number in the JSON cannot be read: {error}") from error
    scan = _Scan(text)
    return JsonDocument(value, scan.root, tuple(scan.problems))


@dataclass(slots=True)
class _Place:
    """Where a value stands, and the values in it."""

    line: int
    inside: dict[str | int, _Place] = field(default_factory=dict)


class _Scan:
    """One walk over the tokens of a text that is known to be JSON."""

    def __init__(self, text: str) -> None:
        self.root = _Place(1)
        self.problems: list[Problem] = []
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        # For each open bracket its place and the key or index that comes next; None where an object waits for a key.
        self._open: list[tuple[_Place, str | int | None]] = []
        key = ""
        for match in _TOKEN.finditer(text):
            part = match[0]
            if part in {"{", "["}:
                self._open.append((self._value(match), None if part == "{" else 0))
            elif part in {"}", "]"}:
                self._open.pop()
            elif part == ":":
                self._next(key)
            elif part == ",":
                last = self._open[-1][1]
                self._next(last + 1 if isinstance(last, int) else None)
            elif self._open and self._open[-1][1] is None:
                key = json.loads(part)
                self._key(key, match)
            else:
                self._value(match)
                if not part.startswith('"'):
                    self._number(part, match)

    def _next(self, part: str | int | None) -> None:
        self._open[-1] = (self._open[-1][0], part)

    def _path(self) -> KeyPath:
        return tuple(part for _, part in self._open if part is not None)

    def _line(self, match: re.Match[str]) -> int:
        return bisect_right(self._starts, match.start())

    def _key(self, key: str, match: re.Match[str]) -> None:
        line = self._line(match)
        inside = self._open[-1][0].inside
        if key in inside:
            path = key_path((*self._path(), key))
            self.problems.append((line, f"{path}: the key is already in line {inside[key].line}; keep one of them"))
        # Only the last value counts, so what was in an earlier one is forgotten.
        inside[key] = _Place(line)

    def _value(self, match: re.Match[str]) -> _Place:
        """Returns the place of a value; a key has made it already, a list item has not."""
        if not self._open:
            self.root = _Place(self._line(match))
            return self.root
        holder, part = self._open[-1]
        return holder.inside.setdefault("" if part is None else part, _Place(self._line(match)))

    def _number(self, token: str, match: re.Match[str]) -> None:
        if token in {"true", "false", "null"}:
            return
        if not math.isfinite(float(token)):
            path = key_path(self._path())
            self.problems.append((self._line(match), f"{path}: found {token}; expected a finite number"))
