"""Comparisons: agreeing models, models broken on purpose, and each runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import nuqconv
from nuqconv import CompareOptions
from nuqconv.backends.onnx import to_onnx
from nuqconv.comparison import Tolerance, compare_blob
from nuqconv.comparison.causes import Evidence, likely_causes
from nuqconv.comparison.matching import detections
from nuqconv.errors import ConfigError, ModelError, RuntimeMissingError
from nuqconv.ir import Node
from nuqconv.ir.ops import BatchNorm, Pooling, Quantize, ReLU, Softmax
from nuqconv.runtimes.caffe import CaffeProcess
from nuqconv.runtimes.caffe2onnx import VARIABLE
from tests.support.fake_caffe2onnx import install
from tests.support.nets import Files, conv_net, write_net

ORT = ("onnxruntime", "onnxruntime")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    return conv_net(tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="module")
def model(files):
    return (files.model, files.weights)


@pytest.fixture(scope="module")
def good(files, tmp_path_factory):
    target = tmp_path_factory.mktemp("onnx") / "good.onnx"
    nuqconv.convert(files.model, files.weights, target)
    return target


def broken(path: Path, target: Path, tensor: str, index: int, amount: float) -> Path:
    """Writes an ONNX model in which one number of one tensor is another."""
    proto = onnx.load(path)
    (found,) = (item for item in proto.graph.initializer if item.name == tensor)
    array = numpy_helper.to_array(found).copy()
    array.reshape(-1)[index] += amount
    found.CopyFrom(numpy_helper.from_array(array, tensor))
    onnx.save(proto, target)
    return target


def edited(files: Files, folder: Path, *changes: tuple[str, str]) -> tuple[Path, Path]:
    """The same model with another text."""
    text = files.model.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path = folder / "edited.prototxt"
    path.write_text(text)
    return (path, files.weights)


def test_the_signature_of_the_design(model, good):
    x = np.random.default_rng(1).standard_normal((2, 3, 12, 12))
    report = nuqconv.compare(model, good, inputs={"data": x}, runtimes=ORT)
    assert report.agrees
    assert report.first is None
    assert report.inputs == {"data": (2, 3, 12, 12)}
    assert report.source == "given"
    assert [item.name for item in report.blobs][-1] == "prob"
    assert report.blob["prob"].top1 == 1.0
    assert report.blob["conv2"].cosine == pytest.approx(1)
    # Both sides are this package's ONNX, so earlier states of in-place blobs are there too, in the order of execution.
    assert [item.layer for item in report.blobs] == [
        *("conv1", "bn1", "scale1", "relu1", "conv2", "sum", "relu2", "pool", "fc", "prob")
    ]


@pytest.fixture(scope="module")
def process(caffe_python):
    with CaffeProcess(caffe_python) as living:
        yield living


def test_real_caffe_against_onnxruntime(model, caffe_python):
    report = nuqconv.compare(model)
    assert report.agrees
    assert report.sides[0].startswith("real Caffe")
    assert report.sides[1].startswith("onnxruntime")
    assert [item.name for item in report.blobs] == ["conv1", "conv2", "sum", "pool", "fc", "prob"]
    assert all(item.max_abs > 0 or item.name == "prob" for item in report.blobs)


def test_a_changed_weight_is_found(model, good, tmp_path):
    bad = broken(good, tmp_path / "bad.onnx", "conv2/0", 100, 0.5)
    report = nuqconv.compare(model, bad, runtimes=ORT)
    assert not report.agrees
    first = report.first
    assert (first.layer, first.layer_type, first.blob) == ("conv2", "Convolution", "conv2")
    assert f"{model[0]}:" in first.place
    assert "kernel=3x3" in first.parameters
    assert "weights differ: 1 of 576 numbers of blob 0" in first.causes[0]
    assert report.blob["conv1"].agrees
    assert not report.blob["prob"].agrees
    difference = abs(first.values[0] - first.values[1])
    assert difference == pytest.approx(report.blob["conv2"].max_abs)


@pytest.mark.parametrize(
    ("tensor", "layer"), [("scale1/1", "scale1"), ("bn1/mean", "bn1"), ("conv1/0", "conv1"), ("fc/1", "fc")]
)
def test_in_place_layers_are_told_apart_in_real_caffe(model, good, tmp_path, process, tensor, layer):
    bad = broken(good, tmp_path / "bad.onnx", tensor, 0, 0.5)
    report = nuqconv.compare(model, bad, process=process)
    assert report.sides[0].startswith("real Caffe")
    assert report.first.layer == layer
    assert report.first.layer in report.first.place
    assert next(item.layer for item in report.blobs if not item.agrees) == layer


def test_fold_hides_blobs_but_not_results(files, model, tmp_path):
    target = tmp_path / "folded.onnx"
    nuqconv.convert(files.model, files.weights, target, fold=True)
    report = nuqconv.compare(model, target, runtimes=ORT)
    assert report.agrees
    broken(target, tmp_path / "bad.onnx", "conv1/0", 0, 0.5)
    report = nuqconv.compare(model, tmp_path / "bad.onnx", runtimes=ORT)
    # What is folded has one value only, that of the last layer folded; the layers before it stay under suspicion.
    assert report.first.blob == "conv1@scale1"
    assert report.first.suspects == ("conv1", "bn1")


CHANGES = {
    "softmax axis": (('top: "prob" }', 'top: "prob" softmax_param { axis: 0 } }'), "prob", "other parameters"),
    "negative slope": (("negative_slope: 0.1", "negative_slope: 0.2"), "relu2", "other parameters"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_parameters_are_found(files, model, tmp_path, name):
    change, layer, cause = CHANGES[name]
    report = nuqconv.compare(model, edited(files, tmp_path, change), runtimes=ORT)
    assert report.first.layer == layer
    assert cause in report.first.causes[0]
    assert name in " ".join(report.first.causes)


def test_rounding_of_pooling(tmp_path):
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 6 dim: 6 } } }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { kernel_size: 3 stride: 2 %s } }
"""
    models = [write_net(tmp_path, text % mode, {}, stem=f"n{n}") for n, mode in enumerate(("", "round_mode: FLOOR"))]
    report = nuqconv.compare(*((files.model, files.weights) for files in models), runtimes=ORT)
    assert report.blob["pool"].shapes == ((1, 2, 3, 3), (1, 2, 2, 2))
    assert (report.first.layer, report.first.index) == ("pool", None)
    assert "round_up=False" in report.first.causes[0]
    assert "pooling rounding" in report.first.causes[1]


def sided(node_layer: str, a, b, model, **more) -> str:
    graph = nuqconv.load(*model)
    node = graph.node[node_layer]
    kind = node.op.kind
    return likely_causes(Evidence(node, kind, np.asarray(a), np.asarray(b), **more))[0]


def test_batch_norm_causes(model):
    graph = nuqconv.load(*model)
    mean, variance, factor = (graph.params[f"bn1/{number}"].astype(np.float64) for number in range(3))
    x = np.random.default_rng(0).standard_normal((2, 8, 5, 5))

    def norm(scale: float, eps: float = 1e-5):
        shape = (1, 8, 1, 1)
        return (x - (mean * scale).reshape(shape)) / np.sqrt((variance * scale + eps).reshape(shape))

    right = norm(1 / factor[0])
    evidence = {"inputs_a": [x], "inputs_b": [x], "params_a": [mean, variance, factor]}
    text = sided("bn1", right, norm(1.0), model, **evidence)
    assert text == "BatchNorm: on the second side the scale factor (blob 2) is ignored"
    assert "multiplied" in sided("bn1", right, norm(factor[0]), model, **evidence)
    other = sided("bn1", right, right + np.random.default_rng(1).standard_normal(right.shape), model, **evidence)
    assert "not known" in other
    assert "the first side the scale factor" in sided("bn1", norm(1.0), right, model, **evidence)


def test_causes_of_shapes_borders_and_factors(model):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 8, 6, 6))
    assert "pooling rounding" in sided("pool", x, x[:, :, :5, :5], model)
    assert "the shapes differ: 2x8x6x6 against 2x8x5x5" in sided("conv2", x, x[:, :, :5, :5], model)
    border = x.copy()
    border[:, :, 0] *= 0.5
    assert "padding" in sided("pool", x, border, model)
    assert "padding" in sided("conv2", x, border, model)
    assert "constant factor: the first side is 2 times" in sided("sum", 2 * x, x, model)
    assert "constant offset of 3" in sided("sum", x + 3, x, model)
    factors = np.arange(1, 9).reshape(1, 8, 1, 1)
    assert "factor for each channel" in sided("conv1", x * factors, x, model)
    assert "offset for each channel" in sided("conv1", x + factors, x, model)
    assert "another order" in sided("conv1", x, x[:, ::-1], model)
    assert "not known" in sided("conv1", x, rng.standard_normal(x.shape), model)
    assert "rounding: sums" in sided("conv1", x, x + 1e-5 * rng.standard_normal(x.shape), model)
    assert "NaN on one side" in sided("conv1", x, np.full_like(x, np.nan), model)


def test_causes_on_values(model):
    x = np.random.default_rng(0).standard_normal((3, 5))
    along = [np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True) for axis in (1, 0)]
    text = sided("prob", *along, model)
    assert text == "softmax axis: the first side normalises along axis 1, the second side along axis 0"
    slopes = [np.where(x > 0, x, x * slope) for slope in (0.1, 0.0)]
    assert sided("relu2", *slopes, model, inputs_a=[x], inputs_b=[x]) == "negative slope: 0.1 against 0"
    states = {"conv1": x}
    text = sided("relu1", np.maximum(x, 0), x, model, states=states)
    assert text == "in-place layers: the second side holds the blob as layer 'conv1' leaves it"


def test_quantization_steps(tmp_path):
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "round" type: "Power" bottom: "data" top: "round" power_param { scale: 2 shift: 12582912 } }
"""
    files = write_net(tmp_path, text, {})
    graph = nuqconv.load(files.model, files.weights)
    a, b = np.array([[1.0, 2, 3, 4]]), np.array([[1.0, 3, 3, 4]])
    found = likely_causes(Evidence(graph.node["round"], "Power", a, b))
    assert "step boundary: 1 of 4 inputs" in found[0]
    found = likely_causes(Evidence(graph.node["round"], "Power", a, b + 5))
    assert "step size or the offset" in found[0]


def test_memory_that_caffe_shares(tmp_path, process):
    """Flatten's top is its bottom's memory: the ReLU in place behind it changes both."""
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "flat" type: "Flatten" bottom: "conv" top: "flat" }
layer { name: "relu" type: "ReLU" bottom: "flat" top: "flat" }
"""
    rng = np.random.default_rng(0)
    files = write_net(tmp_path, text, {"conv": [rng.standard_normal((4, 3, 3, 3)), rng.standard_normal(4)]})
    report = nuqconv.compare((files.model, files.weights), process=process)
    assert report.agrees
    assert any("'conv' is overwritten in memory that is shared" in note for note in report.notes)


def test_layers_without_a_form_in_onnx(tmp_path):
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 4 } }
layer { name: "odd" type: "NobodyKnowsThis" bottom: "fc" top: "odd" }
layer { name: "relu" type: "ReLU" bottom: "odd" top: "relu" }
"""
    rng = np.random.default_rng(0)
    files = write_net(tmp_path, text, {"fc": [rng.standard_normal((4, 3)), rng.standard_normal(4)]})
    graph = nuqconv.load(files.model, files.weights)
    report = nuqconv.compare((files.model, files.weights), graph, runtimes=("onnxruntime", "auto"))
    assert [item.name for item in report.blobs] == ["fc"]
    assert not report.agrees
    assert list(report.not_compared) == ["relu"]
    assert any("NobodyKnowsThis" in note for note in report.notes)
    assert nuqconv.compare(graph, graph, options=CompareOptions(blobs=["fc"])).agrees


def test_opencv(model):
    pytest.importorskip("cv2")
    report = nuqconv.compare(model, runtimes=("opencv", "onnxruntime"))
    assert report.agrees
    assert report.sides[0].startswith("OpenCV")
    # OpenCV gives the result of every layer, so all states of an in-place blob are compared where they have to be.
    assert {"conv1", "conv2", "sum", "pool", "fc", "prob"} <= set(report.blob)


@pytest.fixture
def fake_converter(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch)


def test_caffe2onnx_is_called_and_its_names_are_understood(fake_converter, tmp_path):
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "blob" inner_product_param { num_output: 4 } }
layer { name: "relu" type: "ReLU" bottom: "blob" top: "blob" }
"""
    rng = np.random.default_rng(0)
    weights = {"fc": [rng.standard_normal((4, 3)), rng.standard_normal(4)]}
    files = write_net(tmp_path, text, weights)
    # The stand-in writes Gemm and Relu, which have not changed since opset 11.
    report = nuqconv.compare((files.model, files.weights), runtimes=("onnxruntime", "caffe2onnx"))
    assert report.agrees
    assert [(item.name, item.layer) for item in report.blobs] == [("blob@fc", "fc"), ("blob", "relu")]
    files = write_net(tmp_path, text, weights, stem="fail")
    with pytest.raises(ModelError, match="it does not know this layer"):
        nuqconv.compare((files.model, files.weights), runtimes=("onnxruntime", "caffe2onnx"))


@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"{VARIABLE} names no Python with caffe2onnx")
def test_the_real_caffe2onnx(model):
    assert subprocess.run([os.environ[VARIABLE], "-c", "import caffe2onnx"], check=False).returncode == 0
    report = nuqconv.compare(model, runtimes=("onnxruntime", "caffe2onnx"))
    assert {"pool", "fc", "prob"} <= set(report.blob)


def test_without_caffe2onnx(model, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(RuntimeMissingError, match="pip install --no-deps caffe2onnx"):
        nuqconv.compare(model, runtimes=("onnxruntime", "caffe2onnx"))


def test_without_caffe(model, good, monkeypatch):
    monkeypatch.setattr(sys.modules["nuqconv.runtimes.caffe.runtime"], "find_caffe", lambda: None)
    with pytest.raises(RuntimeMissingError, match="is not installed, so there is nothing to compare"):
        nuqconv.compare(model)
    report = nuqconv.compare(model, good)
    assert report.agrees
    assert "real Caffe is not installed" in report.notes[0]


def test_report_as_json(model, good, tmp_path):
    bad = broken(good, tmp_path / "bad.onnx", "fc/0", 3, np.nan)
    report = nuqconv.compare(model, bad, runtimes=ORT)
    content = json.loads(report.to_json())
    assert content["agrees"] is False
    assert content["verdict"] == "differ"
    (column,) = content["columns"]
    assert [root["layer"] for root in column["roots"]] == ["fc"]
    assert column["blobs"][-1]["name"] == "prob"
    assert column["blobs"][-1]["max_abs"] is None
    assert column["blobs"][-1]["role"] == "inherited"
    assert column["blobs"][0]["shapes"] == [[2, 8, 12, 12]] * 2
    with pytest.raises(AttributeError):
        report.source = ""


def test_other_input_names_and_shapes(model, good, tmp_path):
    proto = onnx.load(good)
    proto.graph.input[0].name = "image"
    for node in proto.graph.node:
        node.input[:] = ["image" if name == "data" else name for name in node.input]
    report = nuqconv.compare(model, proto, runtimes=ORT)
    assert report.agrees
    assert "'data' is 'image'" in report.notes[-1]
    graph = nuqconv.load(*model)
    again = to_onnx(graph, dynamic_batch=True)
    report = nuqconv.compare(model, again, runtimes=ORT, options=CompareOptions(input_shapes={"data": (3, 3, 12, 12)}))
    assert report.agrees
    assert report.blob["prob"].shapes == ((3, 5), (3, 5))


def test_refusals(model, good, tmp_path):
    x = np.zeros((2, 3, 12, 12), np.float32)
    with pytest.raises(ConfigError, match="'tensorrt' is not known"):
        nuqconv.compare(model, good, runtimes=("tensorrt", "auto"))
    with pytest.raises(ConfigError, match="compared with itself"):
        nuqconv.compare(model, runtimes=ORT)
    with pytest.raises(ConfigError, match="single model"):
        nuqconv.compare(good)
    with pytest.raises(ConfigError, match="needs a Caffe model"):
        nuqconv.compare(model, good, runtimes=("onnxruntime", "opencv"))
    with pytest.raises(ConfigError, match=r"expected an \.onnx file"):
        nuqconv.compare(model, tmp_path / "x.tflite", runtimes=ORT)
    with pytest.raises(ConfigError, match="given inputs have their own"):
        nuqconv.compare(
            model, good, runtimes=ORT, inputs={"data": x}, options=CompareOptions(input_shapes={"data": (1, 3, 12, 12)})
        )
    with pytest.raises(ConfigError, match="'date' is no input"):
        nuqconv.compare(model, good, runtimes=ORT, options=CompareOptions(input_shapes={"date": (1,)}))
    with pytest.raises(ConfigError, match="must not be negative"):
        Tolerance(rtol=-1)
    with pytest.raises(ConfigError, match="found 3 parts"):
        nuqconv.compare((*model, "x"), good)
    with pytest.raises(ModelError, match="'data' is missing"):
        nuqconv.compare(model, good, runtimes=ORT, inputs={"a": x, "b": x})
    with pytest.raises(ModelError, match="no blob in common"):
        nuqconv.compare(model, good, runtimes=ORT, options=CompareOptions(blobs=["nothing"]))


def test_rows_that_fill_up_are_no_detections():
    row = [0, 3, 0.9, 0.1, 0.1, 0.5, 0.5]
    ours = np.array([[[row, [0, -1, -1, -1, -1, -1, -1]]]])
    theirs = np.array([[[row, [0] * 7, [0] * 7]]])
    np.testing.assert_array_equal(detections(ours), [[[row]]])
    np.testing.assert_array_equal(detections(theirs), [[[row]]])


def test_empty_results_are_told(tmp_path):
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "which" type: "Input" top: "which" input_param { shape { dim: 2 dim: 1 } } }
layer { name: "kept" type: "Filter" bottom: "data" bottom: "which" top: "kept" }
layer { name: "relu" type: "ReLU" bottom: "kept" top: "relu" }
"""
    files = write_net(tmp_path, text, {})
    graph = nuqconv.load(files.model, files.weights)
    inputs = {"data": np.ones((2, 3), np.float32), "which": np.zeros((2, 1), np.float32)}
    report = nuqconv.compare(graph, graph, inputs=inputs)
    assert any("'kept' is empty on both sides" in note for note in report.notes)
    inputs["which"] += 1
    assert nuqconv.compare(graph, graph, inputs=inputs).notes == ()


def test_measures():
    tolerance = Tolerance(rtol=0.1, atol=0)
    a, b = np.array([[1.0, 2, 3]]), np.array([[1.05, 2, 4]])
    found = compare_blob("x", "layer", "Type", a, b, tolerance)
    assert (found.agrees, found.differing, found.max_abs, found.top1) == (False, 1, 1.0, 1.0)
    assert found.relative == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(b))
    assert found.cosine == pytest.approx(float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)))
    same = compare_blob("x", "", "", np.array([np.nan, np.inf]), np.array([np.nan, np.inf]), tolerance)
    assert same.agrees
    assert same.max_abs == 0
    assert not compare_blob("x", "", "", np.array([1.0]), np.array([np.nan]), tolerance).agrees
    assert not compare_blob("x", "", "", np.array([np.inf]), np.array([-np.inf]), tolerance).agrees
    assert not compare_blob("x", "", "", np.array([np.inf]), np.array([1e30]), tolerance).agrees
    assert not compare_blob("x", "", "", np.ones((2, 3)), np.ones((3, 2)), tolerance).agrees
    assert compare_blob("x", "", "", np.ones((2, 3, 1, 1)), np.ones((2, 3)), tolerance).agrees
    # The absolute part grows with the blob's largest number.
    scaled = Tolerance(rtol=0, atol=1e-3)
    assert compare_blob("x", "", "", np.array([1000.0, 0.5]), np.array([1000.0, 0]), scaled).agrees
    assert not compare_blob("x", "", "", np.array([1.0, 0.5]), np.array([1.0, 0]), scaled).agrees
    zero = compare_blob("x", "", "", np.zeros(3), np.zeros(3), tolerance)
    assert (zero.agrees, zero.relative, zero.cosine) == (True, 0.0, 1.0)


@pytest.mark.parametrize("special", [None, np.nan, np.inf, 0.0])
@pytest.mark.parametrize("op", [Pooling("AVE", (2, 2)), Softmax(), ReLU(), Quantize(0.5, 0), BatchNorm(), None])
def test_causes_of_odd_arrays(op, special):
    """No rule fails, whatever the shapes and numbers; there is always some text."""
    rng = np.random.default_rng(0)
    shapes = [(), (1,), (3,), (2, 3), (0, 3), (2, 3, 4, 4), (2, 3, 1, 1), (1, 1, 4)]
    node = None if op is None else Node("x", op, ("i",), ("o",))
    weights = [np.ones(3), np.ones(3), np.ones(1)]
    for one in shapes:
        for two in shapes:
            a, b = rng.standard_normal(one), rng.standard_normal(two)
            if not a.size and not b.size:
                continue
            b = b if special is None else np.full(two, special)
            for x in (None, a.copy()):
                more = {"inputs_a": [x], "inputs_b": [x], "params_a": weights, "params_b": weights}
                found = likely_causes(Evidence(node, "ArgMax", a, b, states={"before": b.copy()}, **more))
                assert all(found)
            compare_blob("x", "", "", a, b, Tolerance())
