"""Finding interpreters: each is a small program here that behaves as a real one might."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nuqconv.errors import RuntimeMissingError
from nuqconv.runtimes.caffe import find_caffe, interpreters, locate, require_caffe
from nuqconv.runtimes.caffe.interpreters import (
    BuildPython,
    CaffeInstall,
    Refusal,
    find_build_python,
    probe_caffe,
)

CAFFE = {
    "python_version": "3.9.1",
    "numpy_version": "1.26.4",
    "caffe_version": "1.0.0",
    "caffe_file": "/x/caffe/__init__.py",
}


def program(path: Path, script: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def caffe_program(path: Path) -> str:
    return program(path, f"echo noise\ncat <<'E'\nnuqconv-probe:{json.dumps(CAFFE)}\nE")


def build_program(path: Path, version: tuple[int, int, int], implementation: str = "cpython") -> str:
    answer = json.dumps({"version": version, "implementation": implementation, "bits": 64})
    return program(path, f"cat <<'E'\nnuqconv-probe:{answer}\nE")


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No Caffe anywhere: the current interpreter has none and there is no environment of the project."""
    monkeypatch.delenv("NUQCONV_CAFFE_PYTHON", raising=False)
    monkeypatch.setattr(
        sys, "executable", program(tmp_path / "current", "echo \"ImportError: No module named 'caffe'\" >&2; exit 1")
    )
    environment = tmp_path / "environment"
    monkeypatch.setattr(locate, "project_environment", lambda: environment)
    return environment


@pytest.fixture
def path_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of one empty folder, and a pyenv with no versions."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(interpreters, "BUILD_VERSIONS", ((3, 9), (3, 8)))
    monkeypatch.setattr("os.get_exec_path", lambda: [str(folder)])
    monkeypatch.setattr("shutil.which", _which_in(folder))
    return folder


def _which_in(folder: Path) -> Callable[..., str | None]:
    def which(name: str, path: str | None = None) -> str | None:
        found = Path(path or folder) / name
        return str(found) if found.exists() else None

    return which


def test_variable_comes_first(nothing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caffe_program(nothing / "bin" / "python")
    monkeypatch.setenv("NUQCONV_CAFFE_PYTHON", caffe_program(tmp_path / "own"))
    assert find_caffe() == CaffeInstall(python=str(tmp_path / "own"), source="NUQCONV_CAFFE_PYTHON", **CAFFE)


def test_variable_that_does_not_work_is_an_error(
    nothing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caffe_program(nothing / "bin" / "python")
    monkeypatch.setenv("NUQCONV_CAFFE_PYTHON", str(tmp_path / "missing"))
    for find in (find_caffe, require_caffe):
        with pytest.raises(RuntimeMissingError, match="correct it or unset it") as caught:
            find()
        assert "missing: cannot be started: No such file or directory" in str(caught.value)
        assert "make caffe" in str(caught.value)


def test_current_interpreter_comes_second(nothing: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    caffe_program(nothing / "bin" / "python")
    monkeypatch.setattr(sys, "executable", caffe_program(tmp_path / "other"))
    assert require_caffe().source == "the current interpreter"


def test_projects_environment_comes_third(nothing: Path) -> None:
    python = caffe_program(nothing / "bin" / "python")
    assert require_caffe().python == python
    assert require_caffe().source == "the project's environment"


def test_nothing_found_lists_all_that_was_tried(nothing: Path) -> None:
    assert find_caffe() is None
    with pytest.raises(RuntimeMissingError) as caught:
        require_caffe()
    first, second, remedy = caught.value.problems
    assert "the current interpreter" in first
    assert "No module named 'caffe'" in first
    assert "the project's environment" in second
    assert "No such file or directory" in second
    assert "make caffe" in remedy
    assert 'pip install "kendryte-caffe==1.0.0.20210829" "numpy<2"' in remedy


def test_project_environment_is_beside_pyproject() -> None:
    folder = locate.project_environment()
    assert folder is None or (folder.parent / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "echo 'pyenv: python: command not found' >&2; echo 'hint' >&2; exit 127",
            "failed with exit code 127: pyenv: python: command not found",
        ),
        ("echo Traceback >&2; echo 'ImportError: numpy' >&2; exit 1", "failed with exit code 1: ImportError: numpy"),
        ("exit 1", "failed with exit code 1: no message"),
        ("echo hello", "ran, but is no Python: it printed no answer"),
        ("sleep 20", "gave no answer within 0.5 s"),
    ],
)
def test_reasons_of_a_refusal(tmp_path: Path, script: str, reason: str) -> None:
    python = program(tmp_path / "python", script)
    assert probe_caffe(python, "test", timeout=0.5) == Refusal(python, reason)


def test_folder_named_caffe_in_the_working_directory_is_not_caffe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "caffe").mkdir()
    (tmp_path / "caffe" / "__init__.py").write_text("Net = None\n")
    monkeypatch.chdir(tmp_path)
    found = probe_caffe(sys.executable, "test")
    assert isinstance(found, Refusal) or not found.caffe_file.startswith(str(tmp_path))


@pytest.mark.caffe
def test_real_caffe_is_found(caffe_python: str) -> None:
    found = probe_caffe(caffe_python, "test")
    assert isinstance(found, CaffeInstall)
    assert found.caffe_version


def test_newest_build_python_wins_and_broken_shims_are_passed_over(path_folder: Path, tmp_path: Path) -> None:
    program(path_folder / "python3.9", "echo 'pyenv: python3.9: command not found' >&2; exit 127")
    build_program(path_folder / "python3.8", (3, 8, 18))
    older = build_program(tmp_path / "pyenv" / "versions" / "3.9.2" / "bin" / "python", (3, 9, 2))
    newer = build_program(tmp_path / "pyenv" / "versions" / "3.9.18" / "bin" / "python", (3, 9, 18))
    found, refusals = find_build_python()
    assert found == BuildPython(newer, (3, 9, 18))
    assert [refusal.python for refusal in refusals] == [str(path_folder / "python3.9")]
    assert older != newer


def test_uv_is_asked(path_folder: Path, tmp_path: Path) -> None:
    python = build_program(tmp_path / "uv-python", (3, 8, 1))
    program(path_folder / "uv", f'case "$*" in *3.8) echo {python};; *) exit 2;; esac')
    assert find_build_python()[0] == BuildPython(python, (3, 8, 1))


def test_unsuitable_build_pythons(path_folder: Path) -> None:
    build_program(path_folder / "python3.9", (3, 11, 1))
    build_program(path_folder / "python3.8", (3, 8, 1), "pypy")
    found, refusals = find_build_python()
    assert found is None
    assert [refusal.reason for refusal in refusals] == [
        "is Python 3.11.1, not 3.9",
        "is a 64-bit pypy; Caffe's wheels are for 64-bit CPython",
    ]
