"""``nuqconv reduce`` and ``nuqconv dump``."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from tests.cli.conftest import MODEL

PLUGIN = """
import dataclasses
import nuqconv
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.onnxruntime.runtime import OnnxRuntime


@dataclasses.dataclass(frozen=True)
class Wrong(OnnxRuntime):
    name = "wrong"
    title = "Wrong"

    def side(self, model):
        graph = model.graph
        params = {name: array * 1.5 if name == "ip1/0" else array for name, array in graph.params.items()}
        return super().side(Runnable.of_graph(dataclasses.replace(graph, params=params)))


nuqconv.runtimes.register(Wrong())
"""


def nuqconv_in(folder, *words):
    return subprocess.run(
        [sys.executable, "-m", "nuqconv", *words], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bug")
    (folder / "wrong_plugin.py").write_text(PLUGIN)
    runtimes = ("--runtime", "onnxruntime,wrong")
    return folder, nuqconv_in(folder, "--plugin", "wrong_plugin", "reduce", *MODEL, *runtimes, "-o", "out")


def test_a_pipe_gets_a_line_for_each_part_and_the_summary(reduced):
    folder, ended = reduced
    assert ended.returncode == 0, ended.stderr
    lines = ended.stderr.splitlines()
    assert lines[0] == "run   1  8 of 8 layers, 1 sample  shows it"
    assert lines[-1] == "run   2  1 of 8 layers, 1 sample  shows it"
    assert "input  pool2 1x50x4x4, as layer 'pool2' makes it in the whole model" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "1 of 8 layers is left, after 2 runs"
    assert (folder / "out" / "model.prototxt").is_file()


def test_the_command_in_the_readme_shows_it(reduced):
    folder, _ = reduced
    text = (folder / "out" / "README.txt").read_text()
    words = shlex.split(re.search(r"(?m)^  nuqconv (.*)$", text)[1])
    (folder / "out" / "wrong_plugin.py").write_text(PLUGIN)
    ended = nuqconv_in(folder / "out", *words)
    assert ended.returncode == 1, ended.stderr
    assert "1 of 1 common blobs differ" in ended.stdout


def test_a_command_that_fails(run, tmp_path):
    command = "sh -c '! grep -q ReLU {model}'"
    ended = run("reduce", *MODEL, "--command", command, "-o", tmp_path / "bug")
    assert ended.code == 0, ended.err
    assert "to see it" in ended.out
    assert "sh -c '! grep -q ReLU model.prototxt'" in ended.out
    told = json.loads((tmp_path / "bug" / "reduced.json").read_text())
    assert [layer["type"] for layer in told["layers"]] == ["ReLU"]
    assert told["runs"] == len(told["attempts"]) == len(ended.err.splitlines())


def test_what_agrees_is_said_to_agree(run, tmp_path):
    ended = run("reduce", *MODEL, "--command", "true {model}", "-o", tmp_path / "bug")
    assert ended.code == 1
    assert "not reduced: there is nothing to reduce" in ended.out
    assert not (tmp_path / "bug").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--command", "true {model}", "--runtime", "caffe"], "--runtime is of two sides"),
        (["--text", "x"], "there is no command"),
        ([*MODEL, *MODEL], "3 models are given"),
        (["--runtime", "caffe,opencv,onnxruntime"], "names 3 runtimes"),
        (["--command", "true"], "does not say where the model goes"),
    ],
)
def test_wrong_usage_of_reduce(run, tmp_path, words, message):
    ended = run("reduce", *MODEL, *words, "-o", tmp_path / "bug", columns=200)
    assert ended.code == 2
    assert message in " ".join(ended.err.split())


def test_dump_writes_a_file_for_each_layer(run, subset, tmp_path):
    ended = run(
        *("dump", *MODEL, "--data", subset, "--samples", 3, "--runtime", "onnxruntime"),
        *("--timestamp", 42, "-o", tmp_path / "d"),
        columns=120,
    )
    assert ended.code == 0, ended.err
    layers = ["data", "conv1", "pool1", "conv2", "pool2", "ip1", "relu1", "ip2", "prob"]
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == sorted(f"{name}.0.42.npy" for name in layers)
    assert [line.split()[0] for line in ended.out.splitlines()[1:10]] == layers
    assert "9 files in" in ended.out
    with np.load(subset) as arrays:
        wanted = arrays["data"][:3].astype(np.float32) * np.float32(arrays["scale"])
    assert np.array_equal(np.load(tmp_path / "d" / "data.0.42.npy"), wanted)
    assert np.load(tmp_path / "d" / "ip1.0.42.npy").min() < 0
    assert np.load(tmp_path / "d" / "relu1.0.42.npy").min() == 0


def test_dump_on_a_narrow_terminal(run, tmp_path):
    ended = run("dump", *MODEL, "--runtime", "onnxruntime", "-o", tmp_path / "d", columns=60)
    assert ended.code == 0
    assert all(re.search(r"\.npy *$", line) for line in ended.out.splitlines()[1:10])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--samples", 3], "are for --data"),
        (MODEL, "2 models are given"),
        (["--timestamp", 10**16], "at most 16 digits"),
    ],
)
def test_wrong_usage_of_dump(run, tmp_path, words, message):
    ended = run("dump", *MODEL, *words, "-o", tmp_path / "d", columns=200)
    assert ended.code == 2
    assert message in ended.err
    assert not (tmp_path / "d").exists()
