"""Checks the site of documents for readers who hear it or who use the keyboard: ``make docs`` runs it behind mkdocs, which checks the links.

python tools/check_site.py build/site

Every page must say its language and title, have one heading of the first order and no order left out, name every picture, link, button and field, and
use each id once. Exit code 1, and a line for each fault.
"""

from __future__ import annotations

import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

_NAMED = {"a": "link", "button": "button"}
_NAMES = ("aria-label", "title", "aria-labelledby")
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "path"}


class _Page(HTMLParser):
    """Collects the faults of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.ids: Counter[str] = Counter()
        self.orders: list[int] = []
        self.open: list[tuple[str, dict[str, str], list[str]]] = []
        self.labels: set[str] = set()
        self.fields: list[dict[str, str]] = []
        self.title = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids[given["id"]] += 1
        if tag == "html" and not given.get("lang"):
            self.faults.append("the page says no language")
        if tag == "label" and "for" in given:
            self.labels.add(given["for"])
        if tag == "img" and "alt" not in given:
            self.faults.append(f"a picture without a text: {given.get('src', '')}")
        if tag == "img" and self.open:
            self.open[-1][2].append(given.get("alt", ""))
        if tag in ("input", "select", "textarea") and given.get("type") not in ("hidden", "checkbox", "radio"):
            self.fields.append(given)
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            self.orders.append(int(tag[1]))
        if tag not in _VOID:
            self.open.append((tag, given, []))

    def handle_data(self, data: str) -> None:
        for _, _, texts in self.open:
            texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self.open:
            name, given, texts = self.open.pop()
            if name in _NAMED and not any(given.get(item) for item in _NAMES) and not "".join(texts).strip():
                hidden = given.get("aria-hidden") == "true" or given.get("tabindex") == "-1" or "hidden" in given
                if not hidden and (name == "button" or "href" in given):
                    self.faults.append(f"a {_NAMED[name]} without a name: {given.get('href', '')}")
            if name == "title" and not self.title:
                self.title = "".join(texts).strip()
            if name == tag:
                return

    def end(self) -> list[str]:
        """Returns all faults."""
        self.faults += [f"id '{name}' is there {count} times" for name, count in self.ids.items() if count > 1]
        if not self.title:
            self.faults.append("the page has no title")
        if self.orders.count(1) != 1:
            self.faults.append(f"{self.orders.count(1)} headings of the first order")
        for before, after in zip(self.orders, self.orders[1:], strict=False):
            if after > before + 1:
                self.faults.append(f"a heading of order {after} follows one of order {before}")
        self.faults += [
            f"a field without a name: {given}"
            for given in self.fields
            if not any(given.get(item) for item in (*_NAMES, "placeholder")) and given.get("id") not in self.labels
        ]
        return self.faults


def main() -> int:
    """Checks the pages below a folder; returns the exit code."""
    folder = Path(sys.argv[1])
    pages = sorted(path for path in folder.rglob("*.html") if path.name != "404.html")
    bad = 0
    for path in pages:
        page = _Page()
        page.feed(path.read_text(encoding="utf-8"))
        for fault in page.end():
            bad += 1
            sys.stdout.write(f"{path.relative_to(folder)}: {fault}\n")
    sys.stdout.write(f"{len(pages)} pages, {bad} faults\n")
    return int(bad > 0 or not pages)


if __name__ == "__main__":
    sys.exit(main())
