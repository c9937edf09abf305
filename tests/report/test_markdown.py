"""The report for a pull request."""

from __future__ import annotations

from dataclasses import replace

from nuqconv.report.markdown import markdown_page
from tests.report.documents import made_up


def test_everything_that_matters_is_in_it():
    document = made_up().document
    text = markdown_page(document)
    assert text == markdown_page(made_up().document)
    assert "**The demand is met: top1 at least 0.695.**" in text
    assert all(f"| {layer.name.replace('_', chr(92) + '_')} |" in text for layer in document.layers)
    assert all(f"| {trial.number} | exchange: res" in text for trial in document.trials)
    assert document.command in text


def test_tables_have_as_many_cells_as_headings():
    tables = [part for part in markdown_page(made_up().document).split("\n\n") if part.startswith("|")]
    assert len(tables) >= 5
    for table in tables:
        counts = {line.replace("\\|", "").count("|") for line in table.splitlines()}
        assert len(counts) == 1, table


def test_what_strangers_wrote_is_text():
    odd = replace(made_up().document, network="a|b*c<script>\n# x", notes=("[x](y)",))
    text = markdown_page(odd)
    assert "## a\\|b\\*c\\<script\\> \\# x: quantization" in text
    assert "> \\[x\\](y)" in text
