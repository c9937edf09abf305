"""What a run says on the console of those who have not set up logging, and when it is interrupted."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from nuqconv.job.preparation import OnStep
from nuqconv.search.journal import Journal

__all__ = ["SWITCH", "Interruption", "script_log"]

_LOG = logging.getLogger(__name__)

SWITCH = "NUQCONV_LOG"
"""Environment variable: ``off`` keeps a script without logging quiet."""


@contextmanager
def script_log() -> Iterator[None]:
    """While it lasts, a program that has set up no logging sees INFO lines on standard error, each once, as users of the original are used to.

    A program with any handler of its own, on the root logger or on ``nuqconv``, has what it has set up.
    """
    logger = logging.getLogger().getChild("nuqconv")
    if logger.hasHandlers() or os.environ.get(SWITCH, "").lower() == "off":
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class Interruption:
    """Says how far a run was when it is interrupted.

    Args:
        journal: Keeps what was found out; None keeps nothing.
    """

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._where = ""

    def steps(self, on_step: OnStep) -> Callable[[str, int, int], None]:
        """Returns ``on_step`` with an ear for how far it is."""

        def heard(name: str, done: int, total: int) -> None:
            self._where = f"after {done} of {total} layers ({name})" if done < total else ""
            on_step(name, done, total)

        return heard

    def __enter__(self) -> Interruption:  # noqa: PYI034  (Self is in typing from Python 3.11 on)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            trials = 0 if self._journal is None else len(self._journal.trials())
            where = self._where or f"after {trials} evaluations"
            what = (
                "the same command goes on" if self._journal is not None else "without a journal nothing is kept of it"
            )
            _LOG.warning("interrupted %s; %s", where, what)
