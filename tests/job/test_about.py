"""What a run notes of itself."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from nuqconv.data import Arrays
from nuqconv.job.about import command_line, now, objective_words, versions
from nuqconv.job.picture import MOST_BYTES, sheet_of
from nuqconv.search.objective import NearestMetric, SmallestBytes


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["/usr/bin/nuqconv", "auto", "my net.prototxt"], "nuqconv auto 'my net.prototxt'"),
        (["/site/nuqconv/__main__.py", "auto", "x"], "python -m nuqconv auto x"),
        (["tools/search.py", "--fast"], "python tools/search.py --fast"),
        ([""], None),
        (["-c"], None),
        (["/usr/bin/ipython"], None),
        ([], None),
    ],
)
def test_the_command_line(arguments, line, monkeypatch):
    monkeypatch.setattr(sys, "argv", arguments)
    assert command_line() == line


def test_no_command_in_a_notebook(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/site/ipykernel_launcher.py", "-f", "x"])
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert command_line() is None


def test_aims_in_words():
    assert objective_words(SmallestBytes()) == ("the smallest size", None, None)
    assert objective_words(SmallestBytes(3)) == (
        "the smallest size with at most 3 layers that have a codebook",
        3,
        None,
    )
    assert objective_words(NearestMetric(6e6)) == ("the best metric in 6,000,000 bytes", None, 6e6)
    assert objective_words(object()) == ("object", None, None)


def test_time_and_versions():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", now())
    assert versions()["numpy"] == np.__version__
    assert list(versions())[:2] == ["python", "nuqconv"]


def test_pictures_of_the_data():
    rng = np.random.default_rng(1)
    found = sheet_of(Arrays({"data": rng.normal(size=(30, 3, 64, 64)).astype(np.float32)}))
    assert found is not None
    assert found[:2] == b"\xff\xd8"
    assert len(found) <= MOST_BYTES
    assert sheet_of(Arrays({"data": np.zeros((3, 7), np.float32)})) is None
    assert sheet_of(None) is None
    assert sheet_of({"data": np.zeros((3, 3, 8, 8), np.float32)}) is None
