"""One run of the command line reads its model once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import nuqconv
from nuqconv.cli import main
from nuqconv.frontends.caffe import weights as caffe_weights
from nuqconv.frontends.onnx import files as onnx_files
from tests.support.nets import conv_net


@pytest.fixture
def counted(monkeypatch):
    """How often each file of weights is opened for reading as one."""
    counts = Counter()

    def counting(read):
        def reading(path, most):
            counts[str(path)] += 1
            return read(path, most)

        return reading

    for module in (caffe_weights, onnx_files):
        monkeypatch.setattr(module, "read_bounded", counting(module.read_bounded))
    return counts


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["nuqconv", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


@pytest.fixture(params=["caffe", "onnx"])
def model(request, tmp_path):
    files = conv_net(tmp_path)
    if request.param == "caffe":
        return [files.model, files.weights]
    nuqconv.save(nuqconv.load(files.model, files.weights), tmp_path / "net.onnx")
    return [tmp_path / "net.onnx"]


@pytest.mark.parametrize("given", [False, True])
def test_auto(model, tmp_path, counted, monkeypatch, given):
    data = np.random.default_rng(1).normal(size=(6, 3, 12, 12)).astype(np.float32)
    np.savez(tmp_path / "data.npz", data=data)
    words = ["--config", tmp_path / "config.json"] if given else []
    if given:
        run(monkeypatch, "config", *model, "-o", tmp_path / "config.json")
        assert counted.pop(str(model[-1])) == 1
    demand = ["--metric", "output_error", "--max-error", 0.2, "--batch-size", 2, "--max-evaluations", 2]
    run(monkeypatch, "auto", *model, "--data", tmp_path / "data.npz", "--save", tmp_path / "out", *demand, *words)
    assert counted[str(model[-1])] == 1
    # What is counted are all models that are read: the trials are among them.
    assert sum(counted.values()) > 1
