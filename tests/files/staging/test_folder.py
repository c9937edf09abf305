"""Staging folders, their records, and what may be removed by them."""

import errno
import json
import os
import subprocess
import sys

import pytest

from nuqconv.errors import OutputError
from nuqconv.files.staging import folder as folder_module
from nuqconv.files.staging import move_into_place, output_error, staging_folder, write_atomically
from nuqconv.files.staging.lock import TargetLock
from nuqconv.files.staging.manifest import folder_of, lock_of
from tests.faults.injector import Injector

HOLDER = """
import sys, time
from pathlib import Path
from nuqconv.files.staging import staging_folder
with staging_folder(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has a staging folder for a target."""
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "x")], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def leave(tmp_path, target="x"):
    """Leaves a staging folder behind as a killed run does."""
    child = os.fork()
    if not child:
        with staging_folder(tmp_path / target) as work:
            (work / "half").write_text("half a file")
            os._exit(0)
    os.waitpid(child, 0)
    return folder_of(tmp_path / target)


def test_the_folder_is_there_and_then_removed(tmp_path):
    with staging_folder(tmp_path / "not" / "yet" / "prefix") as work:
        assert work.parent.parent == tmp_path / "not" / "yet"
        assert work.parent.name == ".nuqconv-prefix"
        (work / "sub").mkdir()
        (work / "sub" / "file").write_text("x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_it_is_removed_on_every_error(tmp_path, error):
    def fail():
        with staging_folder(tmp_path / "not" / "yet" / "prefix") as work:
            (work / "file").write_text("x")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("ENOSPC", "free space there"),
        ("EDQUOT", "quota of this user"),
        ("EROFS", "the file system is read-only"),
        ("EACCES", "change the permissions"),
        ("EPERM", "change the permissions"),
        ("ENAMETOOLONG", "choose a shorter name"),
        ("EIO", "the device fails"),
        ("EFBIG", "no file of this size"),
        ("EMFILE", "ulimit -n"),
        ("ENOTDIR", "choose another place"),
    ],
)
def test_errors_of_the_system_say_what_to_do(tmp_path, monkeypatch, code, remedy):
    number = getattr(errno, code)

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(OutputError, match=remedy) as caught, staging_folder(tmp_path / "prefix"):
        pass
    assert str(caught.value).startswith(f"{tmp_path / 'prefix'}: cannot be written: {os.strerror(number)}; ")
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())
    assert str(output_error("f", OSError(number, "no"), "nothing was lost")).endswith("; nothing was lost")


def staged(target, number=0, source="f"):
    with staging_folder(target) as work, Injector(target.parent, number, "ENOSPC"):
        (work / source).write_text("text")


def test_errors_of_the_disk_within_are_told_and_others_pass(tmp_path):
    target = tmp_path / "x"
    with pytest.raises(OutputError, match=r"No space left on device; free space there.*; the earlier outputs are as"):
        staged(target, number=2)
    with pytest.raises(OutputError, match=r"work/no/f: cannot be written: No such file"):
        staged(target, source="no/f")
    with pytest.raises(FileNotFoundError):
        staged(target, source=tmp_path / "data" / "of the user")
    with pytest.raises(ConnectionRefusedError), staging_folder(target):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert not list(tmp_path.iterdir())


def test_a_second_run_is_told_of_the_first(tmp_path, holder):
    before = sorted(path.name for path in tmp_path.rglob("*"))
    for again in (
        lambda: write_atomically(tmp_path / "x", "y"),
        lambda: move_into_place({tmp_path / "x": tmp_path / "y"}),
    ):
        with pytest.raises(OutputError) as caught:
            again()
        assert str(caught.value).startswith(
            f"{tmp_path / 'x'}: another run is writing there: process {holder.pid} on {os.uname().nodename}, since 20"
        )
        assert str(caught.value).endswith("; wait for it, or choose another place")
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    with staging_folder(tmp_path / "y") as work:
        # The first run's target as a further one of this.
        files = {tmp_path / name: work / name for name in "yx"}
        for path in files.values():
            path.write_text("")
        with pytest.raises(OutputError, match="another run"):
            move_into_place(files)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_killed_run_holds_nothing_and_its_leftovers_go(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / ".nuqconv-x" / "work").is_dir()
    assert (tmp_path / ".nuqconv-x.lock").is_file()
    write_atomically(tmp_path / "x", "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_forked_child_neither_keeps_the_lock_nor_removes_the_folder(tmp_path):
    go, end = os.pipe(), os.pipe()
    with staging_folder(tmp_path / "x") as work:
        child = os.fork()
        if not child:
            os.close(go[1])
            os.read(go[0], 1)
            os._exit(0)
        with pytest.raises(OutputError, match="another run"), staging_folder(tmp_path / "x"):
            pass
    write_atomically(tmp_path / "x", "the child lives, the lock is free")
    os.write(go[1], b".")
    os.waitpid(child, 0)
    for descriptor in (*go, *end):
        os.close(descriptor)
    assert not work.exists()


def test_leaving_in_a_forked_child_leaves_the_parents_folder(tmp_path):
    with staging_folder(tmp_path / "x") as work:
        child = os.fork()
        if not child:
            try:
                folder_module._ACTIVE[work].close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert work.is_dir()


def test_a_lock_file_that_was_removed_meanwhile_is_not_the_lock(tmp_path, monkeypatch):
    """The last holder removes the file between our opening and our locking."""
    path = tmp_path / "lock"
    opened = []
    real = os.open

    def slow(name, *arguments, **options):
        descriptor = real(name, *arguments, **options)
        opened.append(descriptor)
        if len(opened) == 1:
            path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", slow)
    lock = TargetLock(path, tmp_path / "x")
    assert len(opened) == 2
    assert os.path.samestat(os.fstat(opened[1]), path.stat())
    with pytest.raises(OutputError, match="another run"):
        TargetLock(path, tmp_path / "x")
    lock.release()
    lock.release()
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"pid": {}}', "\0" * 5000])
def test_a_lock_file_that_says_nothing(tmp_path, content):
    lock = TargetLock(tmp_path / "lock", tmp_path / "x")
    (tmp_path / "lock").write_text(content)
    with pytest.raises(OutputError, match="which one its lock file does not say"):
        TargetLock(tmp_path / "lock", tmp_path / "x")
    lock.release()


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    lock_of(folder_of(tmp_path / "x")).symlink_to("precious")
    with pytest.raises(OutputError, match="symbolic link"):
        write_atomically(tmp_path / "x", "y")
    assert (tmp_path / "precious").read_text() == "precious"


def test_what_the_record_does_not_list_stays(tmp_path, caplog):
    folder = leave(tmp_path)
    (folder / "thesis.txt").write_text("ten years")
    (folder / "new").mkdir()
    (folder / "new" / "thesis.txt").write_text("ten years")
    for text in ("one", "two"):
        write_atomically(tmp_path / "x", text)
        assert (tmp_path / "x").read_text() == text
        assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "new", "thesis.txt"]
        assert (folder / "new" / "thesis.txt").read_text() == "ten years"
    assert "holds what nuqconv has not written: new, thesis.txt" in caplog.text


def test_a_folder_without_record_is_left_alone(tmp_path):
    folder = folder_of(tmp_path / "x")
    (folder / "work").mkdir(parents=True)
    (folder / "current").symlink_to("old")
    with pytest.raises(OutputError, match=r"not its own: it holds no manifest\.json; look at it and remove it"):
        write_atomically(tmp_path / "x", "y")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".nuqconv-x", "current", "work"]


def record(**changes):
    return {"format": "nuqconv-staging-1", "targets": [], "main": "", "run": {}} | changes


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json",
        "[" * 100_000,
        "[]",
        "{}",
        json.dumps(record(format="2")),
        json.dumps(record(targets=[{"target": "../a", "beside": ""}])),
        json.dumps(record(targets=[{"target": "..", "beside": ""}])),
        json.dumps(record(targets=[{"target": "/etc/passwd", "beside": ""}])),
        json.dumps(record(targets=[{"target": "/etc/passwd", "beside": "/tmp/.nuqconv-a"}])),
        json.dumps(record(targets=[{"target": "/etc/passwd", "beside": "/etc"}])),
        json.dumps(record(targets=[{"target": "a", "beside": "b"}])),
        json.dumps(record(targets=[{"target": "a\0", "beside": ""}])),
        json.dumps(record(targets=[{"target": 1, "beside": ""}])),
        json.dumps(record(targets=7)),
        json.dumps(record(run=3)),
    ],
)
def test_damaged_and_forged_records(tmp_path, content):
    folder = leave(tmp_path)
    (folder / "manifest.json").write_text(content)
    with pytest.raises(OutputError, match=r"its manifest\.json cannot be understood \(.*; look at it and remove it"):
        write_atomically(tmp_path / "x", "y")
    assert (folder / "work" / "half").is_file()
    assert not (tmp_path / "x").exists()


def test_a_forged_record_reaches_no_other_file(tmp_path):
    """An unpacked archive may bring a folder of ours: it must not make the next run write or remove files elsewhere."""
    home, other = tmp_path / "home", tmp_path / "other"
    for folder in (home, other):
        folder.mkdir()
    (other / "precious").write_text("precious")
    (other / "0").write_text("precious")
    (home / "a").write_text("mine")
    folder = leave(home)
    beside = other / ".nuqconv-precious"
    (beside / "new").mkdir(parents=True)
    (beside / "new" / "1").write_text("evil")
    (beside / "manifest.json").write_text(json.dumps(record(main=str(tmp_path / "nowhere"))))
    places = [{"target": "a", "beside": ""}, {"target": str(other / "precious"), "beside": str(beside)}]
    (folder / "manifest.json").write_text(json.dumps(record(targets=places)))
    (folder / "new").symlink_to(other)
    (folder / "old").mkdir()
    (folder / "old" / "0").write_text("evil")
    (folder / "current").symlink_to("old")
    work = folder / "work"
    (work / "half").unlink()
    work.rmdir()
    work.symlink_to(other)
    write_atomically(home / "x", "y")
    assert {path.name: path.read_text() for path in other.iterdir() if path.is_file()} == {
        "precious": "precious",
        "0": "precious",
    }
    assert (beside / "new" / "1").is_file()
    assert (home / "a").read_text() == "mine"


@pytest.mark.parametrize("kind", ["link", "file"])
def test_something_else_in_the_place_of_the_folder(tmp_path, kind):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "manifest.json").write_text(json.dumps(record()))
    place = folder_of(tmp_path / "x")
    place.symlink_to("precious") if kind == "link" else place.write_text("")
    with pytest.raises(OutputError, match="is not its own: it is no folder"):
        write_atomically(tmp_path / "x", "y")
    assert (tmp_path / "precious" / "manifest.json").is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user(tmp_path):
    folder = leave(tmp_path)
    os.chown(folder, 12345, -1)
    with pytest.raises(OutputError, match="is not its own: it belongs to user 12345"):
        write_atomically(tmp_path / "x", "y")


def test_a_link_whose_folder_is_gone(tmp_path):
    (tmp_path / "x").symlink_to(".nuqconv-z/current/0")
    write_atomically(tmp_path / "x", "y")
    assert (tmp_path / "x").read_text() == "y"
    assert not (tmp_path / "x").is_symlink()


def test_a_link_that_the_record_does_not_know(tmp_path):
    leave(tmp_path, "z")
    (tmp_path / "x").symlink_to(".nuqconv-z/current/0")
    with pytest.raises(OutputError, match="whose record does not know it; remove the link"):
        write_atomically(tmp_path / "x", "y")


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "a b'\"\n;", "\udce9"])
def test_odd_names(tmp_path, name):
    write_atomically(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_further_targets_are_locked_from_the_beginning(tmp_path):
    with staging_folder(tmp_path / "a", tmp_path / "sub" / "b"), pytest.raises(OutputError, match="another run"):
        write_atomically(tmp_path / "sub" / "b", "x")
    write_atomically(tmp_path / "sub" / "b", "x")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["b", "sub"]


def test_two_runs_side_by_side_do_not_disturb_each_other(tmp_path):
    with staging_folder(tmp_path / "out" / "a") as first:
        with staging_folder(tmp_path / "out" / "b") as second:
            (second / "f").write_text("b")
            move_into_place({tmp_path / "out" / "b": second / "f"})
        (first / "f").write_text("a")
        move_into_place({tmp_path / "out" / "a": first / "f"})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]
