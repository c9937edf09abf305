"""``nuqconv report``, ``nuqconv auto --report`` and ``nuqconv compare`` of a quantized model, as users call them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.cli.conftest import MODEL

DEMAND = ["--metric", "top1", "--max-drop", "0.02", "--max-evaluations", "4"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory, subset):
    """A search with a page of its own, once for all tests."""
    return tmp_path_factory.mktemp("search"), subset


@pytest.fixture
def out(searched, run):
    folder, subset = searched
    if not (folder / "a.html").exists():
        ended = run(
            "auto", *MODEL, "--data", subset, *DEMAND, "--save", folder / "net", "--onnx", "--report", folder / "a.html"
        )
        assert ended.code == 0, ended.err
    return folder


def test_the_page_of_a_search_and_of_its_journal(out, run):
    ended = run("report", out / "net", "-o", out / "b.html")
    assert ended.code == 0
    assert ended.out.startswith(f"{out / 'b.html'}: The demand is met: top1 at least 0.")
    assert (out / "b.html").read_bytes() == (out / "a.html").read_bytes()
    page = (out / "a.html").read_text(encoding="utf-8")
    assert "nuqconv auto" in page
    assert "data:image/jpeg" in page
    assert "http" not in page


def test_other_forms(out, run):
    assert run("report", out / "net_trials.sqlite", "-o", out / "b.md").code == 0
    assert (out / "b.md").read_text(encoding="utf-8").startswith("## LeNet: quantization")
    assert run("report", out / "net", "-o", out / "b.json").code == 0
    found = json.loads((out / "b.json").read_text(encoding="utf-8"))
    assert (found["metric_name"], found["runtime"], found["network"]) == ("top1", "onnxruntime", "LeNet")
    assert found["sizes"]["bytes"] == found["trials"][found["best_trial"] - 1]["bytes"]


def test_what_is_refused(out, run, subset, tmp_path):
    ended = run("report", out / "net", "-o", tmp_path / "page.pdf")
    assert (ended.code, "ends in one of .html, .md, .json" in ended.err.replace("\n", " ")) == (2, True)
    ended = run("report", out / "nothing", "-o", tmp_path / "page.html")
    assert (ended.code, "there is no journal" in ended.err.replace("\n", " ")) == (2, True)
    # An ending is looked at before the search, not after it.
    ended = run(
        "auto", *MODEL, "--data", subset, *DEMAND, "--save", tmp_path / "net", "--report", tmp_path / "page.txt"
    )
    assert (ended.code, list(tmp_path.iterdir())) == (2, [])
    journal = out / "net_trials.sqlite"
    before = journal.read_bytes()
    assert run("report", journal, "-o", journal.with_suffix(".html")).code == 0
    assert journal.read_bytes() == before


QUANTIZED = {
    "fake_quant": ("net_fake_quant_model.prototxt", "net_fake_quant_weights.caffemodel"),
    "deploy": ("net_deploy_model.prototxt", "net_deploy_weights.caffemodel"),
    "qdq": ("net_qdq_model.onnx",),
    "packed": ("net_nuq_model.onnx",),
}


@pytest.mark.parametrize("form", QUANTIZED)
def test_compare_says_where_quantization_hurts(out, run, subset, form, tmp_path):
    files = [out / name for name in QUANTIZED[form]]
    ended = run(
        "compare",
        *MODEL,
        *files,
        "--data",
        subset,
        "--json",
        tmp_path / "a.json",
        "--html",
        tmp_path / "a.html",
        columns=None,
    )
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert [layer["layer"] for layer in found["errors"]["layers"]] == ["conv1", "conv2", "ip1", "ip2"]
    assert found["errors"]["samples"] == 200
    worst = next(layer for layer in found["errors"]["layers"] if layer["rank"] == 1)
    first = next(line for line in ended.out.splitlines() if line.split()[:1] == ["1"])
    assert first.split()[1] == worst["layer"]
    assert "random" not in ended.out
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert f"<b>{worst['layer']}</b> has the largest error" in page
    assert "http" not in page


def test_the_order_of_the_models_does_not_matter(out, run, subset, tmp_path):
    files = [out / name for name in QUANTIZED["deploy"]]
    for name, models in (("a", [*MODEL, *files]), ("b", [*files, *MODEL])):
        assert run("compare", *models, "--data", subset, "--samples", "20", "--json", tmp_path / name).code == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_random_inputs_are_warned_of(out, run):
    ended = run("compare", *MODEL, *(out / name for name in QUANTIZED["deploy"]), columns=None)
    assert ended.code == 0
    assert "note: random inputs leave the ranges that were calibrated on data" in ended.out


def test_exit_codes(out, run, subset):
    files = [out / name for name in QUANTIZED["fake_quant"]]
    assert run("compare", *MODEL, *files, "--data", subset, "--max-error", "0.5").code == 0
    ended = run("compare", *MODEL, *files, "--data", subset, "--max-error", "1e-6")
    assert ended.code == 1
    assert "above 1e-06" in ended.out
    ended = run("compare", *MODEL, *files, "--exact", "--runtime", "onnxruntime", "--runtime", "onnxruntime")
    assert ended.code == 1
    assert "first difference" in ended.out
    assert run("compare", *MODEL, *MODEL, "--data", subset).code == 0
    ended = run("compare", *MODEL, *MODEL, "--samples", 3)
    assert ended.code == 2
    assert "--samples: is for a float model and the same model quantized" in " ".join(ended.err.split())


def test_inputs_of_one_file(out, run, tmp_path):
    np.savez(tmp_path / "x.npz", data=np.random.default_rng(1).uniform(0, 1, (5, 1, 28, 28)).astype(np.float32))
    files = [out / name for name in QUANTIZED["deploy"]]
    ended = run("compare", *MODEL, *files, "--data", tmp_path / "x.npz")
    assert ended.code == 0
    assert "5 samples" in ended.out


@pytest.mark.parametrize("columns", [120, 80, 60])
def test_it_fits_the_terminal(out, run, subset, columns):
    files = [out / name for name in QUANTIZED["deploy"]]
    ended = run("compare", *MODEL, *files, "--data", subset, "--samples", "8", columns=columns)
    table = [
        line for line in ended.out.splitlines() if line.split()[:1] and line.split()[0] in {"place", "1", "2", "3", "4"}
    ]
    assert len(table) == 5
    assert all(len(line.rstrip()) <= columns for line in table)
    assert "\N{FULL BLOCK}" in table[1]


def test_models_that_cannot_be_read_as_graphs_are_compared_as_ever(run, tmp_path):
    """An operator that nobody here reads, which onnxruntime runs."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])]
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "odd", inputs, outputs), opset_imports=sets, ir_version=8)
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(model.SerializeToString())
    ended = run("compare", tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert (ended.code, "all 1 common blobs agree" in ended.out) == (0, True), ended.err
