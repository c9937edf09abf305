"""The most memory that this process has held."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_memory() -> int:
    """Bytes, counted from the start of this program.

    ``getrusage`` of a child counts what its parent held before the start, too; Linux tells the peak since then.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
