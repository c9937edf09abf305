"""Uses files in a process of its own with a limit of memory and time for each, and tells what came of it.

Reads one JSON list ``[target, path]`` a line from stdin, and writes one JSON object a line to stdout.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

from fuzz.targets import TARGETS
from tests.support.peak import peak_memory

MEMORY = 1 << 30
# Of processor time: on a busy machine a file takes longer by the clock, which is watched too, in case it waits for ever.
SECONDS = 10
CLOCK = 20 * SECONDS


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _limit_memory() -> None:
    """Lets this process take no more than MEMORY on top of what it has now, where the system tells what that is."""
    if Path("/proc/self/statm").exists():
        limit = _address_space() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _outcome(target: str, path: Path) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        begun = time.process_time()
        error: BaseException | None = None
        try:
            TARGETS[target].run(path, Path(name))
        except BaseException as raised:  # noqa: BLE001
            error = raised
        return {
            "errors": [kind.__name__ for kind in type(error).__mro__] if error else [],
            "message": str(error) if error else "",
            "seconds": time.process_time() - begun,
            "written": sorted(str(file) for file in Path(name).rglob("*")),
            "warnings": [str(item.message) for item in told],
            "peak": peak_memory(),
        }


def main() -> None:
    """Answers line by line; a file that takes too long ends the process."""
    out = os.fdopen(os.dup(1), "w")
    logging.disable()
    _limit_memory()
    for line in sys.stdin:
        target, path = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(CLOCK)
        outcome = _outcome(target, Path(path))
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write(json.dumps(outcome) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
