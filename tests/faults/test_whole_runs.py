"""Whole runs of the commands that write, with every operation on files made to fail in turn, and the process killed at each.

Afterwards the files are one whole set, the old one or the new one, the journal can be read, and the next run ends as if nothing had been. Here an
even part of the points is tried; ``make faults`` tries all.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from nuqconv.search.journal import Journal
from tests.faults.injector import ERRORS, KILLS
from tests.faults.runs import RUNS, start
from tests.support.memory import memory_folder

ALL = os.environ.get("NUQCONV_ALL_FAULTS") == "1"
WAYS = (*((mode, False) for mode in ERRORS), ("ENOSPC", True), *((mode, False) for mode in KILLS))
STRIDE = {"auto": 83, "auto again": 79, "auto restart": 89}


@pytest.fixture(scope="module")
def folder():
    with memory_folder() as place:
        yield place


def contents(place, names):
    """What a reader finds who opens the files."""
    return {name: (place / name).read_bytes() for name in names if (place / name).exists()}


def listing(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


def trials(place):
    """The plans in the journal; reading it must work whenever it is there."""
    path = place / "net_trials.sqlite"
    if not path.exists():
        return []
    with Journal.read(path) as journal:
        return [record.digest for record in journal.trials()]


class Case:
    """One kind of run: its old and its new set, from runs that nothing disturbs."""

    def __init__(self, run, folder):
        self.run, self.folder = run, folder
        self.start = folder / "before"
        self.start.mkdir()
        assert start(run.before, self.start).how == "done"
        self.old = contents(self.start, run.files)
        clean = self.copy("clean")
        ended = start(run.run, clean)
        assert ended.how == "done", ended.message
        self.calls = ended.calls
        self.new = contents(clean, run.files)
        assert set(self.new) == set(run.files)
        assert self.old != self.new
        assert listing(clean) == sorted({*run.files, *run.leaves})
        self.trials = trials(clean)
        self.trials_before = trials(self.start)

    def copy(self, name):
        place = self.folder / name
        shutil.copytree(self.start, place)
        return place

    def spoil(self, number, mode, forever):
        """Spoils one operation of a run, checks what is left, and lets the next run do it again; returns how it ended."""
        place = self.copy(f"{number}-{mode}-{forever}".replace(" ", "-"))
        ended = start(self.run.run, place, number, mode, forever=forever)
        what = f"{number} of {len(self.calls)}, {mode}{' from there on' if forever else ''}: {self.calls[number - 1]}: {ended}"
        assert ended.how in ("done", "refused", "killed"), what
        assert (ended.how == "killed") == (mode in KILLS), what
        assert ended.fired, what
        self.check_files(place, ended, what)
        self.check_again(place, what)
        return ended.how

    def check_again(self, place, what):
        again = start(self.run.run, place)
        assert again.how == "done", f"{what}\n{again.message}"
        assert contents(place, self.run.files) == self.new, what
        extra = {name for name in listing(place) if name not in {*self.run.files, *self.run.leaves}}
        assert not extra, what
        assert trials(place) == self.trials, what
        shutil.rmtree(place)

    def check_files(self, place, ended, what):
        found = contents(place, self.run.files)
        assert found in (self.old, self.new), what
        if found:
            self.run.load(place)
        if ended.how == "done":
            assert found == self.new, what
        for name in self.run.alone:
            if (place / name).exists():
                json.loads((place / name).read_text())
        known = trials(place)
        assert known in (self.trials[: len(known)], self.trials_before), what


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.slow
def test_whatever_fails_and_wherever_the_run_is_killed(folder, name):
    place = folder / name.replace(" ", "-")
    place.mkdir()
    case = Case(RUNS[name], place)
    count = len(case.calls)
    stride = 1 if ALL else STRIDE.get(name, 23)
    ended, wrong = Counter(), []
    for index, (mode, forever) in enumerate(WAYS):
        numbers = range(1, count + 1) if ALL else range(1 + index * 5 % stride, count + 1, stride)
        for number in numbers:
            try:
                ended[case.spoil(number, mode, forever)] += 1
            except AssertionError as error:
                wrong.append(str(error))
    kinds = Counter(call.split()[0] for call in case.calls)
    spoiled = f"{ended.total()} runs spoiled: {dict(ended)}"
    print(f"\n{name}: {count} points ({kinds['sqlite']} of them SQLite's), {spoiled}")  # noqa: T201  (shown by make faults)
    assert not wrong, f"{len(wrong)} runs\n" + "\n\n".join(wrong[:20])
    assert ended["killed"]
    assert ended["refused"]


@pytest.mark.parametrize("name", ["auto", "auto restart", "convert to ONNX", "convert to Caffe"])
@pytest.mark.slow
def test_files_that_the_system_does_not_let_grow(folder, name):
    """Here nothing is patched: a limit of the kernel ends the writes, those of SQLite too."""
    place = folder / f"limits-{name.replace(' ', '-')}"
    place.mkdir()
    case = Case(RUNS[name], place)
    ended = Counter()
    for largest in (0, 200, 5_000, 30_000, 100_000, 400_000, 1_000_000, 10_000_000):
        copy = case.copy(f"{largest}")
        found = start(case.run.run, copy, largest=largest)
        assert found.how in ("done", "refused"), found
        assert found.how == "done" or "File too large" in found.message or "journal failed" in found.message, found
        case.check_files(copy, found, found)
        case.check_again(copy, f"{largest}: {found}")
        ended[found.how] += 1
    assert ended["refused"] > 2
    assert ended["done"]


SORTS = {
    "open": ("open", "openat"),
    "write": ("write", "pwrite", "pwrite64"),
    "sync": ("fsync", "fdatasync"),
    "rename": ("rename", "replace", "renameat", "renameat2"),
    "link": ("link", "linkat"),
    "symlink": ("symlink", "symlinkat"),
    "remove": ("unlink", "unlinkat", "rmdir"),
    "mkdir": ("mkdir",),
    "truncate": ("ftruncate", "truncate"),
}
SORT = {name: sort for sort, names in SORTS.items() for name in names}
SCRIPT = """
import sys
from pathlib import Path
from tests.faults.runs import RUNS
print("begin", flush=True)
RUNS[sys.argv[1]].run(Path(sys.argv[2]))
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there")
@pytest.mark.parametrize("name", ["auto", "auto restart", "convert to Caffe", "config"])
@pytest.mark.slow
def test_no_operation_is_missed(folder, name):
    """What the system sees is what is counted, but for SQLite's syncs of the folder in which it has made or removed a file."""
    place = folder / f"traced-{name.replace(' ', '-')}"
    place.mkdir()
    case = Case(RUNS[name], place)
    copy, log = case.copy("traced"), place / "log"
    traced = ",".join(sorted(set(SORT) - {"replace", "pwrite"}))
    command = ["strace", "-f", "-y", "-o", log, "-e", f"trace={traced}", sys.executable, "-c", SCRIPT, name, copy]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    if "ptrace" in ended.stderr:
        pytest.skip("strace is not allowed to work here")
    assert ended.returncode == 0, ended.stderr
    below = re.compile(rf"{re.escape(str(copy))}[/>\"]")
    lines = log.read_text(errors="replace").partition('"begin')[2].splitlines()[1:]
    lines = [line.split(maxsplit=1)[1] for line in lines if below.search(line)]
    # Where another thread comes between, a call has two lines; the first one has its arguments.
    lines = [line for line in lines if not line.startswith("<...")]
    folders = [line for line in lines if line.startswith("fdatasync") and f"<{copy}>" in line]
    seen = Counter(
        SORT[line.partition("(")[0]]
        for line in lines
        if line not in folders and (not line.startswith("open") or re.search("O_WRONLY|O_RDWR|O_CREAT", line))
    )
    calls = [call.removeprefix("sqlite ").split()[0] for call in case.calls]
    assert seen == Counter(SORT[call] for call in calls if call != "sqlite3.connect")
    assert bool(folders) == ("sqlite3.connect" in calls)
