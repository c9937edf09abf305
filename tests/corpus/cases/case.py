"""One malformed file and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Case"]


@dataclass(frozen=True)
class Case:
    """A malformed file.

    Attributes:
        target: The target of `fuzz.targets` that reads it.
        name: Its name, without an ending.
        content: Its bytes, or what makes them where they are many: such a file is made when it is tested.
        error: Class of `nuqconv.errors` that must be raised.
        text: What the message must contain.
    """

    target: str
    name: str
    content: bytes | Callable[[], bytes]
    error: str
    text: str
