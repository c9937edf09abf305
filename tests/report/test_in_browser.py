"""The page as a real browser sees it."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from nuqconv.report.html import html_page
from tests.report.browser import find_browser
from tests.report.documents import made_up

WIDE, NARROW = 1240, 420


@pytest.fixture(scope="module")
def browser():
    return find_browser()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html_page(made_up(40, 25)), encoding="utf-8")
    return path


def changed(page, tmp_path, script):
    """The page with a script behind its own."""
    path = tmp_path / "changed.html"
    path.write_text(page.read_text(encoding="utf-8") + f"<script>{script}</script>", encoding="utf-8")
    return path


def first_cells(dom, table):
    body = re.search(rf'<table class="t {table}".*?<tbody>(.*?)</tbody>', dom, re.DOTALL)[1]
    return re.findall(r"<tr[^>]*><td[^>]*>([^<]*)</td>", body)


def test_the_browser_reads_it_as_it_was_meant(browser, page):
    dom = browser.dom(page)
    report = made_up(40, 25).document
    assert first_cells(dom, "L") == [layer.name for layer in report.layers]
    assert first_cells(dom, "T") == [str(trial.number) for trial in report.trials]
    assert dom.count('<svg role="img">') == 40
    assert dom.count("<th ") == dom.count('<th scope="col">')
    assert dom.count("<button") == 8 + 11 + 10 + 0


def test_a_click_on_a_heading_sorts(browser, page, tmp_path):
    click = "document.querySelectorAll('table.L th button')[%d].click();"
    sizes = {layer.name: layer.bytes for layer in made_up(40, 25).document.layers}
    largest = browser.dom(changed(page, tmp_path, click % 5))
    assert [sizes[name] for name in first_cells(largest, "L")] == sorted(sizes.values(), reverse=True)
    assert largest.count('aria-sort="descending"') == 1
    smallest = browser.dom(changed(page, tmp_path, click % 5 * 2))
    assert [sizes[name] for name in first_cells(smallest, "L")] == sorted(sizes.values())
    names = browser.dom(changed(page, tmp_path, click % 0))
    assert len(set(first_cells(names, "L"))) == 40
    assert names.count('aria-sort="ascending"') == 1


def test_pointing_at_a_picture_says_what_it_is(browser, page, tmp_path):
    point = (
        "var c=document.querySelector('svg circle.A');c.dispatchEvent(new PointerEvent('pointermove',{bubbles:true,clientX:9,clientY:9}));"
        "document.title=document.getElementById('tip').hidden?'nothing':document.getElementById('tip').textContent;"
    )
    title = re.search(r"<title>(.*?)</title>", browser.dom(changed(page, tmp_path, point)), re.DOTALL)[1]
    assert re.match(
        r"Trial \d+: accepted\nexchange: res\d+_branch2a int8 to 16 levels\ntop1 0\.\d+, [\d,]+ bytes", title
    )


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_nothing_is_wider_than_the_window(browser, page, tmp_path, width):
    """Tables that are scroll inside of themselves."""
    script = (
        f"var f=document.createElement('iframe');f.style.width='{width}px';"
        "f.srcdoc=document.documentElement.outerHTML.replace(/<script>[^]*/,'');"
        "f.onload=function(){document.title='width '+f.contentDocument.documentElement.scrollWidth};"
        "document.body.innerHTML='';document.body.appendChild(f)"
    )
    dom = browser.dom(changed(page, tmp_path, script))
    assert int(re.search(r"<title>width (\d+)", dom)[1]) <= width


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_it_is_drawn(browser, page, tmp_path, width, dark):
    picture = cv2.imread(str(browser.picture(page, tmp_path / "page.png", width=width, dark=dark)))
    assert picture.shape[:2] == (1600, width)
    colours, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    background = colours[counts.argmax()]
    assert (background.mean() < 60) == dark
    # Text and pictures, not a few lines; and all down the page.
    assert len(colours) > 200
    busy = (np.abs(picture.astype(int) - background).sum(axis=2) > 60).mean(axis=1)
    assert all((part > 0).mean() > 0.3 for part in np.array_split(busy, 8))


def test_it_can_be_printed(browser, page, tmp_path):
    data = browser.pdf(page, tmp_path / "page.pdf").read_bytes()
    assert data.startswith(b"%PDF-")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 12
