"""docs/results.md: who measures one part again leaves the others as they are."""

from __future__ import annotations

from pathlib import Path

from search import HEADING, PARTS, write_section

RESULTS = Path(__file__).parents[2] / "docs" / "results.md"


def test_other_parts_stay(tmp_path):
    target, text = tmp_path / "results.md", RESULTS.read_text(encoding="utf-8")
    target.write_text(text, encoding="utf-8")
    write_section(target, {})
    assert target.read_text(encoding="utf-8") == text
    write_section(target, {"kills": "\n| a |  \n| b |\n", "solver": "new\n"})
    found = target.read_text(encoding="utf-8")
    assert found.count("```\n| a |\n| b |\n```") == 1
    assert found.count("```\nnew\n```") == 1
    before, after = (
        {part.splitlines()[0]: part for part in whole.split("\n### ")[1:] if "benchmarks/" in part.splitlines()[0]}
        for whole in (text, found)
    )
    changed = [name for name, part in after.items() if before.get(name) != part]
    assert [name.partition("(`")[2] for name in changed] == ["benchmarks/solver.py`)", "benchmarks/kills.py`)"]
    assert [title for title in PARTS.values() if f"### {title} (" in found] == [
        name.partition(" (`")[0] for name in after
    ]
    # What stands around the section is as it was.
    assert found.partition(HEADING)[0] == text.partition(HEADING)[0]
    assert found.partition("\n## Published")[2] == text.partition("\n## Published")[2]
