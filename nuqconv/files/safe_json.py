"""JSON from strangers: refused where reading it would take memory or stack without bound, or where it says one thing twice."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

__all__ = ["DEEPEST", "check_depth", "parse"]

DEEPEST = 64

# A string that never ends is taken to the end of the text, or each quote in it would be tried as a beginning.
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def check_depth(text: str) -> None:
    """Raises ValueError if brackets are nested more than 64 deep; whoever walks a tree calls himself for each level."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for match in _BRACKET.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"it is nested more than {DEEPEST} deep")
        elif match[0] in "]}":
            depth -= 1


def parse(text: str) -> Any:
    """Parses JSON.

    Args:
        text: The text.

    Raises:
        ValueError: It is no JSON, is nested more than 64 deep, or an object has a key twice.
    """
    check_depth(text)
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = sorted(name for name, count in counts.items() if count > 1)
        raise ValueError(f"key(s) {twice[:10]} come twice in one object")
    return found
