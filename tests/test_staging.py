"""Outputs that appear whole or not at all."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from nuqconv.errors import OutputError
from nuqconv.staging import check_targets, move_into_place, staging_folder

NAMES = ("a.txt", "b.txt", "c.txt")


def _contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def places(tmp_path):
    """Three targets, and the finished files for them."""
    (tmp_path / "out").mkdir()
    (tmp_path / "staged").mkdir()
    for name in NAMES:
        (tmp_path / "staged" / name).write_text(f"new {name}")
    return {tmp_path / "out" / name: tmp_path / "staged" / name for name in NAMES}


def _write_old(places, names=NAMES):
    for target in places:
        if target.name in names:
            target.write_text(f"old {target.name}")


class FailingCall:
    """A function of which one call fails instead of running, or the first call from there on for good."""

    def __init__(self, function, number, error, *, forever=False):
        self.function, self.number, self.error, self.forever = function, number, error, forever
        self.calls = 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        if self.calls == self.number or (self.forever and self.calls > self.number):
            raise self.error
        return self.function(*arguments, **options)


def _full():
    return OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("old", [(), ("b.txt",), NAMES])
def test_all_files_are_moved_and_nothing_else_is_left(places, tmp_path, old):
    _write_old(places, old)
    move_into_place(places)
    assert _contents(tmp_path) == {f"out/{name}": f"new {name}" for name in NAMES}


def test_folders_are_made(tmp_path):
    (tmp_path / "x").write_text("new")
    move_into_place({tmp_path / "one" / "two" / "x": tmp_path / "x"})
    assert _contents(tmp_path) == {"one/two/x": "new"}


@pytest.mark.parametrize("old", [(), ("b.txt",), NAMES])
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(("module", "name"), [(shutil, "move"), (os, "replace")])
@pytest.mark.parametrize("error", [_full(), KeyboardInterrupt()], ids=["disk full", "interrupt"])
def test_a_failure_at_any_step_leaves_the_old_set(places, tmp_path, monkeypatch, old, number, module, name, error):
    _write_old(places, old)
    before = _contents(tmp_path / "out")
    monkeypatch.setattr(module, name, FailingCall(getattr(module, name), number, error))
    failed = tmp_path / "out" / NAMES[number - 1]
    with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        move_into_place(places)
    assert _contents(tmp_path / "out") == before
    if isinstance(error, OSError):
        assert str(caught.value) == (
            f"{failed}: cannot be written: No space left on device; the earlier outputs are as they were"
        )


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_interrupt_right_after_a_renaming_leaves_the_old_set(places, tmp_path, monkeypatch, number):
    _write_old(places, ("a.txt", "c.txt"))
    before = _contents(tmp_path / "out")
    replace, calls = os.replace, []

    def interrupted(source, target):
        replace(source, target)
        calls.append(target)
        if len(calls) == number:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        move_into_place(places)
    assert _contents(tmp_path / "out") == before


def test_where_files_have_no_second_names_they_are_copied(places, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    _write_old(places)
    before = _contents(tmp_path / "out")
    monkeypatch.setattr(os, "replace", FailingCall(os.replace, 3, _full()))
    with pytest.raises(OutputError, match="the earlier outputs are as they were"):
        move_into_place(places)
    assert _contents(tmp_path / "out") == before


def test_a_disk_that_fails_for_good_loses_no_old_output(places, tmp_path, monkeypatch):
    """The first file is in place and cannot be taken back: its earlier content is kept and named."""
    _write_old(places)
    monkeypatch.setattr(os, "replace", FailingCall(os.replace, 2, _full(), forever=True))
    with pytest.raises(OutputError) as caught:
        move_into_place(places)
    found = _contents(tmp_path / "out")
    kept = {name: text for name, text in found.items() if name not in NAMES}
    assert {name: found[name] for name in NAMES} == {
        "a.txt": "new a.txt",
        "b.txt": "old b.txt",
        "c.txt": "old c.txt",
    }
    assert list(kept.values()) == ["old a.txt"]
    out = tmp_path / "out"
    assert str(caught.value) == (
        f"{out / 'b.txt'}: cannot be written: No space left on device; of the earlier outputs these could not be put back: "
        f"{out / 'a.txt'} (kept as {out / next(iter(kept))})"
    )


def test_folders_made_for_a_failed_move_are_removed(places, tmp_path, monkeypatch):
    sources = dict(zip((tmp_path / "one" / "two" / name for name in NAMES), places.values(), strict=True))
    monkeypatch.setattr(os, "replace", FailingCall(os.replace, 2, _full()))
    with pytest.raises(OutputError):
        move_into_place(sources)
    assert not (tmp_path / "one").exists()


def test_a_target_that_became_a_folder(places, tmp_path):
    _write_old(places, ("a.txt",))
    (tmp_path / "out" / "c.txt").mkdir()
    with pytest.raises(OutputError) as caught:
        move_into_place(places)
    assert str(caught.value) == f"{tmp_path / 'out' / 'c.txt'}: is a folder; a file of this name has to be written"
    assert _contents(tmp_path / "out") == {"a.txt": "old a.txt"}
    assert (tmp_path / "out" / "c.txt").is_dir()


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_the_staging_folder_is_removed_on_every_error(tmp_path, error):
    def work():
        with staging_folder(tmp_path / "not" / "yet" / "prefix") as folder:
            assert folder.parent == tmp_path
            assert folder.name.startswith(".nuqconv-")
            (folder / "sub").mkdir()
            (folder / "sub" / "file").write_text("x")
            raise error

    with pytest.raises(type(error)):
        work()
    assert not list(tmp_path.iterdir())


def test_the_staging_folder_is_removed_in_the_end(tmp_path):
    with staging_folder(tmp_path / "prefix") as folder:
        (folder / "file").write_text("x")
    assert not list(tmp_path.iterdir())


def test_a_staging_folder_that_cannot_be_made(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(OutputError) as caught, staging_folder(tmp_path / "prefix"):
        pass
    assert str(caught.value) == (
        f"{tmp_path}: cannot be written to: Permission denied; choose another place for the outputs"
    )


def test_check_targets_lists_all_faults(tmp_path, monkeypatch):
    (tmp_path / "input").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "locked").mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "locked" and access(path, mode))
    good, twice = tmp_path / "new" / "deep" / "x", tmp_path / "twice"
    targets = [
        good,
        tmp_path / "folder" / ".." / "input",
        tmp_path / "folder",
        tmp_path / "file" / "below" / "x",
        tmp_path / "locked" / "sub" / "x",
        twice,
        tmp_path / "folder" / ".." / "twice",
    ]
    with pytest.raises(OutputError) as caught:
        check_targets(targets, [tmp_path / "input"])
    assert str(caught.value).splitlines()[0] == "the outputs cannot be written; choose another place"
    assert caught.value.problems == (
        f"{tmp_path}/folder/../input: is an input of this run",
        f"{tmp_path}/folder: is a folder; a file of this name has to be written",
        f"{tmp_path}/file/below/x: {tmp_path}/file is no folder",
        f"{tmp_path}/locked/sub/x: {tmp_path}/locked cannot be written to",
        f"{tmp_path}/folder/../twice: is the place of two of the outputs",
    )
    check_targets([good, twice], [tmp_path / "input"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "input", "locked"]


def test_a_link_to_an_input_is_the_input(tmp_path):
    (tmp_path / "input").write_text("x")
    (tmp_path / "link").symlink_to("input")
    with pytest.raises(OutputError) as caught:
        check_targets([tmp_path / "link"], [tmp_path / "input"])
    assert caught.value.problems == (f"{tmp_path / 'link'}: is an input of this run",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="cannot be written to"):
        check_targets([tmp_path / "locked" / "x"], [])
    with pytest.raises(OutputError, match="cannot be written to"), staging_folder(tmp_path / "locked" / "x"):
        pass
