"""The one console on standard error: bars and messages on two of them would paint over each other."""

from __future__ import annotations

import functools

from rich.console import Console

__all__ = ["error_console"]


@functools.cache
def error_console() -> Console:
    """Returns the console on standard error."""
    return Console(stderr=True, highlight=False)
