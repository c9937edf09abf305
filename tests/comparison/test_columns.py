"""Several runtimes at once, results in files, blobs in groups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import nuqconv
from nuqconv import CompareOptions
from nuqconv.comparison.kept import KeptSide
from nuqconv.comparison.matching import match_detections
from nuqconv.comparison.report import Verdict
from nuqconv.comparison.taken import groups
from nuqconv.errors import ConfigError, FormatError
from nuqconv.quantize.apply import Quantizer
from nuqconv.runtimes.onnxruntime import runtime as onnxruntime_runtime
from tests.comparison.test_layer_errors import chain
from tests.support.nets import conv_net, write_net
from tests.support.plans import strongest_plan

ORT = ("onnxruntime", "onnxruntime")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return conv_net(tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="module")
def model(files):
    return files.model, files.weights


@pytest.mark.caffe
def test_three_runtimes_at_once(model, caffe_process):
    pytest.importorskip("cv2")
    report = nuqconv.compare(model, runtimes=("caffe", "opencv", "onnxruntime"), process=caffe_process)
    assert [column.runtime for column in report.columns] == ["opencv", "onnxruntime"]
    assert report.verdict is Verdict.AGREE
    assert [column.verdict for column in report.columns] == [Verdict.AGREE] * 2
    assert [side.split(":")[0].split()[0] for side in report.sides] == ["real", "OpenCV", "onnxruntime"]
    assert all(
        [row.name for row in column.blobs] == ["conv1", "conv2", "sum", "pool", "fc", "prob"]
        for column in report.columns
    )
    pairs = nuqconv.compare(model, runtimes=("caffe", "opencv"), process=caffe_process)
    assert pairs.columns[0] == report.columns[0]
    content = json.loads(report.to_json())
    assert [column["verdict"] for column in content["columns"]] == ["agree", "agree"]


def test_one_of_several_that_cannot_run_is_said(tmp_path):
    pytest.importorskip("cv2")
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "bias" type: "Bias" bottom: "data" top: "bias" }
layer { name: "relu" type: "ReLU" bottom: "bias" top: "relu" }
"""
    files = write_net(tmp_path, text, {"bias": [np.ones(3)]})
    model = (files.model, files.weights)
    report = nuqconv.compare(
        model, (tmp_path / "net.prototxt", files.weights), runtimes=("onnxruntime", "opencv", "onnxruntime")
    )
    failed, ran = report.columns
    assert (failed.verdict, ran.verdict) == (Verdict.FAILED, Verdict.NOT_PROVEN)
    assert "Bias" in failed.failure
    assert report.verdict is Verdict.FAILED
    assert not report.agrees
    # Of two sides the error is raised.
    with pytest.raises(nuqconv.errors.NuqconvError, match="Bias"):
        nuqconv.compare(model, runtimes=("onnxruntime", "opencv"))
    with pytest.raises(ConfigError, match="compared with itself"):
        nuqconv.compare(model, runtimes=("onnxruntime", "opencv", "opencv"))


def test_our_own_conversion_on_both_sides_proves_nothing(model, tmp_path, monkeypatch):
    nuqconv.convert(*model, tmp_path / "ours.onnx")
    report = nuqconv.compare(model, tmp_path / "ours.onnx", runtimes=ORT)
    assert report.agrees
    assert report.verdict is Verdict.NOT_PROVEN
    assert "this package's own conversion in onnxruntime" in report.columns[0].doubt
    proto = onnx.load(tmp_path / "ours.onnx")
    proto.producer_name = "somebody else"
    assert nuqconv.compare(model, proto, runtimes=ORT).verdict is Verdict.AGREE


def test_the_library_hints_at_a_quantized_model():
    graph = chain(np.random.default_rng(0), layers=2)
    data = {"data": np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)}
    quantizer = Quantizer(graph)
    quantized = quantizer.apply(strongest_plan(quantizer, data))
    report = nuqconv.compare(graph, quantized, inputs=data)
    assert any("nuqconv.compare_quantized" in note for note in report.notes)
    other = replace(graph, params={**graph.params, "conv0/1": graph.params["conv0/1"] + np.float32(1)})
    assert not any("quantized" in note for note in nuqconv.compare(graph, other).notes)


@pytest.mark.caffe
def test_a_machine_without_caffe_repeats_the_report(files, model, tmp_path, caffe_process, monkeypatch):
    """Results of Caffe are kept; against them the report is to the letter what it was, also of a model that differs in an in-place layer."""
    nuqconv.convert(*model, tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    for item in proto.graph.initializer:
        if item.name in ("scale1/1", "fc/0"):
            array = onnx.numpy_helper.to_array(item).copy()
            array.reshape(-1)[0] += 1
            item.CopyFrom(onnx.numpy_helper.from_array(array, item.name))
    onnx.save(proto, tmp_path / "bad.onnx")
    kept = CompareOptions(save=tmp_path / "r.npz", seed=3)
    with_caffe = nuqconv.compare(model, runtimes=("caffe", "onnxruntime"), options=kept, process=caffe_process)
    bad_with_caffe = nuqconv.compare(
        model,
        tmp_path / "bad.onnx",
        runtimes=("caffe", "onnxruntime"),
        options=replace(kept, save=tmp_path / "b.npz"),
        process=caffe_process,
    )
    # The same results are the same bytes.
    assert (tmp_path / "r.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    monkeypatch.setattr(sys.modules["nuqconv.runtimes.caffe.runtime"], "find_caffe", lambda: None)
    without = CompareOptions(against=tmp_path / "r.npz")
    assert nuqconv.compare(model, options=without).to_json() == with_caffe.to_json()
    report = nuqconv.compare(tmp_path / "bad.onnx", options=without)
    assert "the results that were saved are not of this model's files" in report.notes
    assert (
        [root.blob for root in report.roots] == [root.blob for root in bad_with_caffe.roots] == ["conv1@scale1", "fc"]
    )
    rows = {row.name: row for row in report.blobs}
    assert all(rows[row.name].max_abs == row.max_abs for row in bad_with_caffe.blobs)
    with np.load(tmp_path / "r.npz") as arrays:
        assert {"about", "input/data", "blob/conv1", "blob/conv1@bn1", "blob/prob"} <= set(arrays)
    with pytest.raises(ConfigError, match="bring their own inputs"):
        nuqconv.compare(model, inputs={"data": np.zeros((2, 3, 12, 12))}, options=without)


def test_what_is_no_file_of_results(model, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(FormatError, match="holds no results"):
        nuqconv.compare(model, options=CompareOptions(against=tmp_path / "a.npz"))
    np.savez(tmp_path / "b.npz", about=np.frombuffer(b"{}", np.uint8))
    with pytest.raises(FormatError, match="label: missing"):
        nuqconv.compare(model, options=CompareOptions(against=tmp_path / "b.npz"))
    np.savez(tmp_path / "c.npz", about=np.frombuffer(b"no", np.uint8))
    with pytest.raises(FormatError, match="no JSON"):
        nuqconv.compare(model, options=CompareOptions(against=tmp_path / "c.npz"))
    np.savez(tmp_path / "f.npz", about=np.array([1.5]))
    with pytest.raises(FormatError, match="holds no results"):
        nuqconv.compare(model, options=CompareOptions(against=tmp_path / "f.npz"))
    np.savez(tmp_path / "g.npz", about=np.frombuffer(b"{}", np.uint8), **{"blob/x": np.array(["a"])})
    with pytest.raises(FormatError, match="no numbers: 'blob/x'"):
        nuqconv.compare(model, options=CompareOptions(against=tmp_path / "g.npz"))
    nuqconv.compare(model, model, runtimes=ORT, options=CompareOptions(save=tmp_path / "d.npz"))
    with np.load(tmp_path / "d.npz") as arrays:
        np.savez(tmp_path / "e.npz", **{name: arrays[name] for name in arrays if name != "blob/pool"})
    with pytest.raises(FormatError, match="lacks the results of 'pool'"):
        KeptSide(tmp_path / "e.npz")
    assert nuqconv.compare(model, options=CompareOptions(against=tmp_path / "d.npz")).agrees


def test_groups():
    sizes = {"a": 4, "b": 3, "c": 9, "d": 1}
    assert list(groups("abcde", sizes, 7)) == [["a", "b"], ["c"], ["d", "e"]]
    assert list(groups([], sizes, 7)) == []


def test_blobs_in_groups_give_the_same_report(model, tmp_path, monkeypatch):
    nuqconv.convert(*model, tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    for item in proto.graph.initializer:
        if item.name in ("conv2/0", "fc/0"):
            array = onnx.numpy_helper.to_array(item).copy()
            array.reshape(-1)[0] += 1
            item.CopyFrom(onnx.numpy_helper.from_array(array, item.name))
    whole = nuqconv.compare(model, proto, runtimes=ORT)
    asked = []
    run = onnxruntime_runtime._GraphSide.run
    monkeypatch.setattr(
        onnxruntime_runtime._GraphSide,
        "run",
        lambda self, inputs, names: asked.append(list(names)) or run(self, inputs, names),
    )
    room = 4 * 2 * 8 * 12 * 12
    parts = nuqconv.compare(model, proto, runtimes=ORT, options=CompareOptions(memory=room))
    assert parts == whole
    assert [root.layer for root in parts.roots] == ["conv2", "fc"]
    assert asked[:3] == [["conv1@conv1"], ["conv1@bn1"], ["conv1@scale1"]]
    # Without a graph on either side onnxruntime itself says how large values are.
    assert nuqconv.compare(proto, proto, options=CompareOptions(memory=room)).agrees


_PEAK = """
import sys
import numpy as np
import nuqconv
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Power
from tests.support.peak import peak_memory
count = int(sys.argv[1])
nodes = tuple(Node(f"p{n}", Power(scale=1.01), ("data" if n == 0 else f"p{n - 1}",), (f"p{n}",)) for n in range(count))
graph = Graph("long", (Input("data", (1, 16, 512, 512)),), nodes, {}, (f"p{count - 1}",))
options = nuqconv.CompareOptions(memory=64 << 20)
report = nuqconv.compare(graph, graph, options=options)
assert report.agrees and len(report.blobs) == count
print(peak_memory())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_blobs():
    """Blobs of 16 MiB each: 40 of them on two sides would take 1.3 GB."""

    def peak(count):
        ended = subprocess.run(
            [sys.executable, "-c", _PEAK, str(count)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
            env=os.environ,
        )
        return int(ended.stdout)

    assert peak(40) <= 1.25 * peak(8)


def rows(*found):
    return np.array([[[*item] for item in found]], np.float32).reshape(1, 1, -1, 7)


def test_detections_are_a_set():
    one = (0, 3, 0.9, 0.1, 0.1, 0.5, 0.5)
    two = (0, 3, 0.9, 0.6, 0.6, 0.9, 0.9)
    other = (0, 2, 0.5, 0.1, 0.1, 0.5, 0.5)
    second = (1, 3, 0.9, 0.1, 0.1, 0.5, 0.5)
    near = (0, 3, 0.90001, 0.6, 0.6, 0.9, 0.9)
    a, b = match_detections(rows(one, two, other, second), rows(second, near, other, one))
    np.testing.assert_allclose(a, b, atol=1e-4)
    a, b = match_detections(rows(one, other), rows(other, two, one))
    np.testing.assert_array_equal(a, rows(other, one))
    np.testing.assert_array_equal(b, rows(other, one, two))
    a, b = match_detections(rows(), rows(one))
    assert (a.size, b.size) == (0, 7)


DETECTOR = """
layer { name: "loc" type: "Input" top: "loc" input_param { shape { dim: 1 dim: 480 } } }
layer { name: "conf" type: "Input" top: "conf" input_param { shape { dim: 1 dim: 480 } } }
layer { name: "feat" type: "Input" top: "feat" input_param { shape { dim: 1 dim: 1 dim: 5 dim: 8 } } }
layer { name: "image" type: "Input" top: "image" input_param { shape { dim: 1 dim: 3 dim: 40 dim: 64 } } }
layer { name: "prior" type: "PriorBox" bottom: "feat" bottom: "image" top: "prior" prior_box_param { min_size: 12
  aspect_ratio: 2 flip: true clip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 offset: 0.5 } }
layer { name: "half" type: "Power" bottom: "loc" top: "half" power_param { scale: 0.5 } }
layer { name: "out" type: "DetectionOutput" bottom: "half" bottom: "conf" bottom: "prior" top: "out" detection_output_param { num_classes: 4
  share_location: true background_label_id: 0 nms_param { nms_threshold: 0.45 top_k: 100 } code_type: CENTER_SIZE keep_top_k: 50
  confidence_threshold: 0.2 } }
"""


def test_opencv_gives_detections_in_another_order(tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    files = write_net(tmp_path, DETECTOR, {})
    rng = np.random.default_rng(0)
    shapes = {"feat": (1, 1, 5, 8), "image": (1, 3, 40, 64)}
    inputs = {
        "loc": rng.normal(size=(1, 480)),
        "conf": rng.uniform(size=(1, 480)),
        **{name: np.ones(shape) for name, shape in shapes.items()},
    }

    def compared(feeds):
        return nuqconv.compare((files.model, files.weights), inputs=feeds, runtimes=("onnxruntime", "opencv"))

    report = compared(inputs)
    assert report.blob["out"].shapes == ((1, 1, 50, 7),) * 2
    assert report.agrees
    # The test sees the false alarm that there would be.
    monkeypatch.setattr("nuqconv.comparison.judge.match_detections", lambda found, reference: (found, reference))
    assert [root.layer for root in compared(inputs).roots] == ["out"]


def test_opencv_is_fed_inputs_of_three_axes(tmp_path):
    """A plain array of three axes would be taken for a picture with channels."""
    pytest.importorskip("cv2")
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 5 } } }
layer { name: "power" type: "Power" bottom: "data" top: "power" power_param { scale: 2 } }
layer { name: "soft" type: "Softmax" bottom: "power" top: "soft" softmax_param { axis: 1 } }
"""
    files = write_net(tmp_path, text, {})
    report = nuqconv.compare((files.model, files.weights), runtimes=("onnxruntime", "opencv"))
    assert report.agrees
    assert report.blob["soft"].shapes == ((2, 3, 5), (2, 3, 5))
