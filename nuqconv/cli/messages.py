"""How messages reach the user: between the bars on a terminal, as lines with their time in a pipe."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["louder", "start_messages", "steps_told"]

_TIME = logging.Formatter()
_ISO = "%Y-%m-%dT%H:%M:%S%z"

_STEPS = ("nuqconv.auto_nuq", "nuqconv.job", "nuqconv.search", "nuqconv.parallel")
"""The loggers that tell the steps of long work, one line for each."""


def start_messages(verbosity: int) -> None:
    """Shows messages of the package from now on; a process does it once."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_Handler()])
    louder(verbosity)


def louder(steps: int) -> None:
    """Says more than was asked for until now: the steps of the work, then everything."""
    if steps:
        root = logging.getLogger()
        root.setLevel(max(logging.DEBUG, root.level - steps * (logging.WARNING - logging.INFO)))


@contextmanager
def steps_told() -> Iterator[None]:
    """While it lasts, each step of long work is told where no bar can be shown."""
    loggers = [] if sys.stderr.isatty() else [logging.getLogger().getChild(name) for name in _STEPS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(min(logging.INFO, logger.getEffectiveLevel()))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Handler(logging.Handler):
    """Prints above the bars, which are on the same console, or a line with its time into a pipe."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if sys.stderr.isatty():
                self._paint(record)
            else:
                label = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
                sys.stderr.write(f"{_TIME.formatTime(record, _ISO)} {label}{self.format(record)}\n")
                sys.stderr.flush()
        except (OSError, ValueError):
            self.handleError(record)

    def _paint(self, record: logging.LogRecord) -> None:
        from rich.markup import escape

        from nuqconv.job.console import error_console

        label = f"[yellow]{record.levelname.lower()}:[/] " if record.levelno >= logging.WARNING else ""
        error_console().print(f"[dim]{_TIME.formatTime(record, '%H:%M:%S')}[/] {label}{escape(self.format(record))}")
