"""Evaluates several plans at once: in processes of its own, in threads, or wherever a `concurrent.futures.Executor` runs its tasks.

See ``docs/parallel.md`` for the walk from one machine to many.
"""

from __future__ import annotations

from nuqconv.parallel.local import check_main_guard
from nuqconv.parallel.pool import PlanPool

__all__ = ["PlanPool", "check_main_guard"]
