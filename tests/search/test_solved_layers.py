"""Solved layers in a journal: they outlive the search that solved them, and take no more room than two searches."""

from __future__ import annotations

import sqlite3

import pytest

from nuqconv.errors import JournalError
from nuqconv.search.journal import Journal
from nuqconv.search.trial import Measured
from tests.search.test_journal import IDENTITY, PLAN, digest

OTHERS = {**IDENTITY, "data version": "2"}
ONE, TWO, SHARED = b"one" * 100, b"two" * 100, b"shared" * 100


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net_trials.sqlite"


def begun(path, *, evaluated):
    with Journal.open(path, IDENTITY) as journal:
        journal.set_original(0.5)
        journal.keep_solved("first", "1", {digest(ONE): ONE, digest(SHARED): SHARED})
        journal.keep_solved("second", "2", {digest(TWO): TWO, digest(SHARED): SHARED})
        journal.set_space("[]", {digest(ONE): ONE, digest(b"picture"): b"picture"})
        journal.set_facts({"run": "mine"})
        if evaluated:
            journal.record(PLAN, Measured(0.5, 1.0, "w"), 1, "first", 10.0, True)


def test_they_stay_when_another_search_begins_in_a_journal_without_evaluations(path):
    begun(path, evaluated=False)
    with Journal.open(path, OTHERS) as journal:
        assert (journal.identity, journal.original, journal.space_text, journal.fact("run")) == (
            OTHERS,
            None,
            None,
            None,
        )
        assert (journal.solved("first"), journal.solved("second"), journal.solved("third")) == ("1", "2", None)
        assert [journal.asset(digest(data)) for data in (ONE, TWO, SHARED)] == [ONE, TWO, SHARED]
        with pytest.raises(JournalError, match="holds no asset"):
            journal.asset(digest(b"picture"))
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_they_are_carried_over_from_the_journal_that_is_moved_aside(path):
    begun(path, evaluated=True)
    with pytest.raises(JournalError, match="of another search"):
        Journal.open(path, OTHERS)
    with Journal.open(path, OTHERS, on_mismatch="restart") as journal:
        assert (journal.solved("first"), journal.trials(), journal.space_text) == ("1", (), None)
        assert journal.asset(digest(SHARED)) == SHARED
        journal.keep_solved("third", "3")
    # As after a kill between the two: the first is aside, and nothing is in its place.
    path.unlink()
    with Journal.open(path, OTHERS) as journal:
        assert (journal.solved("second"), journal.solved("third")) == ("2", None)
    with Journal.read(path.with_name(f"{path.name}.1")) as aside:
        assert (aside.solved("first"), len(aside.trials())) == ("1", 1)


@pytest.mark.parametrize(
    "damage", ["UPDATE layers SET value = x'00'", "UPDATE layers SET assets = 5", "DROP TABLE layers"]
)
def test_what_is_damaged_aside_hinders_nobody(path, damage):
    begun(path, evaluated=True)
    with Journal.open(path, OTHERS, on_mismatch="restart"):
        pass
    path.unlink()
    aside = path.with_name(f"{path.name}.1")
    with sqlite3.connect(aside) as connection:
        connection.execute(damage)
    connection.close()
    with Journal.open(path, OTHERS) as journal:
        assert journal.solved("first") in {None, "1"}
    aside.write_bytes(b"something else")
    path.unlink()
    with Journal.open(path, OTHERS) as journal:
        assert journal.solved("first") is None


def test_those_that_nobody_asked_for_are_forgotten_with_what_only_they_have(path):
    begun(path, evaluated=True)
    with Journal.open(path, IDENTITY) as journal:
        assert journal.solved("second") == "2"
        journal.keep_solved("third", "3")
        journal.forget_unasked()
        assert journal.solved("third") == "3"
        assert (journal.solved("first"), journal.solved("second")) == (None, "2")
        assert (journal.asset(digest(SHARED)), journal.asset(digest(b"picture"))) == (SHARED, b"picture")
        with pytest.raises(JournalError, match="holds no asset"):
            journal.asset(digest(ONE))


def test_a_layer_is_kept_whole_or_not_at_all(path):
    with Journal.open(path, IDENTITY) as journal:
        with pytest.raises(JournalError, match="not the SHA-256"):
            journal.keep_solved("first", "1", {digest(ONE): ONE, digest(TWO): ONE})
        assert journal.solved("first") is None
        with pytest.raises(JournalError, match="holds no asset"):
            journal.asset(digest(ONE))
        # Contents that are there are not asked for.
        journal.keep_solved("first", "1", {digest(ONE): ONE})
        journal.set_space("[]", dict.fromkeys([digest(ONE)], b"not asked for"))
        assert journal.asset(digest(ONE)) == ONE
    with Journal.read(path) as journal, pytest.raises(JournalError, match="opened to be read"):
        journal.keep_solved("first", "1")
