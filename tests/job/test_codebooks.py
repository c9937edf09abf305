"""The codebooks file."""

from __future__ import annotations

import json

import pytest

from nuqconv.errors import FormatError
from nuqconv.job.codebooks import codebooks_text, read_codebooks
from nuqconv.quantize.plan import LayerPlan, Plan, Precision


def test_what_is_written_reads_back(tmp_path):
    books = {"a": (-128, 0, 127), 'b "é;': (5,)}
    plan = {name: LayerPlan(Precision.NUQ, book, 16) for name, book in books.items()}
    text = codebooks_text(Plan.of({**plan, "c": LayerPlan(Precision.INT8)}))
    (tmp_path / "c.json").write_text(text)
    found = read_codebooks(tmp_path / "c.json")
    assert {name: tuple(book.levels) for name, book in found.items()} == books
    assert [book.num_steps for book in found.values()] == [16, 16]
    assert len(text.splitlines()) == 7
    (tmp_path / "none.json").write_text(codebooks_text(Plan()))
    assert read_codebooks(tmp_path / "none.json") == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "is no JSON file"),
        ("{}", "version: missing"),
        ({"version": 2, "codebooks": {}}, "version: found 2; expected 1"),
        ({"version": 1, "codebooks": {"a": {"num_steps": 16, "levels": [2, 1]}}}, "codebooks.a.levels: found [2, 1]"),
        ({"version": 1, "codebooks": {"a": {"num_steps": 16, "levels": [0, 128]}}}, "expected integers in [-128, 127]"),
        ({"version": 1, "codebooks": {"a": {"num_steps": 0, "levels": [0]}}}, "codebooks.a.num_steps"),
        ({"version": 1, "codebooks": {"a": {"num_steps": 16, "levels": []}}}, "codebooks.a.levels"),
    ],
)
def test_what_is_no_codebooks_file(tmp_path, content, words):
    path = tmp_path / "c.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(FormatError) as caught:
        read_codebooks(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
