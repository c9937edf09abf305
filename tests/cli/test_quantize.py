"""``nuqconv quantize`` and ``nuqconv trials write``."""

from __future__ import annotations

import numpy as np
import pytest

import nuqconv
from tests.support.auto import batches
from tests.support.nets import conv_net


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    conv_net(tmp_path)
    np.savez("set.npz", data=np.concatenate([batch["data"] for batch in batches(4)]))
    return ["net.prototxt", "net.caffemodel"]


def test_a_choice(run, net, tmp_path):
    ended = run(
        "quantize", *net, "--data", "set.npz", "--layers", "conv1=16 conv2=float", "--save", "out/net", columns=100
    )
    assert (ended.code, ended.err) == (0, "")
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["conv1", "Convolution", "216", "16", "of", "16"] in [line[:6] for line in lines]
    assert ["conv2", "Convolution", "576", "float"] in [line[:4] for line in lines]
    assert "  out/net_deploy_model.prototxt" in ended.out.splitlines()
    result = nuqconv.quantize(("net.prototxt", "net.caffemodel"), {"conv1": 16, "conv2": "float"}, data="set.npz")
    files = result.save("again/net")
    for path in files.present().values():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_other_levels_say_what_is_missing(run, net, tmp_path):
    ended = run("quantize", *net, "--data", "set.npz", "--layers", "*=8", "--save", "out/net", columns=None)
    assert ended.code == 0
    assert "note: no deploy model is written: its readers know 16 and 32 levels only" in ended.out
    assert not (tmp_path / "out" / "net_deploy_model.prototxt").exists()


@pytest.mark.parametrize("command", ["quantize", "auto"])
def test_a_first_look_takes_the_nearest_integers_and_says_so(run, net, command, monkeypatch):
    def solve_layer(*arguments, **options):
        raise AssertionError("a first look solves no layer")

    monkeypatch.setattr("nuqconv.job.fitted_weights.solve_layer", solve_layer)
    more = ["--layers", "*=16"] if command == "quantize" else ["--metric", "output_error", "--max-error", "1"]
    ended = run(command, *net, "--data", "set.npz", "--quick", *more, "--save", "out/net", columns=None)
    assert (ended.code, "Error" in ended.err) == (0, False)
    assert "a first look: weights are on the nearest levels" in ended.out


@pytest.mark.parametrize(
    ("layers", "words"),
    [("conv1", "'conv1': expected LAYER=LEVELS"), ("conv1=16 conv1=32", "named twice"), ("conv1=1x", "found '1x'")],
)
def test_a_wrong_choice(run, net, layers, words):
    ended = run("quantize", *net, "--data", "set.npz", "--layers", layers, "--save", "out/net", columns=None)
    assert ended.code == 2
    assert words in ended.err


def test_another_trial(run, net, tmp_path):
    arguments = ("--data", "set.npz", "--metric", "output_error", "--max-error", "0.05", "--save", "out/net")
    assert run("auto", *net, *arguments).code == 0
    ended = run("trials", "write", "out/net_trials.sqlite", "1", "--save", "out/first")
    assert (ended.code, ended.err) == (0, "")
    assert "  out/first_deploy_model.prototxt" in ended.out.splitlines()
    assert (tmp_path / "out" / "first_deploy_weights.caffemodel").stat().st_size > 0
    assert run("trials", "write", "out/net_trials.sqlite", "77", "--save", "out/x").code == 2


@pytest.mark.parametrize("command", ["quantize", "auto"])
def test_weights_alone(run, net, tmp_path, command):
    more = ["--layers", "*=8"] if command == "quantize" else ["--metric", "output_error", "--max-error", "1"]
    ended = run(
        command, *net, "--data", "set.npz", "--weights-only", "--onnx", *more, "--save", "out/net", columns=None
    )
    assert (ended.code, "Error" in ended.err) == (0, False)
    assert "note: only weights are quantized, as asked" in ended.out
    written = {path.name for path in (tmp_path / "out").glob("net_*")} - {"net_trials.sqlite"}
    assert not [name for name in written if "deploy" in name or "scale_offset" in name]
    assert {"net_fake_quant_weights.caffemodel", "net_nuq_model.onnx", "net_qdq_model.onnx"} <= written
    compared = run("compare", *net, "out/net_nuq_model.onnx", "--data", "set.npz", columns=None)
    assert "conv2" in compared.out


def test_a_search_with_levels(run, net, tmp_path):
    arguments = ("--data", "set.npz", "--metric", "output_error", "--max-error", "5", "--save", "out/net")
    ended = run("auto", *net, *arguments, "--levels", "8,64", columns=None)
    assert (ended.code, "Error" in ended.err) == (0, False)
    assert "8 of 8" in ended.out
    assert "note: no deploy model is written: its readers know 16 and 32 levels only" in ended.out
    written = run("trials", "write", "out/net_trials.sqlite", "2", "--save", "out/second")
    assert (written.code, written.err) == (0, "")
    assert not list((tmp_path / "out").glob("*_deploy_model.prototxt"))
    wrong = run("auto", *net, *arguments, "--levels", "8,1", columns=None)
    assert wrong.code == 2
    assert "found 1" in wrong.err


def test_one_question(run, net):
    arguments = ("quantize", *net, "--data", "set.npz", "--layers", "*=4", "--metric", "output_error")
    met = run(*arguments, "--max-error", "5", "--save", "out/met", columns=None)
    assert met.code == 0
    assert met.out.splitlines()[-1] == "the demand is met: output_error at most 5"
    missed = run(*arguments, "--max-error", "0.0001", "--save", "out/missed", columns=None)
    assert missed.code == 1
    assert missed.out.splitlines()[-1] == "the demand is not met: output_error at most 0.0001"
    assert "  out/missed_fake_quant_model.prototxt" in missed.out.splitlines()
    asked = run(*arguments, "--save", "out/asked", columns=None)
    assert (asked.code, "demand" in asked.out) == (0, False)


OWN = """
class Evaluator:
    evaluate_batch_num = 1

    def __init__(self, accepts):
        self.accepts = accepts == "yes"

    def eval_model(self, model_file, weights_file, batch_num):
        return 1.0 if "dequant" in open(model_file).read() else 2.0

    def is_satisfied(self, original_metric, new_metric):
        return self.accepts or new_metric == original_metric

    def calibration_batches(self, batch_num):
        import numpy

        return [{"data": numpy.load("set.npz")["data"]}]
"""


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("no", 1)])
def test_an_evaluator_of_ones_own(run, net, tmp_path, answer, code):
    (tmp_path / f"answers_{answer}.py").write_text(OWN)
    own = ("--evaluator", f"answers_{answer}.py:Evaluator", "--evaluator-arg", f"accepts={answer}")
    ended = run("quantize", *net, "--layers", "*=16", *own, "--save", "out/net", columns=None)
    assert ended.code == code
    assert "Evaluator.eval_model: 1, of the original 2" in ended.out
    assert ended.out.splitlines()[-1].startswith("the demand is met" if answer == "yes" else "the demand is not met")
    with_limit = run("quantize", *net, *own, "--max-drop", "1%", "--metric", "top1", "--save", "out/net", columns=None)
    assert with_limit.code == 2
    assert "--metric, --max-drop go without --evaluator" in with_limit.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "give --data to calibrate on, or an --evaluator of your own"),
        (["--data", "set.npz", "--evaluator-arg", "a=1"], "--evaluator-arg goes with an --evaluator of your own"),
        (["--data", "set.npz", "--metric", "output_error", "--max-drop", "1%"], "needs --max-error"),
        (["--data", "set.npz", "--max-error", "1"], "--metric top1 needs --max-drop"),
    ],
)
def test_questions_that_are_none(run, net, options, words):
    ended = run("quantize", *net, *options, "--save", "out/net", columns=None)
    assert ended.code == 2
    assert words in ended.err
