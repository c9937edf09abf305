"""A set of files is exchanged for another in one step, whatever fails and whenever the process ends."""

import errno
import logging
import os
import shutil
from pathlib import Path

import pytest

from nuqconv.errors import OutputError
from nuqconv.files.staging import folder as folder_module
from nuqconv.files.staging import move_into_place, staging_folder
from tests.faults.injector import ERRORS, KILLS, Injector
from tests.support.memory import memory_folder

NAMES = ("a.txt", "b.txt", "apart/c.txt", "apart/d.txt")
OLD_SETS = ((), ("b.txt", "apart/d.txt"), NAMES)


@pytest.fixture
def tmp_path():
    with memory_folder() as folder:
        yield folder


def contents(folder, names=NAMES):
    """What a reader finds who opens the targets."""
    return {name: (folder / name).read_text() for name in names if (folder / name).exists()}


def everything(folder):
    """All files and links, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def write_set(folder, word="new", names=NAMES):
    with staging_folder(folder / names[0]) as staging:
        files = {}
        for number, name in enumerate(names):
            files[folder / name] = staging / str(number)
            files[folder / name].write_text(f"{word} {name}")
        move_into_place(files)


def new_set(names=NAMES):
    return {name: f"new {name}" for name in names}


def prepare(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"old {name}")
    return contents(folder)


def points(tmp_path, old, names=NAMES):
    """Counts the operations of one exchange."""
    place = tmp_path / "count"
    place.mkdir()
    prepare(place, old)
    with Injector(place) as injector:
        write_set(place, names=names)
    shutil.rmtree(place)
    return len(injector.calls)


def refusal(folder):
    """Writes the set; returns the message where that is refused."""
    try:
        write_set(folder)
    except OutputError as error:
        return str(error)
    return None


def chosen(count, stride, offset=0):
    """All points with ``make faults``, else every stride-th."""
    return range(1, count + 1) if os.environ.get("NUQCONV_ALL_FAULTS") == "1" else range(1 + offset, count + 1, stride)


@pytest.mark.parametrize("old", OLD_SETS)
def test_all_files_are_in_place_and_nothing_else_is_left(tmp_path, old):
    prepare(tmp_path, old)
    write_set(tmp_path)
    assert contents(tmp_path) == new_set()
    assert everything(tmp_path) == sorted(NAMES)
    assert not any((tmp_path / name).is_symlink() for name in NAMES)


@pytest.mark.parametrize("old", OLD_SETS)
def test_a_reader_at_any_moment_sees_one_whole_set(tmp_path, old):
    before = prepare(tmp_path, old)
    seen = []
    with Injector(tmp_path, observe=lambda: seen.append(contents(tmp_path))):
        write_set(tmp_path)
    switch = seen.index(new_set())
    assert len(seen) > 40
    assert all(found == before for found in seen[:switch])
    assert all(found == new_set() for found in seen[switch:])


@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("old", OLD_SETS)
def test_any_operation_that_fails_leaves_the_old_set_or_the_new_one(tmp_path, old, forever, caplog):
    count = points(tmp_path, old)
    assert count > 40
    taken_back = 0
    for number in chosen(count, 2, forever):
        mode = ERRORS[number % len(ERRORS)]
        place = tmp_path / f"{number}"
        place.mkdir()
        before = prepare(place, old)
        caplog.clear()
        with Injector(place, number, mode, forever=forever) as injector:
            message = refusal(place)
        # Where a second name fails, a copy is made; and all that comes after the step is tidying.
        assert contents(place) == (new_set() if message is None else before), injector.calls[number - 1]
        assert message is None or os.strerror(getattr(errno, mode)) in message
        taken_back += message is not None
        assert injector.fired
        spoiled = injector.calls[number - 1]
        if not forever and contents(place) == before and not (spoiled.startswith("unlink") and ".lock" in spoiled):
            assert everything(place) == sorted(old) or "cannot be removed" in caplog.text, spoiled
        write_set(place, "next")
        assert contents(place) == {name: f"next {name}" for name in NAMES}
        assert everything(place) == sorted(NAMES), injector.calls[number - 1]
    assert taken_back > count // 5


@pytest.mark.parametrize("mode", KILLS)
@pytest.mark.parametrize("old", OLD_SETS)
def test_a_process_killed_anywhere_leaves_the_old_set_or_the_new_one(tmp_path, old, mode):
    found = set()
    count = points(tmp_path, old)
    for number in chosen(count, 9, 3 * KILLS.index(mode) + OLD_SETS.index(old)):
        place = tmp_path / f"{number}"
        place.mkdir()
        before = prepare(place, old)
        child = os.fork()
        if not child:
            with Injector(place, number, mode):
                write_set(place)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 9
        state = contents(place)
        assert state in (before, new_set()), number
        found.add("new" if state == new_set() else "old")
        # The next run puts the targets right before it does anything else, and removes the leftovers.
        with staging_folder(place / NAMES[0]):
            assert contents(place) == state
            assert not any((place / name).is_symlink() for name in NAMES)
        write_set(place, "next")
        assert everything(place) == sorted(NAMES), number
    assert found == {"old", "new"}


@pytest.mark.parametrize("mode", KILLS)
def test_a_recovery_that_is_killed_is_finished_by_the_next(tmp_path, mode):
    broken = tmp_path / "broken"
    broken.mkdir()
    prepare(broken, NAMES)
    child = os.fork()
    if not child:
        with Injector(broken) as injector:
            injector.observe = lambda: (broken / "b.txt").is_symlink() and os._exit(0)
            write_set(broken)
    os.waitpid(child, 0)
    assert (broken / "a.txt").is_symlink()
    for number in chosen(200, 5, KILLS.index(mode)):
        place = tmp_path / f"{number}"
        shutil.copytree(broken, place, symlinks=True)
        for link in [path for path in place.rglob("*") if path.is_symlink() and "broken" in str(path.readlink())]:
            text = str(link.readlink()).replace(str(broken), str(place))
            link.unlink()
            link.symlink_to(text)
        for record in place.rglob("manifest.json"):
            record.write_text(record.read_text().replace(str(broken), str(place)))
        child = os.fork()
        if not child:
            with Injector(place, number, mode), staging_folder(place / NAMES[0]):
                pass
            os._exit(0)
        ended = os.waitpid(child, 0)[1]
        assert contents(place) == {name: f"old {name}" for name in NAMES}
        write_set(place)
        assert contents(place) == new_set()
        assert everything(place) == sorted(NAMES)
        if not ended:
            break
    assert number > 15
    assert not ended


@pytest.mark.parametrize("mode", ["EIO", *KILLS])
def test_a_single_file(tmp_path, mode):
    names = ("one.txt",)
    count = points(tmp_path, names, names)
    found = set()
    for number in range(1, count + 1):
        place = tmp_path / f"{number}"
        place.mkdir()
        prepare(place, names)
        child = os.fork()
        if not child:
            with Injector(place, number, mode):
                try:
                    write_set(place, names=names)
                except OutputError:
                    os._exit(2)
            os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        text = (place / "one.txt").read_text()
        assert text in {"old one.txt", "new one.txt"}
        if status in {1, 2}:
            assert text == {1: "new one.txt", 2: "old one.txt"}[status]
        found.add(text)
        write_set(place, names=names)
        assert everything(place) == ["one.txt"]
    assert len(found) == 2


@pytest.mark.parametrize("old", OLD_SETS)
def test_without_symbolic_links_the_files_go_one_by_one_and_a_failure_is_taken_back(tmp_path, old, monkeypatch, caplog):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    # The folder apart needs a link to its own staging folder; on such a file system all targets lie in one.
    names = ("a.txt", "b.txt", "c.txt")
    old = tuple(name for name in old if name in names)
    monkeypatch.setattr(os, "symlink", refuse)
    count = points(tmp_path, old, names)
    assert "no symbolic links" in caplog.text
    for number in range(1, count + 1):
        place = tmp_path / f"{number}"
        place.mkdir()
        before = prepare(place, old)
        with Injector(place, number, "ENOSPC"):
            try:
                write_set(place, names=names)
            except OutputError:
                assert contents(place, names) == before
            else:
                assert contents(place, names) == new_set(names)


def test_without_second_names_the_earlier_files_are_copied(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    before = prepare(tmp_path, NAMES)
    with Injector(tmp_path) as injector:
        injector.observe = lambda: contents(tmp_path) in (before, new_set()) or pytest.fail("a mixture")
        write_set(tmp_path)
    assert contents(tmp_path) == new_set()
    assert everything(tmp_path) == sorted(NAMES)


def test_an_interrupt_right_after_the_step_is_too_late(tmp_path):
    prepare(tmp_path, NAMES)

    def interrupt():
        if contents(tmp_path) == new_set():
            injector.observe = None
            raise KeyboardInterrupt

    with Injector(tmp_path, observe=interrupt) as injector, pytest.raises(KeyboardInterrupt):
        write_set(tmp_path)
    assert contents(tmp_path) == new_set()
    assert everything(tmp_path) == sorted(NAMES)


def test_an_interrupt_before_the_step_takes_all_back(tmp_path):
    before = prepare(tmp_path, NAMES)

    def interrupt():
        if (tmp_path / "apart" / "c.txt").is_symlink():
            injector.observe = None
            raise KeyboardInterrupt

    with Injector(tmp_path, observe=interrupt) as injector, pytest.raises(KeyboardInterrupt):
        write_set(tmp_path)
    assert contents(tmp_path) == before
    assert everything(tmp_path) == sorted(NAMES)


def test_what_cannot_be_tidied_up_is_told_and_done_by_the_next_run(tmp_path, caplog):
    prepare(tmp_path, NAMES)

    def fail():
        if contents(tmp_path) == new_set():
            injector.number, injector.forever, injector.mode = len(injector.calls), True, "EIO"

    with Injector(tmp_path, observe=fail) as injector:
        write_set(tmp_path)
    assert contents(tmp_path) == new_set()
    assert (tmp_path / "a.txt").is_symlink()
    assert "the new outputs are in place and whole, but something is left to tidy up" in caplog.text
    with caplog.at_level(logging.INFO):
        write_set(tmp_path, "next", names=("b.txt",))
    assert "put right and removed" in caplog.text
    assert not any((tmp_path / name).is_symlink() for name in NAMES)
    assert contents(tmp_path) == {**new_set(), "b.txt": "next b.txt"}
    assert everything(tmp_path) == sorted(NAMES)


def test_a_link_of_the_user_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "b.txt").write_text("old")
    (tmp_path / "b.txt").symlink_to("real/b.txt")
    write_set(tmp_path)
    assert (tmp_path / "b.txt").readlink() == Path("real/b.txt")
    assert (tmp_path / "real" / "b.txt").read_text() == "new b.txt"
    assert everything(tmp_path) == sorted([*NAMES, "real/b.txt"])


def test_two_outputs_in_one_place(tmp_path):
    (tmp_path / "b.txt").symlink_to("a.txt")
    with pytest.raises(OutputError, match=r"b\.txt: is the place of two of the outputs"):
        write_set(tmp_path)
    assert everything(tmp_path) == ["b.txt"]


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_target_that_is_no_file(tmp_path, kind):
    prepare(tmp_path, ("a.txt",))
    (os.mkdir if kind == "folder" else os.mkfifo)(tmp_path / "b.txt")
    with pytest.raises(OutputError, match=rf"b\.txt: is a .*{kind}"):
        write_set(tmp_path)
    assert contents(tmp_path, ("a.txt",)) == {"a.txt": "old a.txt"}


def test_files_from_another_file_system_are_copied(tmp_path, monkeypatch):
    rename = os.rename

    def other(source, target):
        if "work" in str(source):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", other)
    write_set(tmp_path)
    assert contents(tmp_path) == new_set()
    assert everything(tmp_path) == sorted(NAMES)


def test_files_from_anywhere(tmp_path):
    (tmp_path / "finished").write_text("new")
    move_into_place({tmp_path / "one" / "two" / "x": tmp_path / "finished"})
    assert everything(tmp_path) == ["one/two/x"]
    move_into_place({})


def test_folders_made_for_nothing_are_removed(tmp_path):
    with Injector(tmp_path, 30, "ENOSPC"), pytest.raises(OutputError):
        write_set(tmp_path / "one" / "two")
    assert not list(tmp_path.iterdir())


def test_two_exchanges_in_one_staging_folder(tmp_path):
    with staging_folder(tmp_path / "a") as staging:
        for word in ("first", "second"):
            for name in "abc":
                (staging / name).write_text(word)
            move_into_place({tmp_path / name: staging / name for name in "abc"})
            assert contents(tmp_path, "abc") == dict.fromkeys("abc", word)
    assert everything(tmp_path) == ["a", "b", "c"]
    assert not folder_module._ACTIVE
