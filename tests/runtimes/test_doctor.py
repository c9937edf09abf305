"""What ``nuqconv doctor`` finds, and what it advises."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from nuqconv.cli import app
from nuqconv.errors import RuntimeMissingError
from nuqconv.runtimes import doctor
from nuqconv.runtimes.caffe import CaffeInstall, runtime
from nuqconv.runtimes.caffe2onnx import VARIABLE
from nuqconv.runtimes.doctor import Check, checks
from nuqconv.runtimes.table import RUNTIMES, Entry

CAFFE = CaffeInstall("/caffe/bin/python", "the current interpreter", "3.8.1", "1.24.0", "1.0.0", "/caffe/__init__.py")
ADVICE = (
    "needed only to evaluate in real Caffe. `make caffe` in a checkout builds an environment with it (a Python 3.6 to 3.9 must be "
    "there), or set NUQCONV_CAFFE_PYTHON to an interpreter that can import caffe"
)


@pytest.fixture(autouse=True)
def with_caffe(monkeypatch):
    monkeypatch.setattr(runtime, "find_caffe", lambda: CAFFE)


def check(name):
    (found,) = (item for item in checks() if item.name == name)
    return found


def without(monkeypatch, *missing, **replaced):
    """Lets modules be missing or be others."""
    # The modules of the table are there; what they look for is not.
    list(RUNTIMES.values())
    real = importlib.import_module

    def look(name):
        if name in missing:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return replaced.get(name) or real(name)

    monkeypatch.setattr(importlib, "import_module", look)


def run():
    """Exit code and output of the command, its lines not folded."""
    result = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "300"})
    return result.exit_code, result.stdout


def test_everything_is_there():
    found = checks()
    assert [item.name for item in found] == ["Python", "onnxruntime", "real Caffe", "OpenCV", "caffe2onnx"]
    assert [item.required for item in found] == [True, True, False, False, False]
    python, onnxruntime, caffe, *_ = found
    assert python == Check(
        "Python", True, True, f"{platform.python_version()} ({sys.executable})", "nuqconv needs Python 3.10 or later"
    )
    versions = [importlib.import_module(name).__version__ for name in ("onnxruntime", "onnx")]
    assert onnxruntime.ok
    assert onnxruntime.found.startswith(f"{versions[0]}, onnx {versions[1]}, runs opset ")
    assert caffe == Check("real Caffe", True, False, "1.0.0, Python 3.8.1 (/caffe/bin/python)")


@pytest.mark.caffe
def test_real_caffe_is_really_started(monkeypatch, caffe_python):
    monkeypatch.undo()
    found = check("real Caffe")
    assert found.ok
    assert found.found.startswith("1.0.0")
    assert found.found.endswith(f"({caffe_python})")


def test_no_caffe_is_no_failure(monkeypatch):
    monkeypatch.setattr(runtime, "find_caffe", lambda: None)
    assert check("real Caffe") == Check("real Caffe", False, False, "not found", ADVICE)
    code, text = run()
    assert code == 0
    assert "real Caffe   missing  not found" in text
    assert f"real Caffe: {ADVICE}\n" in text


def test_a_broken_interpreter_is_named(monkeypatch, tmp_path):
    """The variable is looked at for real."""
    monkeypatch.undo()
    broken = tmp_path / "python"
    monkeypatch.setenv("NUQCONV_CAFFE_PYTHON", os.fspath(broken))
    found = check("real Caffe")
    assert (found.ok, found.required, found.remedy) == (False, False, ADVICE)
    assert found.found.startswith(
        "NUQCONV_CAFFE_PYTHON names an interpreter in which real Caffe does not work; correct it or unset it "
        f"(NUQCONV_CAFFE_PYTHON, {broken}: "
    )
    code, text = run()
    assert code == 0
    assert str(broken) in text


def test_an_error_of_one_line(monkeypatch):
    def fail():
        raise RuntimeMissingError("first line\nsecond line")

    monkeypatch.setattr(runtime, "find_caffe", fail)
    assert check("real Caffe").found == "first line"


def test_an_error_without_words(monkeypatch):
    def fail():
        raise OSError

    monkeypatch.setattr(runtime, "find_caffe", fail)
    assert check("real Caffe").found == "OSError"


def test_no_onnxruntime_is_a_failure(monkeypatch):
    without(monkeypatch, "onnxruntime")
    remedy = "pip install --upgrade onnx onnxruntime"
    assert check("onnxruntime") == Check("onnxruntime", False, True, "No module named 'onnxruntime'", remedy)
    code, text = run()
    assert code == 1
    assert "onnxruntime  missing  No module named 'onnxruntime'" in text
    assert f"onnxruntime: {remedy}\n" in text


def test_an_old_python_is_a_failure(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 18))
    assert not check("Python").ok
    code, text = run()
    assert code == 1
    assert "Python: nuqconv needs Python 3.10 or later\n" in text


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (None, "No module named 'cv2'"),
        (SimpleNamespace(__version__="5.0.0", dnn=SimpleNamespace()), "5.0.0, which cannot read Caffe models"),
    ],
)
def test_opencv_is_optional(monkeypatch, module, found):
    without(monkeypatch, *(() if module else ("cv2",)), **({"cv2": module} if module else {}))
    opencv = check("OpenCV")
    assert (opencv.ok, opencv.found) == (False, found)
    assert opencv.remedy == "optional second oracle for Caffe models: pip install opencv-python-headless==4.10.0.84"
    assert run()[0] == 0


def test_caffe2onnx_is_really_imported(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    if importlib.util.find_spec("caffe2onnx") is None:
        missing = check("caffe2onnx")
        assert (missing.ok, missing.required, missing.found) == (False, False, "not found")
        assert VARIABLE in missing.remedy
    monkeypatch.setenv(VARIABLE, sys.executable)
    (tmp_path / "caffe2onnx").mkdir()
    (tmp_path / "caffe2onnx" / "__init__.py").touch()
    (tmp_path / "caffe2onnx" / "convert.py").write_text("raise ImportError('no onnx here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    broken = check("caffe2onnx")
    assert (broken.ok, broken.found) == (
        False,
        f"{sys.executable} cannot import caffe2onnx: ImportError: no onnx here",
    )
    (tmp_path / "caffe2onnx" / "convert.py").write_text("")
    (tmp_path / "caffe2onnx-2.0.1.dist-info").mkdir()
    (tmp_path / "caffe2onnx-2.0.1.dist-info" / "METADATA").write_text("Name: caffe2onnx\nVersion: 2.0.1\n")
    assert check("caffe2onnx") == Check("caffe2onnx", True, False, f"2.0.1 ({sys.executable})")


def test_a_runtime_whose_module_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(RUNTIMES._own, "broken", Entry("nuqconv.runtimes.nowhere:Broken", ""))
    found = check("broken")
    assert (found.ok, found.required) == (False, False)
    assert found.found == "No module named 'nuqconv.runtimes.nowhere'"
    assert run()[0] == 0


def test_what_is_there_gets_no_advice():
    code, text = run()
    assert code == 0
    assert "real Caffe   ok" in text
    assert "make caffe" not in text
