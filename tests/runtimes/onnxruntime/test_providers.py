"""Execution providers: the CPU under its names, and others refused by name where they are not there."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

import nuqconv
from nuqconv.cli import main
from nuqconv.cli.search_options import Workers
from nuqconv.errors import ConfigError, UnsupportedError
from nuqconv.runtimes import runtime_named
from nuqconv.runtimes.onnxruntime.providers import CPU, check_used, provider_names, short_name
from nuqconv.runtimes.onnxruntime.runtime import OnnxRuntime
from tests.cli.conftest import LENET, MODEL

ABSENT = [
    short_name(name) for name in onnxruntime.get_all_providers() if name not in onnxruntime.get_available_providers()
]


@pytest.mark.parametrize("wanted", [(), ("cpu",), ("CPU",), (CPU,), ("cpuexecutionprovider",)])
def test_names_of_the_cpu(wanted):
    assert provider_names(wanted) == (CPU,)


@pytest.mark.parametrize("name", ["tensorrt", "openvino", "rknpu"])
def test_one_that_is_not_installed(name):
    assert name in ABSENT
    with pytest.raises(ConfigError, match=f"'{name}' is not in the onnxruntime that is installed") as caught:
        runtime_named("onnxruntime", providers=(name, "cpu"))
    assert "it has azure, cpu" in str(caught.value) or "it has cpu" in str(caught.value)


def test_one_that_nobody_knows():
    with pytest.raises(ConfigError, match=r"'gpu' is no provider of onnxruntime; it knows .*cuda"):
        OnnxRuntime(providers=("gpu",))
    with pytest.raises(ConfigError, match="'cpu' is named twice"):
        OnnxRuntime(providers=("cpu", "CPU"))


def test_a_silent_fall_back_is_refused():
    check_used(["CUDAExecutionProvider", CPU], ["CUDAExecutionProvider", CPU], "net")
    with pytest.raises(UnsupportedError, match="net: onnxruntime cannot use cuda here and would compute on cpu"):
        check_used(["CUDAExecutionProvider", CPU], [CPU], "net")


@pytest.mark.parametrize("isolate", [False, True])
def test_the_session_is_asked(monkeypatch, isolate):
    """Where the driver is missing, onnxruntime makes a session on the CPU."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    x = np.zeros((2, 1, 28, 28), np.float32)
    with (
        nuqconv.OnnxRuntimeEvaluator(
            {"data": x}, labels=np.zeros(2, int), max_drop=0, providers=["cuda", "cpu"], isolate=isolate
        ) as evaluator,
        pytest.raises(UnsupportedError, match="cannot use cuda here and would compute on cpu"),
    ):
        evaluator.eval_model(*MODEL, 1)


def test_an_evaluator_on_the_cpu_by_name():
    with np.load(LENET / "test_set.npz") as whole:
        x, labels = whole["data"][:50].astype(np.float32) * whole["scale"], whole["label"][:50]
    found = []
    for options in ({}, {"providers": "cpu"}, {"providers": ["cpu"], "isolate": True}):
        with nuqconv.OnnxRuntimeEvaluator({"data": x}, labels=labels, max_drop=0, **options) as evaluator:
            found.append(evaluator.eval_model(*MODEL, 2))
    assert len(set(found)) == 1
    plain, named = (
        nuqconv.OnnxRuntimeEvaluator({"data": x}, labels=labels, max_drop=0, providers=names).data_version
        for names in ([], ["cpu"])
    )
    # A journal does not go on with numbers of another device.
    assert plain != named


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--provider", "rknpu,cpu"), "'rknpu' is not in the onnxruntime that is installed"),
        (("--runtime", "opencv", "--provider", "cpu"), "--provider and --threads are for onnxruntime"),
        (("--runtime", "caffe", "--threads", "2"), "--provider and --threads are for onnxruntime"),
    ],
)
def test_on_the_command_line(monkeypatch, capsys, words, said):
    monkeypatch.setattr(
        "sys.argv", ["nuqconv", "auto", *MODEL, "--data", "x.npz", "--max-drop", "1%", "--save", "o", *words]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_workers_share_the_cores():
    place = runtime_named("onnxruntime")
    assert Workers(3).sharing(place, 8).threads == 2
    assert Workers(16).sharing(place, 8).threads == 1
    assert Workers(3).sharing(place.with_options(threads=5), 8).threads == 5
    assert Workers(1).sharing(place, 8) is place is Workers().sharing(place, 8)
    caffe = runtime_named("caffe")
    assert Workers(3).sharing(caffe, 8) is caffe
