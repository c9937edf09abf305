"""The journal of a search: what comes back, and what another search, another file or another process is told."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sqlite3
import subprocess
import sys
import threading
import zlib
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.errors import JournalError
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.search import TrialJournal, run_search
from nuqconv.search.journal import Journal
from nuqconv.search.trial import Measured
from tests.search.simulated import INT8, NUQ16, NUQ32, Evaluator, hidden_damage, random_space

IDENTITY = {"model": "a" * 64, "data version": "1", "evaluator": "mine.Evaluator"}
ROOT = Path(__file__).parents[2]
PLAN = Plan.of({"conv1": INT8, "fc": NUQ16})
OTHER = Plan.of({"conv1": NUQ32, "fc": LayerPlan(Precision.FLOAT)})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net_trials.sqlite"


@pytest.fixture
def journal(path):
    with Journal.open(path, IDENTITY) as made:
        yield made


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_a_new_journal_holds_its_identity_and_nothing_else(journal):
    before = datetime.now(timezone.utc)
    assert journal.identity == IDENTITY
    assert list(journal.identity) == list(IDENTITY)
    assert (journal.original, journal.float_bytes, journal.space_text, journal.trials()) == (None, None, None, ())
    assert journal.known(PLAN) is None
    begun = datetime.fromisoformat(journal.created.replace("Z", "+00:00"))
    assert abs((before - begun).total_seconds()) < 60


def test_what_was_recorded_comes_back_after_closing(path):
    asset, empty = bytes(range(256)) * 300, b""
    with Journal.open(path, IDENTITY) as journal:
        journal.set_original(0.75)
        journal.set_space('["space"]', {digest(asset): asset, digest(empty): empty}, float_bytes=123.0)
        journal.record(PLAN, Measured(0.7, 1.5, "host:1"), 1, "int8 for all layers", 10.5, True)
        journal.record(OTHER, Measured(0.5, 2.5), 2, "weird ' \" ; step", 5.0, False, ("fc", "a;b'"))
    assert names(path.parent) == [path.name]
    with Journal.open(path, dict(IDENTITY)) as journal:
        assert (journal.original, journal.float_bytes, journal.space_text) == (0.75, 123.0, '["space"]')
        assert journal.asset(digest(asset)) == asset
        assert journal.asset(digest(empty)) == empty
        assert journal.known(PLAN) == Measured(0.7, 1.5, "host:1")
        assert journal.known(OTHER) == Measured(0.5, 2.5, "")
        assert journal.known(PLAN.replace("fc", INT8)) is None
        first, second = journal.trials()
    assert (first.sequence, first.number, first.step, first.plan) == (1, 1, "int8 for all layers", PLAN)
    assert (first.metric, first.accepted, first.bytes, first.float_layers) == (0.7, True, 10.5, ())
    assert (first.seconds, first.worker, first.digest) == (1.5, "host:1", PLAN.digest())
    assert (second.number, second.step, second.accepted) == (2, "weird ' \" ; step", False)
    assert (second.plan, second.float_layers) == (OTHER, ("fc", "a;b'"))
    assert first.finished <= second.finished


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_numbers_keep_every_bit(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("bits") / "j.sqlite"
    with Journal.open(path, IDENTITY) as journal:
        journal.set_original(numbers[2])
        journal.record(PLAN, Measured(numbers[0], numbers[1]), 1, "s", numbers[2], True)
    with Journal.read(path) as journal:
        (found,) = journal.trials()
        back = [found.metric, found.seconds, found.bytes, journal.original]
    assert [number.hex() for number in back] == [number.hex() for number in (*numbers, numbers[2])]


@pytest.mark.parametrize("number", [-0.0, 0.0, 5e-324, -5e-324, 1e308, 3.0, 2.0**53 + 2, 0.1])
def test_special_numbers_keep_every_bit(path, number):
    with Journal.open(path, IDENTITY) as journal:
        journal.record(PLAN, Measured(number, 1.0), 1, "s", 1.0, True)
    with Journal.open(path, IDENTITY) as journal:
        assert journal.known(PLAN).metric.hex() == number.hex()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(journal, number):
    for metric, seconds, size in ((number, 1.0, 1.0), (1.0, number, 1.0), (1.0, 1.0, number)):
        with pytest.raises(JournalError, match="finite numbers only"):
            journal.record(PLAN, Measured(metric, seconds), 1, "s", size, True)
    with pytest.raises(JournalError, match="finite numbers only"):
        journal.set_original(number)
    assert journal.trials() == ()
    assert journal.original is None


def test_another_search_is_told_every_difference(path):
    with Journal.open(path, IDENTITY) as journal:
        journal.record(PLAN, Measured(0.5, 1.0), 1, "s", 1.0, True)
    before = path.read_bytes()
    wanted = {"model": "a" * 60 + "bbbb", "evaluator": "mine.Evaluator", "new": "x" * 100}
    with pytest.raises(
        JournalError, match=r"is the journal of another search; --restart .*keeps it under another name"
    ) as info:
        Journal.open(path, wanted)
    assert list(info.value.problems) == [
        "model has changed",
        "data version: in the journal '1', now not there",
        f"new: in the journal not there, now '{'x' * 24}...'",
    ]
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


def test_a_restart_keeps_what_was_there(path):
    for version in ("1", "2", "3"):
        with Journal.open(path, {"data": version}, on_mismatch="restart") as journal:
            assert journal.trials() == ()
            journal.set_original(float(version))
    assert names(path.parent) == [path.name, f"{path.name}.1", f"{path.name}.2"]
    for name, version in ((path.name, "3"), (f"{path.name}.1", "1"), (f"{path.name}.2", "2")):
        with Journal.read(path.with_name(name)) as journal:
            assert (journal.identity, journal.original) == ({"data": version}, float(version))
    with Journal.open(path, {"data": "3"}, on_mismatch="restart") as journal:
        assert journal.original == 3.0
    assert len(names(path.parent)) == 3


def test_a_restart_overwrites_nothing(path):
    path.with_name(f"{path.name}.1").write_text("mine")
    path.with_name(f"{path.name}.2").symlink_to("nowhere")
    Journal.open(path, {"data": "1"}).close()
    Journal.open(path, {"data": "2"}, on_mismatch="restart").close()
    assert path.with_name(f"{path.name}.1").read_text() == "mine"
    assert path.with_name(f"{path.name}.2").is_symlink()
    with Journal.read(path.with_name(f"{path.name}.3")) as journal:
        assert journal.identity == {"data": "1"}


def test_a_restart_waits_for_readers(path, monkeypatch):
    monkeypatch.setattr("nuqconv.search.journal.store._SECONDS_TO_WAIT", 0.05)
    Journal.open(path, {"data": "1"}).close()
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("PRAGMA journal_mode = WAL").fetchall()
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM trials").fetchall()
    with pytest.raises(JournalError, match="another program has it locked"):
        Journal.open(path, {"data": "2"}, on_mismatch="restart")
    reader.close()
    with Journal.open(path, {"data": "1"}) as journal:
        assert journal.identity == {"data": "1"}


def test_a_known_plan_gets_its_new_verdict_but_no_other_metric(journal):
    journal.record(PLAN, Measured(0.5, 1.0, "a"), 7, "old", 10.0, False)
    finished = journal.trials()[0].finished
    journal.record(PLAN, Measured(0.5, 9.0, "b"), 3, "new", 11.0, True, ("fc",))
    (found,) = journal.trials()
    assert (found.number, found.step, found.accepted, found.bytes, found.float_layers) == (
        3,
        "new",
        True,
        11.0,
        ("fc",),
    )
    assert (found.seconds, found.worker, found.finished) == (1.0, "a", finished)
    with pytest.raises(
        JournalError, match=r"trial 4 .* has metric 0\.5 in the journal and 0\.25 now: .*does not repeat"
    ):
        journal.record(PLAN, Measured(0.25, 1.0), 4, "again", 10.0, True)
    assert journal.trials() == (found,)


def test_original_and_space_are_told_once(journal):
    journal.set_original(0.5)
    journal.set_original(0.5)
    with pytest.raises(JournalError, match=r"0\.5 in the journal and 0\.25 now"):
        journal.set_original(0.25)
    journal.set_space("[1]", {})
    journal.set_space("[1]", {})
    with pytest.raises(JournalError, match="another search space"):
        journal.set_space("[2]", {digest(b"x"): b"x"})
    with pytest.raises(JournalError, match="holds no asset"):
        journal.asset(digest(b"x"))
    assert (journal.original, journal.space_text) == (0.5, "[1]")


def test_a_space_is_recorded_whole_or_not_at_all(journal):
    with pytest.raises(JournalError, match="not the SHA-256 of the content"):
        journal.set_space("[1]", {digest(b"x"): b"x", digest(b"y"): b"z"})
    with pytest.raises(JournalError):
        journal.set_space("[1] \ud800", {digest(b"x"): b"x"})
    assert journal.space_text is None
    with pytest.raises(JournalError, match="holds no asset"):
        journal.asset(digest(b"x"))


def test_reading_while_a_search_writes(path, journal):
    with Journal.read(path) as reader:
        assert reader.trials() == ()
        journal.record(PLAN, Measured(0.5, 1.0), 1, "s", 10.0, True)
        assert len(reader.trials()) == 1
        assert f"process {os.getpid()} on " in reader.holder
        with pytest.raises(JournalError, match="was opened to be read"):
            reader.record(OTHER, Measured(0.5, 1.0), 2, "s", 10.0, True)
    journal.close()
    assert names(path.parent) == [path.name]
    with Journal.read(path) as reader:
        assert reader.holder is None
    assert names(path.parent) == [path.name]


def test_one_search_at_a_time(path, journal):
    for on_mismatch in ("refuse", "restart"):
        with pytest.raises(JournalError, match=f"another search writes this journal \\(process {os.getpid()} on "):
            Journal.open(path, {"other": "x"}, on_mismatch=on_mismatch)
    link = path.with_name("link.sqlite")
    link.symlink_to(path)
    with pytest.raises(JournalError, match="another search writes"):
        Journal.open(link, IDENTITY)


def test_another_process_is_told_who_writes_and_may_read(path, journal):
    code = f"""
from nuqconv.errors import JournalError
from nuqconv.search.journal import Journal
try:
    Journal.open({str(path)!r}, {IDENTITY!r})
except JournalError as error:
    print(error)
with Journal.read({str(path)!r}) as reader:
    print(reader.holder)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert f"process {os.getpid()} on " in told[0]
    assert " since " in told[0]
    assert told[1].startswith(f"process {os.getpid()} on ")
    journal.record(PLAN, Measured(0.5, 1.0), 1, "s", 10.0, True)


def test_the_lock_ends_with_its_process_however_that_ends(path):
    code = f"""
import os
from nuqconv.search.journal import Journal
from nuqconv.search.trial import Measured
from tests.search.test_journal import PLAN
journal = Journal.open({str(path)!r}, {IDENTITY!r})
journal.record(PLAN, Measured(0.5, 1.0), 1, "s", 10.0, True)
there, here = os.pipe()
if os.fork() == 0:
    # It gives up what it has inherited before it gets here.
    os.write(here, b"x")
    import time
    time.sleep(30)
os.read(there, 1)
print(os.getpid(), flush=True)
os.kill(os.getpid(), 9)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT
    ) as child:
        try:
            child.stdout.readline()
            child.wait()
            assert "net_trials.sqlite.lock" in names(path.parent)
            with Journal.read(path) as reader:
                assert reader.holder is None
                assert reader.known(PLAN) == Measured(0.5, 1.0)
            # A process that was forked off lives on and must not hold the lock.
            os.killpg(child.pid, 0)
            with Journal.open(path, IDENTITY) as journal:
                assert journal.known(PLAN) == Measured(0.5, 1.0)
        finally:
            os.killpg(child.pid, 9)


def test_several_threads_may_record(journal):
    plans = [PLAN.replace("fc", LayerPlan(Precision.NUQ, (index,), 1)) for index in range(40)]

    def work(part):
        for index in part:
            journal.record(plans[index], Measured(float(index), 1.0), index, "s", 1.0, True)

    threads = [threading.Thread(target=work, args=(range(start, 40, 4),)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(record.number for record in journal.trials()) == list(range(40))
    assert [journal.known(plan).metric for plan in plans] == [float(index) for index in range(40)]


def test_a_search_that_goes_on_evaluates_only_what_is_new(path):
    space = random_space(np.random.default_rng(3), 20)
    damage = hidden_damage(np.random.default_rng(4), space, 1.0)

    def search(journal, most):
        evaluator = Evaluator(space, damage, 0.0)
        evaluator.limit = 0.3 * evaluator.true(space.uniform(2))
        options = {"satisfied": evaluator.satisfied, "original": 0.0, "max_evaluations": most}
        return run_search(space, evaluate=evaluator.evaluate, journal=journal, **options), len(evaluator.seen)

    whole, count = search(None, 24)
    evaluated = []
    for most in (5, 11, 24):
        with Journal.open(path, IDENTITY) as journal:
            checked: TrialJournal = journal
            outcome, new = search(checked, most)
            evaluated.append(new)
    assert evaluated == [5, 6, count - 11]
    plain = [(t.number, t.step, t.plan, t.metric, t.accepted, t.bytes) for t in outcome.trials]
    assert plain == [(t.number, t.step, t.plan, t.metric, t.accepted, t.bytes) for t in whole.trials]
    with Journal.read(path) as journal:
        assert [(r.number, r.step, r.plan, r.metric, r.accepted, r.bytes) for r in journal.trials()] == plain


@pytest.mark.parametrize("identity", [{}, {"a": 1}, {1: "a"}, {"a": None}])
def test_identities_that_are_none(path, identity):
    with pytest.raises(JournalError, match="texts by name"):
        Journal.open(path, identity)
    assert names(path.parent) == []


def test_other_choices_and_names_that_are_none(path):
    with pytest.raises(JournalError, match="'refuse' or 'restart'"):
        Journal.open(path, IDENTITY, on_mismatch="overwrite")
    for name in ("", "a\0b"):
        with pytest.raises(JournalError, match="no name for a journal"):
            Journal.open(name, IDENTITY)


def test_names_that_need_care(tmp_path):
    path = tmp_path / "new folder" / "50% of ? #1 ünï 'x'.sqlite"
    Journal.open(path, {"näme 'x'": 'v"; DROP TABLE trials; --'}).close()
    assert names(path.parent) == [path.name]
    with Journal.read(path) as journal:
        assert journal.identity == {"näme 'x'": 'v"; DROP TABLE trials; --'}


def test_the_format_is_what_the_documentation_says(path):
    """Reads a journal with nothing but SQLite and zlib."""
    asset = b"integers"
    with Journal.open(path, IDENTITY) as journal:
        journal.set_original(0.5)
        journal.set_space("[]", {digest(asset): asset}, float_bytes=9.0)
        journal.record(OTHER, Measured(0.25, 2.0, "w"), 1, "s", 10.0, True, ("fc",))
        journal.set_facts({"note": "text"})
        journal.keep_solved("key", "[]", {digest(asset): asset, digest(b""): b""})
    assert path.read_bytes()[68:72] == b"nuqc"
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    assert connection.execute("SELECT * FROM layers").fetchall() == [("key", "[]", f"{digest(asset)} {digest(b'')}")]
    assert dict(connection.execute("SELECT name, value FROM facts")) == {"untouched bytes": "0.0", "note": "text"}
    assert dict(connection.execute("SELECT name, value FROM identity")) == IDENTITY
    assert connection.execute("SELECT original, float_bytes, space FROM search").fetchall() == [(0.5, 9.0, "[]")]
    ((size, data),) = connection.execute("SELECT size, data FROM assets WHERE digest = ?", (digest(asset),))
    assert (size, zlib.decompress(data)) == (len(asset), asset)
    ((plan, floats, metric, accepted),) = connection.execute("SELECT plan, float_layers, metric, accepted FROM trials")
    assert (Plan.from_json(plan), json.loads(floats), metric, accepted) == (OTHER, ["fc"], 0.25, 1)
    connection.close()
