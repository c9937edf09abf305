"""The places where models run: one table, one class for each, and what they are made of. See ``docs/runtimes.md``."""

from __future__ import annotations

from nuqconv.runtimes.table import RUNTIMES, register, runtime_named, unregister

__all__ = ["RUNTIMES", "register", "runtime_named", "unregister"]
