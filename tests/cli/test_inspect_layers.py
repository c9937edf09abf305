"""Layers of files that stand alone, and numbers as a person writes them."""

from __future__ import annotations

import re

import nuqconv
from nuqconv.ir import dump
from tests.support.nets import write_net

from .conftest import LENET, MODEL


def rows(text):
    return [re.split(r"  +", line.strip()) for line in text.splitlines()]


def test_a_prototxt_alone_has_shapes(run):
    ended = run("inspect", "--layers", MODEL[0], columns=None)
    assert ended.code == 0
    assert ["conv2", "Convolution", "conv2 1x50x8x8", "50x20x5x5, 50"] in rows(ended.out)
    assert ["relu1", "ReLU", "ip1 1x500"] in rows(ended.out)


def test_a_prototxt_of_a_layer_that_nobody_knows(run, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text((LENET / "deploy.prototxt").read_text().replace('"Pooling"', '"Strange"'))
    ended = run("inspect", "--layers", path, columns=None)
    assert ended.code == 0
    assert "shapes are not known: " in ended.out
    assert "Strange" in ended.out


def test_an_onnx_model_has_shapes(run, tmp_path):
    nuqconv.convert(*MODEL, tmp_path / "m.onnx", dynamic_batch=True)
    ended = run("inspect", "--layers", tmp_path / "m.onnx", columns=None)
    assert ended.code == 0
    assert ["conv1", "Conv", "conv1 Nx20x24x24", "conv1/0 20x1x5x5, conv1/1 20"] in rows(ended.out)


def test_a_journal_is_shown_as_trials_are(run, subset, tmp_path):
    ended = run(
        *("auto", *MODEL, "--data", subset, "--max-drop", "0.05", "--save", tmp_path / "m", "--max-evaluations", 1)
    )
    assert ended.code == 0
    journal = tmp_path / "m_trials.sqlite"
    assert run("inspect", journal).out == run("trials", "show", journal).out
    for columns in (60, 80, 120):
        lines = run("trials", "show", journal, columns=columns).out.splitlines()
        assert max(map(len, lines[1:])) <= columns


def test_a_journal_that_is_not_there(run):
    for words in (("trials", "show"), ("inspect",)):
        ended = run(*words, "nowhere.sqlite")
        assert (ended.code, ended.out.strip() in ("", "nowhere.sqlite")) == (2, True)
        assert "there is no such journal" in ended.err


def test_numbers_have_the_digits_of_the_file(tmp_path):
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "power" type: "Power" bottom: "data" top: "power" power_param { scale: 0.45 shift: 0.1 } }
"""
    files = write_net(tmp_path, text, {})
    shown = dump(nuqconv.load(files.model, files.weights))
    assert "0.45" in shown
    assert "0.4499" not in shown
    assert "0.1000000" not in shown
