"""pycaffe's behaviours: every script of this folder runs in real pycaffe on its own Python and here, and must see the same."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.pycaffe.nets import write_nets, write_quantized
from tests.support.packages import real_files

pytestmark = pytest.mark.caffe

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).with_name("scripts")
ONLY_IN_CAFFE = {"backward"}
# In the child a MemoryData layer gets no arrays and Python layers note their calls there; nsfw is the slowest net.
NOT_IN_CAFFE = {"memory_data", "python_layers", "nsfw"}
NEITHER = {"checks", "layers_of_mine"}
TOLERANCE = 1e-5
NAMES = sorted(path.stem for path in SCRIPTS.glob("*.py") if path.stem not in NEITHER)


def checks_of(name):
    """Returns the checks that a script surely has; those that it makes in loops are compared with them."""
    tree = ast.parse((SCRIPTS / f"{name}.py").read_text())
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any(
            getattr(item, "id", "") == "check" for item in node.decorator_list
        ):
            found.append(node.name)
        call = getattr(node, "value", None)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "raising":
            found.append(call.args[0].value)
    return found


CASES = [(name, check) for name in NAMES for check in [*checks_of(name), "the same checks"]]


class Runs:
    """The results of the scripts, each run once in each way."""

    def __init__(self, folder, caffe_python):
        self.folder = folder
        self.caffe_python = caffe_python
        self.found = {}
        self.models = folder / "models"
        self.models.mkdir()
        write_nets(self.models)

    def of(self, name, way):
        """Returns what a script has found; one that fails, fails for all of its checks without running again."""
        key = (name, way)
        if key not in self.found:
            try:
                self.found[key] = self._run(name, way)
            except (AssertionError, subprocess.SubprocessError) as error:
                self.found[key] = error
        found = self.found[key]
        if isinstance(found, Exception):
            raise found
        return found

    def _run(self, name, way):
        work = self.folder / f"{name}-{way}"
        work.mkdir()
        if name == "quantized":
            write_quantized(self.models, work)
        if name == "nsfw":
            for source, kind in zip(real_files("nsfw"), ("prototxt", "caffemodel"), strict=True):
                shutil.copy(source, self.models / f"nsfw.{kind}")
        interpreter = {
            "caffe": [self.caffe_python],
            "ours": [sys.executable, "-m", "nuqconv.pycaffe"],
            "child": [sys.executable, "-m", "nuqconv.pycaffe"],
        }[way]
        environment = {**os.environ, "NUQCONV_PYCAFFE": "caffe" if way == "child" else "", "PYTHONWARNINGS": "ignore"}
        environment.pop("PYTHONPATH", None)
        command = [*interpreter, str(SCRIPTS / f"{name}.py"), str(work / "found.json"), str(self.models), str(work)]
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{way}: {done.stderr[-3000:]}"
        found = json.loads((work / "found.json").read_text())
        with np.load(work / "found.json.npz") as arrays:
            return {check: filled(value, arrays) for check, value in found.items()}


def filled(value, arrays):
    """Puts arrays in the places that stand for them."""
    if isinstance(value, list):
        return [filled(item, arrays) for item in value]
    if isinstance(value, dict) and "array" in value:
        return arrays[value["array"]]
    if isinstance(value, dict) and "dict" in value:
        return {json.dumps(filled(key, arrays)): filled(item, arrays) for key, item in value["dict"]}
    return value


def assert_same(found, expected, place=""):
    """Names, shapes and kinds must be equal, numbers as good as equal."""
    if isinstance(expected, dict) and "raises" in expected:
        assert isinstance(found, dict), f"{place}: raises nothing, found {found!r:.300}"
        assert found.get("raises") == expected["raises"], f"{place}: {found} instead of {expected}"
        return
    assert not (isinstance(found, dict) and "raises" in found), f"{place}: {found}"
    assert type(found) is type(expected), f"{place}: {found!r:.200} instead of {expected!r:.200}"
    if isinstance(expected, dict):
        assert set(found) == set(expected), place
        for key, value in expected.items():
            assert_same(found[key], value, f"{place}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), f"{place}: {found} instead of {expected}"
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{place}/{number}")
    elif isinstance(expected, np.ndarray):
        assert (found.shape, found.dtype.kind) == (expected.shape, expected.dtype.kind), place
        largest = max(1.0, float(np.abs(expected).max(initial=0)))
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE * largest, err_msg=place)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE), place
    else:
        assert found == expected, f"{place}: {found!r} instead of {expected!r}"


@pytest.fixture(scope="module")
def runs(caffe_python, tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("pycaffe"), caffe_python)


def compare(runs, name, check, way):
    if name == "nsfw":
        real_files("nsfw")
    found, expected = runs.of(name, way), runs.of(name, "caffe")
    if check == "the same checks":
        assert list(found) == list(expected)
        for other in set(expected) - set(checks_of(name)):
            assert_same(found[other], expected[other], other)
    else:
        assert_same(found[check], expected[check], check)


@pytest.mark.parametrize(("name", "check"), [case for case in CASES if case[0] not in ONLY_IN_CAFFE])
def test_in_onnxruntime(runs, name, check):
    compare(runs, name, check, "ours")


@pytest.mark.parametrize(("name", "check"), [case for case in CASES if case[0] not in NOT_IN_CAFFE])
def test_in_a_child(runs, name, check):
    compare(runs, name, check, "child")


def test_there_are_enough_checks():
    """What the tests above are worth."""
    assert len([case for case in CASES if case[0] not in ONLY_IN_CAFFE]) >= 150
