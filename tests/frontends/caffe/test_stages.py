"""Layers that stages and levels select: read, written without their rules, and run as real Caffe runs them in that state."""

from __future__ import annotations

import json

import numpy as np
import pytest

import nuqconv
from nuqconv.cli import app
from nuqconv.errors import ModelError
from nuqconv.evaluators import BatchEvaluator
from nuqconv.formats import ReadOptions, open_model
from tests.support.nets import write_net

NET = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: [2, 3] } } include { stage: "deploy" } }
layer { name: "big" type: "Input" top: "data" input_param { shape { dim: [2, 5] } } include { stage: "large" } }
layer { name: "twice" type: "Power" bottom: "data" top: "data" power_param { scale: 2 } include { min_level: 1 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 }
  exclude { stage: "nothing" } }
layer { name: "neg" type: "Power" bottom: "ip" top: "out" power_param { scale: -1 } include { not_stage: "deploy" } }
layer { name: "soft" type: "Softmax" bottom: "ip" top: "out" include { stage: "deploy" max_level: 1 } }
"""
IP = [np.float32([[1, -2, 3], [0.5, 1, -1]]), np.float32([0.25, -0.5])]


@pytest.fixture
def files(tmp_path):
    return write_net(tmp_path, NET, {"ip": IP})


def value(x, level):
    made = (x * (2 if level else 1)) @ IP[0].T + IP[1]
    grown = np.exp(made - made.max(1, keepdims=True))
    return grown / grown.sum(1, keepdims=True)


@pytest.mark.parametrize("level", [0, 1])
def test_they_select_layers_and_what_is_written_needs_no_choice(files, tmp_path, level):
    graph = nuqconv.load(files.model, files.weights, stages=["deploy"], level=level)
    assert [node.name for node in graph.nodes] == [*["twice"][:level], "ip", "soft"]
    nuqconv.save(graph, tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    assert "include" not in (tmp_path / "a.prototxt").read_text()
    again = nuqconv.load(tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    assert [(node.name, node.op) for node in again.nodes] == [(node.name, node.op) for node in graph.nodes]


@pytest.mark.caffe
@pytest.mark.parametrize("level", [0, 1])
def test_real_caffe_runs_the_chosen_layers(files, caffe_python, level):
    x = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
    options = ReadOptions(stages=frozenset({"deploy"}), level=level)
    model = open_model(files.model, files.weights, options)
    report = nuqconv.compare(model, inputs={"data": x})
    assert report.agrees
    assert "out" in [blob.name for blob in report.blobs]
    for runtime in ("caffe", "onnxruntime"):
        evaluator = BatchEvaluator(
            {"data": x},
            metric=lambda outputs, labels: float(outputs["out"][0, 0]),
            satisfied=lambda original, new: True,
            batch_size=2,
            runtime=runtime,
            read_options=options,
        )
        with evaluator:
            found = evaluator.eval_model(str(files.model), str(files.weights), 1)
        np.testing.assert_allclose(found, value(x, level)[0, 0], rtol=1e-5)


def test_a_missing_bottom_names_the_layers_that_other_stages_have(files):
    with pytest.raises(ModelError) as caught:
        nuqconv.load(files.model, files.weights)
    (found,) = [problem for problem in caught.value.problems if "made by no earlier layer" in problem]
    for word in ("'in' (line 2; include { stage: \"deploy\" })", "'big' (line 3;", "--stage"):
        assert word in found
    assert "'twice'" not in found or "min_level" in found


@pytest.mark.parametrize(
    "command",
    [
        ["convert", "{model}", "{weights}", "{folder}/a.onnx"],
        ["inspect", "{model}", "{weights}"],
        ["config", "{model}", "{weights}", "-o", "{folder}/a.json"],
        [
            "compare",
            "{model}",
            "{weights}",
            "{folder}/made.onnx",
            "--runtime",
            "onnxruntime",
            "--runtime",
            "onnxruntime",
        ],
        ["evaluate", "{model}", "{weights}", "--data", "{folder}/x.npz"],
        ["data", "check", "{model}", "{weights}", "--data", "{folder}/x.npz"],
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize(
    "needs", [["--stage", "deploy", "--level", "1"], ["--allow-unknown-fields"]], ids=lambda n: n[0]
)
def test_every_command_takes_the_options(tmp_path, capsys, command, needs):
    chosen = needs[0] == "--stage"
    # A field that only training reads leaves the numbers as they are; an optional word in a net makes no other difference here.
    text = NET if chosen else _plain(NET)
    files = write_net(tmp_path, text, {"ip": IP})
    x = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
    np.savez(tmp_path / "x.npz", data=x, label=np.argmax(value(x, 1), 1))
    options = ReadOptions(stages=frozenset({"deploy"}), level=1) if chosen else ReadOptions(allow_unknown_fields=True)
    nuqconv.save(open_model(files.model, files.weights, options).read().graph, tmp_path / "made.onnx")
    words = [word.format(model=files.model, weights=files.weights, folder=tmp_path) for word in command]
    assert _code(words) == 2
    capsys.readouterr()
    assert _code([*words, *needs]) == 0, capsys.readouterr().err


def test_auto_takes_them(tmp_path, capsys):
    rng = np.random.default_rng(2)
    weights = [rng.normal(size=(200, 30)).astype(np.float32), np.zeros(200, np.float32)]
    text = NET.replace("dim: [2, 3]", "dim: [8, 30]").replace("num_output: 2", "num_output: 200")
    files = write_net(tmp_path, text, {"ip": weights})
    x = rng.normal(size=(16, 30)).astype(np.float32)
    np.savez(tmp_path / "x.npz", data=x, label=np.argmax(x @ weights[0].T, 1))
    words = [
        "auto",
        files.model,
        files.weights,
        "--data",
        tmp_path / "x.npz",
        "--max-drop",
        "100%",
        "--batch-size",
        "8",
    ]
    words += ["--save", tmp_path / "out" / "m", "--max-evaluations", "2", "--stage", "deploy", "--level", "1"]
    assert _code([str(word) for word in words]) == 0, capsys.readouterr().err
    made = nuqconv.load(tmp_path / "out/m_deploy_model.prototxt", tmp_path / "out/m_deploy_weights.caffemodel")
    assert [node.name for node in made.nodes if node.op.kind == "Softmax"] == ["soft"]
    assert json.loads((tmp_path / "out" / "m_quant.json").read_text())


def _plain(text):
    lines = [line for line in text.splitlines() if '"large"' not in line and 'name: "neg"' not in line]
    made = "\n".join(lines).replace('include { stage: "deploy" }', "").replace("include { min_level: 1 }", "")
    made = made.replace('include { stage: "deploy" max_level: 1 }', "").replace('exclude { stage: "nothing" }', "")
    return made.replace("num_output: 2", "num_output: 2 weight_filler { fanciness: 1 }")


def _code(words):
    try:
        app(words, standalone_mode=True)
    except SystemExit as ended:
        return ended.code or 0
    except nuqconv.errors.NuqconvError:
        return 2
    return 0
