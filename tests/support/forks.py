"""Children that begin with everything imported: forks of one process that has done it."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

__all__ = ["forking"]


def forking() -> ForkServerContext:
    """Returns what starts such children; the first of them waits for the imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["onnxruntime", "tests.faults.everything", "tests.faults.runs"])
    return context
