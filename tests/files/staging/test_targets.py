"""Checks of the places for outputs."""

import os
from pathlib import Path

import pytest

from nuqconv.errors import OutputError
from nuqconv.files.staging import check_targets, staging_folder


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
    with (
        pytest.raises(OutputError, match="cannot be written: Permission denied"),
        staging_folder(tmp_path / "locked" / "x"),
    ):
        pass


def test_names_that_no_file_system_takes(tmp_path):
    long, deep, nul = tmp_path / ("x" * 256), tmp_path / "new" / ("é" * 128) / "x", tmp_path / "a\0b"
    with pytest.raises(OutputError) as caught:
        check_targets([long, deep, nul, tmp_path / ("x" * 255)], [])
    assert caught.value.problems == (
        f"{long}: a name in it is longer than the 255 bytes that the file system takes",
        f"{deep}: a name in it is longer than the 255 bytes that the file system takes",
        f"{str(nul)!r}: the name holds a NUL character",
    )


def test_a_device_is_no_place_for_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="pipe: is a device, pipe or socket"):
        check_targets([tmp_path / "pipe"], [])
