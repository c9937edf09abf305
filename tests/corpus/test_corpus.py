"""Malformed files: each is refused with its error, in little time and memory, and nothing is written."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fuzz.targets import CORPUS, TARGETS
from nuqconv import errors
from nuqconv.data.datafile import read_arrays
from tests.corpus.build import CASES, EXPECTED, expected_json, found_files, path_of
from tests.corpus.cases.case import Case
from tests.corpus.cases.valid import FILES
from tests.corpus.replay import CLOCK, MEMORY, SECONDS

ROOT = Path(__file__).parents[2]
KEPT = [case for case in CASES if isinstance(case.content, bytes)]


class Replay:
    """A child process that uses files, and is started again when one has ended it."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[str] | None = None

    def use(self, target: str, path: Path) -> dict[str, object]:
        if self.child is None:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "tests.corpus.replay"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
        self.child.stdin.write(json.dumps([target, str(path)]) + "\n")
        # The first answer waits for the imports too.
        ready = select.select([self.child.stdout], [], [], CLOCK + 60)[0]
        line = self.child.stdout.readline() if ready else ""
        if not line:
            self.close()
            pytest.fail(f"{path.name} ended or held up its reader")
        return json.loads(line)

    def close(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.communicate()
            self.child = None


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    child = Replay()
    yield child
    child.close()


def _check_bounds(outcome: dict[str, object]) -> None:
    assert outcome["warnings"] == []
    assert outcome["seconds"] < SECONDS
    assert outcome["peak"] < MEMORY


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.target}-{case.name}")
def test_a_malformed_file(replay: Replay, tmp_path: Path, case: Case) -> None:
    path = path_of(case)
    if not isinstance(case.content, bytes):
        path = tmp_path / path.name
        path.write_bytes(case.content())
    outcome = replay.use(case.target, path)
    assert outcome["errors"][:1] == [case.error], outcome["message"]
    assert case.text in outcome["message"]
    assert outcome["written"] == []
    # A message is for a terminal, whatever stands in the file.
    assert all(letter.isprintable() or letter in "\n\t" for letter in outcome["message"])
    _check_bounds(outcome)


@pytest.mark.parametrize(("target", "path"), [pytest.param(*item, id=item[1].name) for item in found_files()])
def test_what_fuzzing_has_found(replay: Replay, target: str, path: Path) -> None:
    outcome = replay.use(target, path)
    assert not outcome["errors"] or "NuqconvError" in outcome["errors"], outcome["message"]
    _check_bounds(outcome)


def test_the_files_are_those_of_the_table() -> None:
    assert EXPECTED.read_text() == expected_json(), "run python -m tests.corpus.build"
    assert {path_of(case): path_of(case).read_bytes() for case in KEPT} == {
        path_of(case): case.content for case in KEPT
    }
    kept = {path_of(case) for case in KEPT}
    strangers = [
        path for name in TARGETS for path in (CORPUS / name).glob("*") if path not in kept and path.suffix != ".data"
    ]
    assert strangers == []


def test_there_are_enough_and_each_is_there_once() -> None:
    assert len(KEPT) >= 60
    assert [name for name, count in Counter(map(path_of, CASES)).items() if count > 1] == []
    assert {case.target for case in CASES} == {name for name, target in TARGETS.items() if not target.files}
    assert all(case.text and case.error in errors.__all__ for case in CASES)


@pytest.mark.parametrize("name", ["model.prototxt", "model.caffemodel", *FILES])
def test_a_valid_file_is_accepted(replay: Replay, name: str) -> None:
    # Otherwise the malformed ones beside it could be refused for another reason.
    path = CORPUS / "valid" / name
    if name in FILES:
        assert path.read_bytes() == FILES[name], "run python -m tests.corpus.build"
    target = path.suffix[1:] if path.parent.name == "valid" else path.parent.name
    outcome = replay.use(target, path)
    # Weights of another net are read, and then do not fit.
    fits = name != "caffemodel/v1.caffemodel"
    assert (outcome["errors"] == []) == fits, outcome["message"]
    if not fits:
        assert "has no entry" in outcome["message"]
    if target in {"prototxt", "caffemodel"} and fits:
        assert len(outcome["written"]) == 2
    _check_bounds(outcome)


def test_a_replay_ends_what_takes_too_long(tmp_path: Path) -> None:
    # A pipe that nobody writes to: opening it waits for ever.
    os.mkfifo(tmp_path / "pipe.npz")
    child = subprocess.run(
        [sys.executable, "-c", "import tests.corpus.replay as r; r.CLOCK = 1; r.main()"],
        cwd=ROOT,
        input=json.dumps(["npz", str(tmp_path / "pipe.npz")]) + "\n",
        text=True,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert child.returncode == -14
    assert child.stdout == ""


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", data=np.array([{}], object))
    with pytest.raises(errors.FormatError, match="objects and records are not read"):
        read_arrays(tmp_path / "objects.npz")
