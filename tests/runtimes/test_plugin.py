"""A runtime of the user's own: one module and one entry, and everything knows it."""

from __future__ import annotations

import ast
import importlib.util
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import nuqconv
from nuqconv import BatchEvaluator
from nuqconv.backends.onnx import to_onnx
from nuqconv.errors import ConfigError, EvaluatorError
from nuqconv.evaluators.identity import evaluator_identity
from nuqconv.formats import open_model
from nuqconv.frontends.caffe import load_graph
from nuqconv.runtimes import RUNTIMES, register, runtime_named, unregister
from nuqconv.runtimes.base import Loaded, Runtime
from nuqconv.runtimes.doctor import checks
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.table import AUTO, NAMES, NAMES_AND_AUTO
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, lenet_data
from tests.support.nets import conv_net

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "runtimes"
NAME = "onnx-reference"
OWN = ["onnxruntime", "caffe", "opencv", "caffe2onnx"]


@pytest.fixture(scope="module")
def reference():
    """The example, imported as ``--plugin`` does."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        importlib.import_module("onnx_reference")
        yield RUNTIMES[NAME]
    finally:
        sys.path.remove(str(EXAMPLE))
        unregister(NAME)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return conv_net(tmp_path_factory.mktemp("net"))


def test_the_names(reference):
    assert list(NAMES) == [*OWN, NAME]
    assert list(NAMES_AND_AUTO) == [AUTO, *OWN, NAME]
    assert runtime_named(NAME) == reference == pickle.loads(pickle.dumps(reference))


def test_nowhere_else_is_a_list_of_them():
    """A constant that is a runtime's name, outside of its own module and the table; ``caffe`` is a format's name too, and onnxruntime a package's."""
    package = Path(nuqconv.__file__).parent
    found = {
        f"{path.relative_to(package)}: {node.value}"
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in ("opencv", "caffe2onnx")
    }
    assert found == {
        "runtimes/table.py: opencv",
        "runtimes/opencv.py: opencv",
        "runtimes/table.py: caffe2onnx",
        # The package that is looked for has the same name.
        "runtimes/caffe2onnx.py: caffe2onnx",
    }


def test_a_model_in_two_runtimes(reference, files):
    report = nuqconv.compare((files.model, files.weights), runtimes=("onnxruntime", NAME))
    assert report.agrees
    assert report.sides[1] == f"ONNX's reference implementation: {files.model}"
    # A runtime that takes graphs gives the earlier states of in-place blobs too.
    assert [item.layer for item in report.blobs] == [
        *("conv1", "bn1", "scale1", "relu1", "conv2", "sum", "relu2", "pool", "fc", "prob")
    ]
    assert any(item.max_abs > 0 for item in report.blobs)


@pytest.mark.caffe
def test_real_caffe_is_still_what_auto_takes(reference, files, caffe_python):
    report = nuqconv.compare((files.model, files.weights), runtimes=(AUTO, NAME))
    assert report.agrees
    assert report.sides[0].startswith("real Caffe")


def test_onnx_files_models_and_graphs(reference, files, tmp_path):
    target = tmp_path / "m.onnx"
    nuqconv.convert(files.model, files.weights, target)
    for model in (target, nuqconv.load(files.model, files.weights)):
        report = nuqconv.compare(model, runtimes=(NAME, "onnxruntime"), inputs={"data": np.ones((1, 3, 12, 12))})
        assert report.agrees
        assert len(report.blobs) >= 8


def test_open_sizes_of_an_onnx_model_go_by_position(reference, files):
    graph = nuqconv.load(files.model, files.weights)
    model = to_onnx(graph, dynamic_batch=True)
    for node in model.graph.node:
        node.input[:] = ["image" if name == "data" else name for name in node.input]
    model.graph.input[0].name = "image"
    report = nuqconv.compare(
        (files.model, files.weights),
        model,
        runtimes=("onnxruntime", NAME),
        options=nuqconv.CompareOptions(input_shapes={"data": (3, 3, 12, 12)}),
    )
    assert report.agrees
    assert report.blob["prob"].shapes == ((3, 5), (3, 5))


def test_a_difference_is_found(reference, files, tmp_path):
    other = conv_net(tmp_path, seed=1, stem="other")
    report = nuqconv.compare((files.model, files.weights), (other.model, other.weights), runtimes=(NAME, NAME))
    assert not report.agrees
    assert report.first.layer == "conv1"


def test_evaluators(reference):
    data = lenet_data(16)
    options = {"metric": "output_error", "max_error": 1, "batch_size": 8, "outputs": ("ip2", "prob")}
    runs = {}
    for name in (NAME, "onnxruntime"):
        with BatchEvaluator(data.inputs, runtime=name, **options) as evaluator:
            runs[name] = list(evaluator.run(str(LENET_MODEL), str(LENET_WEIGHTS), evaluator.calibration_batches(2)))
    for ours, theirs in zip(*runs.values(), strict=True):
        assert list(ours) == list(theirs) == ["ip2", "prob"]
        for name, array in ours.items():
            np.testing.assert_allclose(array, theirs[name], rtol=1e-4, atol=1e-5)
    first, second = (evaluator_identity(BatchEvaluator(data.inputs, runtime=name, **options)) for name in runs)
    assert first["evaluator"] == f"nuqconv.evaluators.BatchEvaluator in {NAME}"
    assert first != second


def test_doctor(reference):
    found = checks()[-1]
    assert (found.name, found.ok, found.required) == ("ONNX's reference implementation", True, False)


def _nuqconv(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "nuqconv", "--plugin", "onnx_reference", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(EXAMPLE), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.slow
def test_the_command_line(tmp_path):
    data = lenet_data(8)
    np.savez(tmp_path / "set.npz", label=data.labels, **data.inputs)
    command = ["auto", LENET_MODEL, LENET_WEIGHTS, "--data", "set.npz", "--max-drop", "20%", "--runtime", NAME]
    # The worker gets the runtime with the evaluator.
    ended = _nuqconv(tmp_path, *command, "--save", "out/m", "--max-evaluations", 2, "--workers", 1)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out" / "m_fake_quant_model.prototxt").is_file()
    made = [tmp_path / "out" / f"m_fake_quant_{name}" for name in ("model.prototxt", "weights.caffemodel")]
    ended = _nuqconv(tmp_path, "compare", *made, "--runtime", NAME, "--runtime", "onnxruntime")
    assert ended.returncode == 0, ended.stdout
    assert "ONNX's reference implementation" in ended.stdout
    assert "ONNX's reference implementation" in _nuqconv(tmp_path, "doctor").stdout
    for name in ("auto", "compare"):
        assert NAME in _nuqconv(tmp_path, name, "--help").stdout
        wrong = _nuqconv(tmp_path, name, LENET_MODEL, "--data", "x", "--save", "y", "--runtime", "torch")
        assert wrong.returncode == 2


@dataclass(frozen=True)
class FilesOnly(Runtime):
    """Takes the files themselves, and has an option."""

    name = "files-only"
    title = "files only"
    takes = frozenset({"caffe"})
    remedy = "none"

    digits: int = 3

    def version(self):
        raise ImportError("not here")

    def load(self, model, outputs=None):
        self.check_takes(model)
        return Rounded(load_graph(*map(str, model.files)), outputs, self.digits)


class Rounded(Loaded):
    def __init__(self, graph, outputs, digits):
        self.graph, self.outputs, self.digits = graph, outputs or graph.outputs, digits

    def run(self, batch):
        size = len(next(iter(batch.values())))
        return {name: np.full((size, self.digits), 0.5, np.float32) for name in self.outputs}


@pytest.fixture
def files_only():
    register(FilesOnly())
    yield
    unregister("files-only")


def test_a_runtime_that_runs_files(files_only, files, tmp_path):
    side = RUNTIMES["files-only"].side(Runnable.of(open_model(files.model, files.weights)))
    assert side.names == ("conv1", "conv2", "sum", "pool", "fc", "prob")
    inputs = {"data": np.zeros((4, 3, 12, 12))}
    with BatchEvaluator(inputs, metric="output_error", max_error=1, runtime=FilesOnly(digits=2)) as evaluator:
        (run,) = evaluator.run(str(files.model), str(files.weights), evaluator.calibration_batches(1))
        assert run["prob"].shape == (4, 2)
        nuqconv.convert(files.model, files.weights, tmp_path / "m.onnx")
        with pytest.raises(EvaluatorError, match="files only runs no ONNX model"):
            evaluator.eval_model(str(tmp_path / "m.onnx"), str(tmp_path / "m.onnx"), 1)
    with pytest.raises(ConfigError, match="needs a Caffe model"):
        nuqconv.compare((files.model, files.weights), tmp_path / "m.onnx", runtimes=("onnxruntime", "files-only"))
    assert runtime_named("files-only", digits=5).digits == 5
    with pytest.raises(ConfigError, match="has no option 'threads'; its options are: digits"):
        runtime_named("files-only", threads=1)
    found = checks()[-1]
    assert (found.ok, found.found) == (False, "not here")
    assert not RUNTIMES["files-only"].is_there()


def test_what_cannot_be_registered(files_only):
    with pytest.raises(ConfigError, match="name: 'files-only' is taken"):
        register(FilesOnly())

    class Nameless(Runtime):
        version = FilesOnly.version
        load = FilesOnly.load

    with pytest.raises(ConfigError) as caught:
        register(Nameless())
    assert len(caught.value.problems) == 4

    class Auto(FilesOnly):
        name = "auto"

    class Blank(FilesOnly):
        name = "a b"

    for kind, reason in ((Auto, "'auto' is taken"), (Blank, "found 'a b'")):
        with pytest.raises(ConfigError, match=reason):
            register(kind())
    for name in ("caffe", "nothing"):
        with pytest.raises(ConfigError, match="was not registered"):
            unregister(name)
