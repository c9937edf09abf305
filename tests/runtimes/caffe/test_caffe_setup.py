"""The exit codes of tools/setup_caffe.py, run in a copy of the few files that it needs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
INTERPRETERS = Path("nuqconv", "runtimes", "caffe", "interpreters.py")
SETUP = Path("tools", "setup_caffe.py")

FAKE_PYTHON = """#!/bin/sh
case "$*" in
*ensurepip*) echo 'nuqconv-probe:{"version": [3, 9, 1], "implementation": "cpython", "bits": 64}';;
*) exit 5;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for file in (INTERPRETERS, SETUP):
        (tmp_path / file).parent.mkdir(parents=True)
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / "bin").mkdir()
    return tmp_path


def run(checkout: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NUQCONV")}
    environment |= {"PATH": str(checkout / "bin"), "PYENV_ROOT": str(checkout), **env}
    return subprocess.run(
        [sys.executable, checkout / SETUP], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize(("required", "code"), [("0", 3), ("1", 1)])
def test_without_a_suitable_python(checkout: Path, required: str, code: int) -> None:
    (checkout / "bin" / "python3.9").write_text("#!/bin/sh\necho 'shim: no such version' >&2; exit 127\n")
    (checkout / "bin" / "python3.9").chmod(0o755)
    done = run(checkout, NUQCONV_REQUIRE_CAFFE=required)
    assert done.returncode == code
    assert "python3.9: failed with exit code 127: shim: no such version" in done.stderr
    assert "uv python install 3.9" in done.stderr
    assert not (checkout / ".venv-caffe").exists()


def test_step_that_fails(checkout: Path) -> None:
    (checkout / "bin" / "python3.9").write_text(FAKE_PYTHON)
    (checkout / "bin" / "python3.9").chmod(0o755)
    done = run(checkout)
    assert done.returncode == 1
    assert "-m venv" in done.stdout
    assert "The step above failed" in done.stderr


@pytest.mark.caffe
def test_environment_that_is_there_is_kept(checkout: Path, caffe_python: str) -> None:
    environment = checkout / ".venv-caffe"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").write_text(f'#!/bin/sh\nexec {caffe_python} "$@"\n')
    (environment / "bin" / "python").chmod(0o755)
    requirements = ["kendryte-caffe==1.0.0.20210829", "numpy<2", "protobuf<3.21", "scikit-image<0.20"]
    (environment / "nuqconv-requirements.json").write_text(json.dumps(requirements) + "\n")
    done = run(checkout)
    assert (done.returncode, done.stderr) == (0, "")
    assert "is up to date" in done.stdout
    (environment / "nuqconv-requirements.json").write_text("[]\n")
    assert run(checkout).returncode == 3
