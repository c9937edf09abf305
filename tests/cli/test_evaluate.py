"""nuqconv evaluate, and the evaluator to start from."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import nuqconv
from tests.cli.conftest import LENET, MODEL


@pytest.fixture(scope="module")
def onnx(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "lenet.onnx"
    nuqconv.convert(tuple(MODEL), path)
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """LeNet with one unit of its last layer turned off: nothing is called a shirt any more."""
    folder = tmp_path_factory.mktemp("other")
    graph = nuqconv.load(*MODEL)
    weights = {name: np.array(array) for name, array in graph.params.items()}
    bias = next(name for name in graph.node["ip2"].params if weights[name].ndim == 1)
    weights[bias][6] = -100
    nuqconv.save(graph.with_nodes(graph.nodes, weights), folder / "other.prototxt", folder / "other.caffemodel")
    return [str(folder / "other.prototxt"), str(folder / "other.caffemodel")]


def test_models_side_by_side(run, subset, onnx, other, tmp_path):
    report = tmp_path / "report.json"
    ended = run(
        "evaluate",
        *MODEL,
        *other,
        onnx,
        "--data",
        subset,
        "--runtime",
        "onnxruntime,opencv",
        "--json",
        report,
        columns=120,
    )
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith("data  200 x 1x28x28 from ")
    assert [line.split("  ", 1) for line in lines[1:4]] == [["1", MODEL[0]], ["2", other[0]], ["3", str(onnx)]]
    assert lines[5].split() == ["runtime", "top1", "95", "%", "change", "95", "%", "differ", "ms"]
    rows = [line.split() for line in lines[6:11]]
    assert [row[:2] for row in rows] == [
        [n, r] for n, r in zip("11223", ["onnxruntime", "opencv"] * 2 + ["onnxruntime"], strict=True)
    ]
    content = json.loads(report.read_text())
    for row, side in zip(rows, content["sides"], strict=True):
        assert float(row[2]) == pytest.approx(side["value"], abs=1e-4)
    first, changed = content["sides"][0], content["sides"][2]
    assert changed["value"] < first["value"] - 0.02
    assert changed["difference"]["low"] < changed["difference"]["estimate"] < -0.02
    with np.load(subset) as arrays:
        labels = arrays["label"]
    # Of the samples that differ none is called a shirt any more.
    assert {int(name.split("[")[1][:-1]) for name in changed["differing"]} <= set(range(200))
    assert len(changed["differing"]) >= round(200 * (first["value"] - changed["value"])) > 0
    assert (labels[[int(name.split("[")[1][:-1]) for name in changed["differing"]]] == 6).any()
    assert "2 in onnxruntime differs from the first on " in ended.out
    assert f" and {len(changed['differing']) - 5} more" in ended.out
    assert f"note: {onnx} is not run in OpenCV, which does not take it" in ended.out


def test_exit_code_of_a_demand(run, subset, other):
    arguments = ("evaluate", *MODEL, *other, "--data", subset)
    assert run(*arguments, "--max-drop", "50%").code == 0
    ended = run(*arguments, "--max-drop", 0.01)
    assert ended.code == 1
    assert f"worse than demanded: {other[0]} in onnxruntime" in ended.out
    assert run(*arguments, "--metric", "output_error", "--max-error", 0.001).code == 1


@pytest.mark.parametrize("columns", [60, 80, 120, None])
def test_no_column_is_broken(run, subset, other, columns):
    for metric in ("top1", "output_error"):
        ended = run("evaluate", *MODEL, *other, "--data", subset, "--metric", metric, "--samples", 50, columns=columns)
        assert ended.code == 0
        (heading,) = [line for line in ended.out.splitlines() if line.startswith("   runtime ")]
        assert metric in heading
        assert "differ" in heading
        assert len([line for line in ended.out.splitlines() if line[3:].startswith("onnxruntime ")]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--metric", "best"], "metric 'best' is not known; these are: top1"),
        (["--max-error", "1"], "metric 'top1' goes with max_drop, found max_error"),
        (["--runtime", "onnxruntime,onnxruntime"], "--runtime names one twice"),
        (["--runtime", "torch"], "runtime 'torch' is not known"),
        (["--metric", "voc_map"], "takes the boxes of a DetectionOutput layer"),
        (["--json", MODEL[0]], "deploy.prototxt"),
    ],
)
def test_wrong_usage(run, subset, arguments, words):
    ended = run("evaluate", *MODEL, "--data", subset, *arguments)
    assert ended.code == 2
    assert words in " ".join(ended.err.split())


def test_the_template_is_an_evaluator_for_the_lenet_of_the_examples(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = run("evaluator-template", "-o", "my_first_eval.py")
    assert (ended.code, ended.err) == (0, "")
    assert "--evaluator my_first_eval.py:Evaluator" in ended.out
    shutil.copy(LENET / "test_set.npz", "test_set.npz")
    ended = run(
        "auto", *MODEL, "--evaluator", "my_first_eval.py:Evaluator", "--evaluator-arg", "data=test_set.npz",
        "--evaluator-arg", "samples=200", "--evaluator-arg", "max_drop=0.03", "--save", "out/lenet", "--max-evaluations", 4,
        "--report", "report.json",
    )  # fmt: skip
    assert (ended.code, ended.err) == (0, "")
    content = json.loads((tmp_path / "report.json").read_text())
    with np.load("test_set.npz") as arrays:
        images = arrays["data"][:200].astype(np.float32) * arrays["scale"]
        labels = arrays["label"][:200]
    for files, metric in (
        (MODEL, content["original_metric"]),
        (
            [tmp_path / "out" / f"lenet_fake_quant_{end}" for end in ("model.prototxt", "weights.caffemodel")],
            content["metric"],
        ),
    ):
        (side,) = nuqconv.evaluate(tuple(files), data={"data": images}, labels=labels).sides
        assert side.value == pytest.approx(metric)
    assert content["metric"] >= content["original_metric"] - 0.03
    assert (tmp_path / "out" / "lenet_deploy_model.prototxt").is_file()


def test_a_file_that_is_there_is_not_written_over(run, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("mine")
    ended = run("evaluator-template", "-o", path)
    assert (ended.code, path.read_text()) == (2, "mine")
    assert "is there already" in ended.err
    assert run("evaluator-template", "-o", tmp_path / "my-eval.py").code == 2
