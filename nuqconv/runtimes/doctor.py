"""Which runtimes are there, and how to get the missing ones."""

from __future__ import annotations

import platform
import sys

from nuqconv.runtimes.base import Check, in_one_line
from nuqconv.runtimes.table import DEFAULT, RUNTIMES

__all__ = ["Check", "checks"]


def checks() -> tuple[Check, ...]:
    """Looks at Python and at every runtime of the table; each is really started, none raises."""
    return (_python(), *(_runtime(name) for name in RUNTIMES))


def _python() -> Check:
    version = platform.python_version()
    return Check(
        "Python",
        sys.version_info >= (3, 10),
        True,
        f"{version} ({sys.executable})",
        "nuqconv needs Python 3.10 or later",
    )


def _runtime(name: str) -> Check:
    try:
        runtime = RUNTIMES[name]
    except Exception as error:  # noqa: BLE001 - a package that its module needs may fail in any way when it is imported
        return Check(name, False, name == DEFAULT, in_one_line(error), "install or repair the package that is named")
    return runtime.check()
