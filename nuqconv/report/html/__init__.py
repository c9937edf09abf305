"""The page: one HTML file with pictures in it, which needs no library and no network."""

from __future__ import annotations

from nuqconv.report.html.page import html_page

__all__ = ["html_page"]
