"""Text from files for people to read."""

from __future__ import annotations

import re

__all__ = ["printable"]

# Names in a file are its maker's choice; a terminal would obey the control characters in them, and half a surrogate pair cannot be printed.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LONG_LINE, _KEPT = 4100, 4000


def printable(text: str) -> str:
    """Returns a text with unprintable characters as escapes and without the middle of very long lines."""
    lines = [
        line
        if len(line) <= _LONG_LINE
        else f"{line[: _KEPT // 2]} ... ({len(line) - _KEPT} characters) ... {line[-_KEPT // 2 :]}"
        for line in text.split("\n")
    ]
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), "\n".join(lines))
