"""Counts that the documents say are those of the code."""

import re
from pathlib import Path

import pytest

from fuzz.targets import TARGETS
from nuqconv.frontends.onnx.registry import claimed
from tests.corpus.build import CASES

ROOT = Path(__file__).parents[2]
_KEPT = sum(isinstance(case.content, bytes) for case in CASES)


@pytest.mark.parametrize(
    ("document", "words", "count"),
    [
        ("docs/onnx.md", r"([\d,]+) operators have a converter", len(claimed())),
        ("docs/security.md", r"has ([\d,]+) malformed files", _KEPT),
        ("docs/security.md", r"and ([\d,]+) of a megabyte", len(CASES) - _KEPT),
        ("docs/security.md", r"There are ([\d,]+) targets", len(TARGETS)),
    ],
)
def test_a_count_in_prose(document, words, count):
    found = re.findall(words, (ROOT / document).read_text(encoding="utf-8"))
    assert [int(number.replace(",", "")) for number in found] == [count]
