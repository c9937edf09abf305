"""Files that are no journals, damaged ones, full disks, folders that cannot be written: an error each time, and nothing is harmed."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuqconv.errors import ConfigError, JournalError
from nuqconv.search.journal import MAX_ASSET_BYTES, Journal
from nuqconv.search.trial import Measured
from tests.search.test_journal import IDENTITY, OTHER, PLAN, digest, names

ASSET = bytes(range(200)) * 40


def written(path):
    with Journal.open(path, IDENTITY) as journal:
        journal.set_original(0.5)
        journal.set_space('["space"]', {digest(ASSET): ASSET}, float_bytes=9.0)
        journal.record(PLAN, Measured(0.5, 1.0, "w"), 1, "first", 10.0, True)
        journal.record(OTHER, Measured(0.25, 1.0, "w"), 2, "second", 5.0, False, ("fc",))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "j.sqlite"


def change(path, *statements):
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)
    connection.close()


def refused(path, match, *, restart=True):
    """The file is refused by whoever opens it, and stays as it is; nothing is left beside it."""
    before = path.read_bytes() if path.is_file() else None
    beside = names(path.parent)
    calls = [lambda: Journal.read(path), lambda: Journal.open(path, IDENTITY)]
    if restart:
        calls.append(lambda: Journal.open(path, {"other": "x"}, on_mismatch="restart"))
    for call in calls:
        with pytest.raises(JournalError, match=match) as info:
            call()
        assert str(path) in str(info.value)
        assert names(path.parent) == beside
        assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize(
    "content", [b"something else\n" * 1000, b"SQLite format 3\0" + b"\xff" * 5000, b"x", b"\0" * 4096]
)
def test_other_files(path, content):
    path.write_bytes(content)
    refused(path, "is no journal|is damaged|not a database|choose another file")


def test_empty_file(path):
    path.touch()
    refused(path, "is no journal of nuqconv; choose another file")


def test_another_database(path):
    change(path, "CREATE TABLE mine (a)", "INSERT INTO mine VALUES (1)")
    refused(path, "is no journal of nuqconv; choose another file")


def test_folders_and_pipes(path):
    path.mkdir()
    refused(path, "is no file")
    path.rmdir()
    os.mkfifo(path)
    refused(path, "is no file")


def test_no_file(path):
    with pytest.raises(JournalError, match="there is no such journal"):
        Journal.read(path)
    path.symlink_to(path)
    with pytest.raises(JournalError):
        Journal.read(path)
    file = path.with_name("file")
    file.touch()
    with pytest.raises(JournalError, match=r"File exists|Not a directory"):
        Journal.open(file / "j.sqlite", IDENTITY)
    with pytest.raises(JournalError, match="File name too long"):
        Journal.open(path.with_name("x" * 300), IDENTITY)


@pytest.mark.parametrize("version", [0, 4, 2**31 - 1])
def test_other_formats(path, version):
    change(written(path), f"PRAGMA user_version = {version}")
    refused(path, f"is a journal of format {version}, and this version reads formats 1 to 3")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_schema_of_another_format(path, version):
    written(path)
    change(path, *(["DROP TABLE facts"] if version == 3 else [f"PRAGMA user_version = {version}"]))
    refused(path, f"another schema than a journal of nuqconv .*{'layers' if version == 2 else 'facts'}")


def as_format_1(path):
    """Turns a journal into what the first version wrote."""
    change(path, "DROP TABLE facts", "DROP TABLE layers", "PRAGMA user_version = 1")
    return path


def as_format_2(path):
    """Turns a journal into what was written before solved layers were kept."""
    change(path, "DROP TABLE layers", "PRAGMA user_version = 2")
    return path


def test_format_2_is_read_as_it_is_and_keeps_layers_when_it_is_written_to(path):
    before = as_format_2(written(path)).read_bytes()
    with Journal.read(path) as journal:
        assert (journal.solved("key"), journal.counts_all, len(journal.trials())) == (None, True, 2)
    assert path.read_bytes() == before
    with Journal.open(path, IDENTITY) as journal:
        journal.keep_solved("key", "text", {digest(ASSET): ASSET})
    with Journal.read(path) as journal:
        assert (journal.solved("key"), journal.asset(digest(ASSET)), len(journal.trials())) == ("text", ASSET, 2)


def test_format_1_is_read_as_it_is_and_gets_facts_when_it_is_written_to(path):
    before = as_format_1(written(path)).read_bytes()
    with Journal.read(path) as journal:
        assert (journal.fact("run"), journal.counts_all, len(journal.trials())) == (None, False, 2)
    assert path.read_bytes() == before
    with Journal.open(path, IDENTITY) as journal:
        assert [trial.bytes for trial in journal.trials()] == [10.0, 5.0]
        journal.count_untouched(3.0)
        journal.count_untouched(3.0)
        journal.set_facts({"run": "what was asked"})
    with Journal.read(path) as journal:
        assert (journal.fact("run"), journal.counts_all, journal.float_bytes) == ("what was asked", True, 12.0)
        assert [trial.bytes for trial in journal.trials()] == [13.0, 8.0]
        assert (journal.original, journal.asset(digest(ASSET))) == (0.5, ASSET)


def test_facts(path):
    with Journal.open(path, IDENTITY) as journal:
        journal.set_facts({"a": "1", "b": "2"}, {digest(ASSET): ASSET})
        journal.set_facts({"a": None, "b": "3"})
        assert (journal.fact("a"), journal.fact("b"), journal.asset(digest(ASSET))) == (None, "3", ASSET)
        with pytest.raises(JournalError, match="is not the SHA-256"):
            journal.set_facts({"b": "4"}, {digest(b"x"): b"y"})
        assert journal.fact("b") == "3"
    change(path, "UPDATE facts SET value = x'00'")
    with Journal.read(path) as journal, pytest.raises(JournalError, match="the fact 'b' is no text"):
        journal.fact("b")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE VIEW v AS SELECT 1", "v"),
        ("CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END", "t"),
        ("CREATE TABLE more (a)", "more"),
        ("CREATE INDEX i ON trials (plan)", "i"),
        ("ALTER TABLE trials ADD COLUMN extra DEFAULT 1", "trials"),
        ("DROP TABLE assets", "assets"),
    ],
)
def test_other_schemas(path, statement, named):
    change(written(path), statement)
    refused(path, f"another schema than a journal of nuqconv .*{named}")


def test_views_in_place_of_tables(path):
    change(
        written(path),
        "ALTER TABLE trials RENAME TO hidden",
        "CREATE VIEW trials AS SELECT * FROM hidden",
    )
    refused(path, "another schema")


@pytest.mark.parametrize(
    ("change_to", "said"),
    [
        ("metric = 'x'", "values of the wrong kind"),
        ("metric = 1", "values of the wrong kind"),
        ("metric = 9e999", "not finite"),
        ("seconds = -9e999", "not finite"),
        ("number = 'one'", "values of the wrong kind"),
        ("step = x'00ff'", "values of the wrong kind"),
        ("plan = '{}'", "another plan than its hash says"),
        ("plan = CAST(x'ff' AS TEXT)", "Could not decode"),
        ("float_layers = '[1]'", "no list of layers"),
        ("float_layers = '{'", "no list of layers"),
        (f"float_layers = '{'[' * 5000}'", "no list of layers"),
    ],
)
def test_rows_that_are_no_trials(path, change_to, said):
    change(written(path), f"UPDATE trials SET {change_to} WHERE number = 2")
    with Journal.read(path) as journal, pytest.raises(JournalError, match=f"damaged.*{said}|{said}.*damaged"):
        journal.trials()


@pytest.mark.parametrize(
    ("change_to", "read"),
    [
        ("original = 'x'", lambda journal: journal.original),
        ("original = 9e999", lambda journal: journal.original),
        ("float_bytes = x'00'", lambda journal: journal.float_bytes),
        ("space = x'00'", lambda journal: journal.space_text),
    ],
)
def test_facts_that_are_none(path, change_to, read):
    change(written(path), f"UPDATE search SET {change_to}")
    with pytest.raises(JournalError, match="damaged"), Journal.read(path) as journal:
        read(journal)


def test_a_plan_that_is_none(path):
    text = "[]"
    values = (text, hashlib.sha256(text.encode()).hexdigest())
    change(written(path), ("UPDATE trials SET plan = ?, digest = ? WHERE number = 2", values))
    with Journal.read(path) as journal:
        assert journal.known(PLAN) == Measured(0.5, 1.0, "w")
        with pytest.raises(ConfigError, match="the plan is not valid"):
            _ = journal.trials()[1].plan


@pytest.mark.parametrize(
    ("size", "data"),
    [
        (len(ASSET), zlib.compress(ASSET[::-1])),
        (len(ASSET) - 1, zlib.compress(ASSET)),
        (len(ASSET) + 1, zlib.compress(ASSET)),
        (len(ASSET), zlib.compress(ASSET)[:-20]),
        (len(ASSET), b"not zlib"),
        (-1, zlib.compress(ASSET)),
        (MAX_ASSET_BYTES + 1, zlib.compress(ASSET)),
        ("many", zlib.compress(ASSET)),
        (len(ASSET), "text"),
    ],
)
def test_assets_that_are_not_what_was_stored(path, size, data):
    change(written(path), ("UPDATE assets SET size = ?, data = ?", (size, data)))
    with Journal.read(path) as journal, pytest.raises(JournalError, match="damaged"):
        journal.asset(digest(ASSET))


def test_a_bomb_is_not_unpacked(path):
    bomb = zlib.compress(b"\0" * (200 << 20), 9)
    change(written(path), ("UPDATE assets SET data = ?", (bomb,)))
    tracemalloc.start()
    try:
        with Journal.read(path) as journal, pytest.raises(JournalError, match="damaged"):
            journal.asset(digest(ASSET))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_too_large_assets_are_refused_before_anything_is_written(path, monkeypatch):
    monkeypatch.setattr("nuqconv.search.journal.assets.MAX_ASSET_BYTES", 100)
    with Journal.open(path, IDENTITY) as journal:
        with pytest.raises(JournalError, match="8,000 bytes for one layer are more than a journal takes"):
            journal.set_space("[]", {digest(ASSET): ASSET})
        assert journal.space_text is None


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return written(tmp_path_factory.mktemp("sound") / "j.sqlite").read_bytes()


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_bytes(tmp_path_factory, sound, data):
    """Whatever bytes are damaged: an error of ours, or all that is read is of the right kind."""
    content = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 8))):
        start = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 110))
        part = data.draw(st.binary(min_size=1, max_size=6))
        content[start : start + len(part)] = part
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "j.sqlite"
    path.write_bytes(content)
    try:
        with Journal.read(path) as journal:
            for record in journal.trials():
                assert record.plan in (PLAN, OTHER)
            assert journal.asset(digest(ASSET)) == ASSET
            journal.known(PLAN)
            assert isinstance(journal.identity, dict)
            assert journal.original is None or isinstance(journal.original, float)
    except (JournalError, ConfigError):
        pass
    try:
        with Journal.open(path, IDENTITY) as journal:
            journal.record(PLAN, Measured(0.5, 1.0), 3, "again", 1.0, True)
    except JournalError:
        pass
    shutil.rmtree(folder)


def test_a_full_disk(path):
    with Journal.open(path, IDENTITY) as journal:
        journal.record(PLAN, Measured(0.5, 1.0), 1, "s", 1.0, True)
        journal._connection.execute("PRAGMA max_page_count = 1").fetchall()
        data = os.urandom(1 << 18)
        with pytest.raises(JournalError, match="the disk is full; make room and start again"):
            journal.set_space("[]", {digest(data): data})
        assert journal.space_text is None
        journal._connection.execute("PRAGMA max_page_count = 100000").fetchall()
        journal.set_space("[]", {digest(data): data})
    with Journal.read(path) as journal:
        assert journal.known(PLAN) == Measured(0.5, 1.0)
        assert journal.asset(digest(data)) == data


def test_a_database_that_somebody_else_has_locked(path, monkeypatch):
    monkeypatch.setattr("nuqconv.search.journal.store._SECONDS_TO_WAIT", 0.05)
    other = sqlite3.connect(written(path), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(JournalError, match="another program has it locked; wait for its end"):
        Journal.open(path, IDENTITY)
    other.close()


def test_files_of_a_journal_that_is_gone(path):
    wal = path.with_name(f"{path.name}-wal")
    wal.write_bytes(b"the log of another journal")
    with pytest.raises(JournalError, match=r"is not there, but files that belonged to it are: .*-wal"):
        Journal.open(path, IDENTITY)
    assert names(path.parent) == [wal.name]


def test_what_a_kill_leaves_of_a_new_journal(path):
    path.with_name(f".{path.name}.nuqconv-new").write_bytes(b"half of it")
    with Journal.open(path, IDENTITY) as journal:
        journal.set_original(1.0)
    assert names(path.parent) == [path.name]


def test_a_kill_between_the_names_of_a_new_journal(path):
    """The journal has its name already, and still its first one."""
    written(path)
    first = path.with_name(f".{path.name}.nuqconv-new")
    first.hardlink_to(path)
    with Journal.open(path, IDENTITY) as journal:
        assert len(journal.trials()) == 2
        assert not first.exists()
    assert names(path.parent) == [path.name]


def test_a_kill_while_a_journal_is_kept_under_another_name(path):
    before = written(path).read_bytes()
    kept = path.with_name(f"{path.name}.1")
    kept.hardlink_to(path)
    Journal.open(path, {"other": "x"}, on_mismatch="restart").close()
    assert names(path.parent) == [path.name, kept.name]
    assert kept.read_bytes() == before
    assert path.read_bytes() != before


def test_a_journal_that_cannot_be_renamed_keeps_one_name(path, monkeypatch):
    before = written(path).read_bytes()
    unlink = Path.unlink

    def refuse(self, **options):
        if self == path:
            raise OSError(5, "Input/output error")
        unlink(self, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(JournalError, match="Input/output error"):
        Journal.open(path, {"other": "x"}, on_mismatch="restart")
    assert names(path.parent) == [path.name]
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["my own notes", "{}", "[" * 3000])
def test_a_lock_file_that_is_none(path, content):
    lock = path.with_name(f"{path.name}.lock")
    lock.write_text(content)
    with pytest.raises(JournalError, match="has the name of the journal's lock file and is none"):
        Journal.open(path, IDENTITY)
    assert lock.read_text() == content
    assert names(path.parent) == [lock.name]


def test_a_lock_file_that_is_a_link(path):
    notes = path.with_name("notes")
    notes.write_text("")
    path.with_name(f"{path.name}.lock").symlink_to(notes)
    with pytest.raises(JournalError, match="the journal's lock file cannot be opened"):
        Journal.open(path, IDENTITY)
    assert notes.read_text() == ""


def test_a_journal_is_not_changed_by_those_who_read(path):
    before = written(path).read_bytes()
    with Journal.read(path) as journal:
        journal.trials()
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


def test_a_closed_journal(path):
    with Journal.open(path, IDENTITY) as journal:
        journal.close()
        with pytest.raises(JournalError, match="closed"):
            journal.trials()
        with pytest.raises(JournalError, match="closed"):
            journal.set_original(1.0)


@pytest.fixture
def public():
    """A folder that others can reach, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("killed", [False, True])
def test_a_folder_that_cannot_be_written(public, killed):
    """As somebody who may only read, also the log that a killed search has left."""
    folder = public / "folder"
    folder.mkdir()
    path = folder / "j.sqlite"
    if killed:
        code = f"import os; from nuqconv.search.journal import Journal; j = Journal.open({str(path)!r}, {IDENTITY!r})"
        subprocess.run([sys.executable, "-c", f"{code}; j.set_original(0.5); os._exit(1)"], check=False)
        path.with_name(f"{path.name}.lock").unlink()
        assert names(folder) == [path.name, f"{path.name}-shm", f"{path.name}-wal"]
    else:
        written(path)
    for item in folder.iterdir():
        item.chmod(0o444)
    folder.chmod(0o555)
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            code = _as_reader(path)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before
    folder.chmod(0o755)


def _as_reader(path):
    with Journal.read(path) as journal:
        if journal.original != 0.5:
            return 2
    try:
        Journal.open(path, IDENTITY).close()
    except JournalError as error:
        return 0 if "choose a folder that can be written to" in str(error) else 3
    return 4
