"""Small rules of the sources that no linter has."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = [path for folder in ("nuqconv", "frontends", "backends") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        (r'"""Return ', '"""Returns '),
        (r"getLogger\((?!__name__\)|\))", "a logger has the name of its module"),
        (r"\banew\b", "again"),
    ],
)
def test_words_that_are_not_used(pattern, instead):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in PACKAGE
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert found == [], f"instead: {instead}"
