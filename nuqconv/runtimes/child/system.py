"""What of the operating system the child processes need, and what is said where it is missing."""

from __future__ import annotations

import importlib
import sys

__all__ = ["child_problem", "limit_problem"]


def child_problem() -> str | None:
    """Returns why no runtime can be started in a child process here; None where it can."""
    missing = []
    for name in ("fcntl", "resource"):
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if not missing:
        return None
    return (
        f"runtimes in a child process (real Caffe, onnxruntime with isolate) need Linux: Python has no {' and no '.join(missing)} "
        f"on {sys.platform}; take onnxruntime without isolate, or run in a Linux container"
    )


def limit_problem() -> str | None:
    """Returns why the memory of a process cannot be limited here; None where it can."""
    if sys.platform.startswith("linux") and child_problem() is None:
        return None
    return f"memory_limit: memory of a process can be limited on Linux only, this is {sys.platform}; leave it out"
