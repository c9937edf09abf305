"""The page: whole, small, the same each time, and readable by all."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from nuqconv.report.document import Document
from nuqconv.report.html import html_page
from nuqconv.report.html.style import DARK, LIGHT
from nuqconv.report.html.text import escaped, number_cell, short, signed, size
from nuqconv.report.html.weights import DETAILS
from tests.report.documents import Page, made_up

MOST = 300_000


@pytest.fixture(scope="module")
def large():
    report = made_up(500, 100)
    return report, html_page(report)


def numbers_of(value):
    """All numbers of JSON, wherever they stand; not those that are true or false."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers_of(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers_of(item)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def numbers_in(text):
    return {float(found.replace(",", "")) for found in re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?", text)}


def test_500_layers_and_100_trials_can_be_sent(large):
    report, page = large
    assert len(page.encode()) <= MOST
    found = Page.of(page)
    assert found.faults == []
    assert found.open == []
    names = [layer.name for layer in report.document.layers]
    assert all(f">{name}<" in page for name in names)
    assert all(f"<td>{trial.number}<td>{trial.step}" in page for trial in report.document.trials)


def test_every_number_of_the_json_is_in_it(large):
    report, page = large
    there = numbers_in(Page.of(page).words)
    missing = {number for number in numbers_of(report.document.to_object()) if float(number) not in there}
    assert missing == set()


def test_levels_of_every_codebook_are_in_it(large):
    report, page = large
    words = Page.of(page).words
    books = [layer["codebook"] for layer in report.document.plan["layers"].values() if layer["codebook"]]
    assert len(books) > 300
    assert all(" ".join(map(str, book)) in words for book in books)


def test_no_address_is_in_it(large):
    assert "http" not in large[1].lower()
    assert "src=" not in large[1]
    assert "url(" not in large[1]
    assert "@import" not in large[1]
    assert "see http://example.invalid" in Page.of(large[1]).words


def test_a_picture_of_the_data_is_in_the_file():
    page = html_page(replace(made_up(), picture=b"\xff\xd8 no real picture \xff\xd9"))
    assert page.count('src="data:image/jpeg;base64,/9gg') == 1
    assert re.search(r'<img class=p alt="[^"]+"', page)


def test_no_address_comes_about_by_chance():
    # The six letters of base64 that these bytes are.
    page = html_page(replace(made_up(), picture=b"\x86\xdb\x69" * 3))
    assert "http" not in page
    assert "ht\ntp" in page


@pytest.mark.parametrize(("layers", "trials"), [(1, 1), (12, 9), (200, 50)])
def test_pictures_have_a_title_a_description_and_a_role(layers, trials):
    page = Page.of(html_page(made_up(layers, trials)))
    assert page.faults == []
    assert len(page.pictures) == 4 + layers
    assert all(picture["role"] == "img" and picture["title"] and picture["desc"] for picture in page.pictures)


def test_the_same_report_gives_the_same_bytes(large):
    assert html_page(made_up(500, 100)) == large[1]
    assert html_page(replace(large[0], document=Document.from_object(large[0].document.to_object()))) == large[1]


def test_pictures_are_coarser_where_there_are_many():
    sizes = [len(html_page(made_up(count, 10)).encode()) for count in (10, 60, 120, 250, 500)]
    assert sizes == sorted(sizes)
    assert sizes[-1] <= MOST
    assert f"style=--n:{DETAILS[0].units}" in html_page(made_up(10, 10))


def test_what_strangers_wrote_is_text():
    report = made_up()
    odd = replace(report.document, network="<script>alert(1)</script>\x1b[31m", notes=('"><img src=x>',))
    page = html_page(replace(report, document=odd))
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "\x1b" not in page
    assert Page.of(page).faults == []


def without(document, **changes):
    return replace(document, errors=None, plan=None, layers=(), **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": "searching", "metric": None, "best_trial": None, "accepted": None}, "The search goes on."),
        ({"state": "stopped", "trials": (), "metric": None, "best_trial": None}, "The search was stopped."),
        ({"state": "stopped", "trials": (), "metric": None, "best_trial": None, "original_metric": None}, "0 evaluations so far"),
        ({"accepted": False}, "The demand is not met: top1 at least 0.695."),
        ({"limit": None, "demand": "Mine.is_satisfied", "better": None}, "The demand is met."),
        ({"better": "lower"}, "top1 at most 0.695."),
    ],
)  # fmt: skip
def test_what_there_is_not_is_left_out(changes, said):
    page = html_page(replace(made_up(), document=without(made_up().document, **changes), histograms={}))
    assert said in page
    found = Page.of(page)
    assert found.faults == []
    assert all(picture["title"] and picture["desc"] for picture in found.pictures)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    """Source: WCAG 2.2, contrast ratio."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast(colours):
    for text in ("ink", "muted", "good", "bad", "accent"):
        for behind in ("bg", "panel"):
            assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    forms = [colours[name] for name in colours if name.startswith("f-")]
    assert all(contrast(form, colours["bg"]) >= 1.9 for form in forms)


def test_numbers():
    assert escaped("a<b\x00") == "a&lt;b\\x00"
    assert number_cell(None) == "<td>"
    assert number_cell(float("nan")) == "<td>"
    assert number_cell(0.25, "0.25") == "<td>0.25"
    assert number_cell(0.123456789, "0.12346") == "<td data-v=0.123456789>0.12346"
    assert (short(0.123456789), short(12345.6)) == ("0.12346", "12346")
    assert (signed(-0.5), signed(0.25), signed(0)) == ("\N{MINUS SIGN}0.5", "+0.25", "0")
    assert [size(value) for value in (5, 1500, 2_345_678, 3e9)] == ["5 B", "1.5 kB", "2.35 MB", "3 GB"]
