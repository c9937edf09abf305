"""The public names as mypy and pyright see them, in their strict modes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

WRONG = "nuqconv.auto_nuq(3)\n"
ROOT = Path(__file__).parents[2]
USER = Path(__file__).with_name("user.py")


@pytest.fixture
def folder(tmp_path):
    """A user's folder; in ``tree`` the three folders as the one package that they are installed as: type checkers run no import hooks."""
    package = tmp_path / "tree" / "nuqconv"
    package.mkdir(parents=True)
    for part in [*(ROOT / "nuqconv").iterdir(), ROOT / "frontends", ROOT / "backends"]:
        (package / part.name).symlink_to(part)
    good = USER.read_text()
    (tmp_path / "good.py").write_text(good)
    (tmp_path / "wrong.py").write_text(good + WRONG)
    return tmp_path


def run(folder, *arguments):
    environment = {**os.environ, "MYPYPATH": str(folder / "tree")}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.slow
def test_mypy(folder):
    ended = run(folder, "mypy", "--strict", "--config-file=", "--cache-dir=cache", "good.py", "wrong.py")
    # Not those of packages without types that this one imports; of an installed package mypy says nothing of them.
    errors = [line for line in ended.stdout.splitlines() if line.startswith(("good.py:", "wrong.py:"))]
    assert errors, ended.stdout + ended.stderr
    last = len((folder / "wrong.py").read_text().splitlines())
    assert [line for line in errors if not line.startswith(f"wrong.py:{last}: ")] == []


def test_pyright(folder):
    if find_spec("pyright") is None:
        pytest.skip("pyright is not installed; the extra `lint` has it")
    settings = {"include": ["good.py", "wrong.py"], "typeCheckingMode": "strict", "extraPaths": ["tree"]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    ended = run(folder, "pyright", "-p", ".", "--pythonpath", sys.executable, "--outputjson")
    if not ended.stdout.lstrip().startswith("{"):
        pytest.skip(f"pyright cannot run here: {(ended.stderr or ended.stdout)[-200:]}")
    found = [
        (Path(item["file"]).name, item["range"]["start"]["line"] + 1)
        for item in json.loads(ended.stdout)["generalDiagnostics"]
    ]
    last = len((folder / "wrong.py").read_text().splitlines())
    assert found, ended.stdout
    assert set(found) == {("wrong.py", last)}
