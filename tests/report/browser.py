"""Chromium without a window, to see pages as people see them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

__all__ = ["Browser", "find_browser"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 120


class Browser:
    """Opens pages; each time a new process with a profile of its own."""

    def __init__(self, program: str) -> None:
        self._program = program

    def dom(self, page: Path) -> str:
        """The page after its script has run, as HTML."""
        return self._run(page, "--dump-dom")

    def picture(self, page: Path, target: Path, *, width: int = 1240, height: int = 1600, dark: bool = False) -> Path:
        """A picture of the upper part of the page."""
        dark_mode = ["--force-dark-mode"] if dark else []
        self._run(page, f"--screenshot={target}", f"--window-size={width},{height}", "--hide-scrollbars", *dark_mode)
        return target

    def pdf(self, page: Path, target: Path) -> Path:
        """The page as it is printed."""
        self._run(page, f"--print-to-pdf={target}", "--no-pdf-header-footer")
        return target

    def _run(self, page: Path, *options: str) -> str:
        with tempfile.TemporaryDirectory() as profile:
            ended = subprocess.run(
                [
                    self._program,
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    f"--user-data-dir={profile}",
                    *options,
                    page.as_uri(),
                ],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


def find_browser() -> Browser:
    """Skips the test where there is no browser, or fails it where NUQCONV_REQUIRE_BROWSER=1."""
    program = os.environ.get("NUQCONV_BROWSER") or next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        message = "no Chromium is installed (Debian package chromium)"
        if os.environ.get("NUQCONV_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return Browser(program)
