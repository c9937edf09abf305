"""The command line called in process, and the bundled LeNet with a small part of its data."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from nuqconv.cli import main, messages

LENET = Path(__file__).parents[2] / "examples" / "lenet"
MODEL = [str(LENET / "deploy.prototxt"), str(LENET / "lenet.caffemodel")]


class Ended(NamedTuple):
    """What a call left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch, capsys):
    """Calls the command line as a terminal of 80 columns would show it; ``columns=None`` is a pipe."""

    def call(*arguments, columns=80):
        monkeypatch.setattr(sys, "argv", ["nuqconv", *map(str, arguments)])
        if columns is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(columns))
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        return Ended(code, *capsys.readouterr())

    yield call
    root = logging.getLogger()
    # Where a test had no handler (``nuqconv run`` takes them away), the command line has set one for its process.
    for handler in [item for item in root.handlers if type(item).__module__ == messages.__name__]:
        root.removeHandler(handler)


@pytest.fixture(scope="session")
def subset(tmp_path_factory):
    """200 images of LeNet's test set."""
    path = tmp_path_factory.mktemp("data") / "subset.npz"
    with np.load(LENET / "test_set.npz") as whole:
        np.savez(path, data=whole["data"][:200], label=whole["label"][:200], scale=whole["scale"])
    return path
