"""All layers that differ for a reason of their own, and none besides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import nuqconv
from nuqconv import CompareOptions
from nuqconv.comparison.report import Role, Verdict
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Convolution, Eltwise, ReLU
from nuqconv.runtimes import opencv
from tests.support.nets import conv_net, write_net

ORT = ("onnxruntime", "onnxruntime")


def deep(rng, layers=60):
    """Convolutions, ReLUs and sums that jump over both."""
    nodes, params, value, skip = [], {}, "data", ""
    for number in range(layers):
        name = f"l{number}"
        if number % 2 == 0:
            channels = 3 if number == 0 else 8
            nodes.append(
                Node(
                    name, Convolution(8, (3, 3), (1, 1), (1, 1), (1, 1)), (value,), (name,), (f"{name}/0", f"{name}/1")
                )
            )
            params[f"{name}/0"] = (rng.normal(size=(8, channels, 3, 3)) * np.sqrt(2 / (9 * channels))).astype(
                np.float32
            )
            params[f"{name}/1"] = rng.normal(size=8).astype(np.float32) / 4
            skip = name if number % 4 == 0 else skip
        elif number % 4 == 1:
            nodes.append(Node(name, ReLU(), (value,), (name,)))
        else:
            nodes.append(Node(name, Eltwise("SUM"), (value, skip), (name,)))
        value = name
    return Graph("deep", (Input("data", (1, 3, 6, 6)),), tuple(nodes), params, (value,)).verify()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_exactly_the_seeded_faults_of_a_deep_net_are_roots(count):
    for seed in range(2):
        rng = np.random.default_rng([count, seed])
        graph = deep(rng)
        weighted = [node.name for node in graph.nodes if node.params]
        faults = [weighted[place] for place in sorted(rng.choice(len(weighted), count, replace=False))]
        params = dict(graph.params)
        for name in faults:
            weights = params[f"{name}/0"].copy()
            weights.reshape(-1)[rng.integers(weights.size)] += 1
            params[f"{name}/0"] = weights
        report = nuqconv.compare(graph, replace(graph, params=params), runtimes=ORT)
        assert [root.layer for root in report.roots] == faults
        assert [root.alone for root in report.roots] == [False] + [True] * (count - 1)
        assert all("its weights differ: 1 of" in root.causes[0] for root in report.roots)
        inherited = [row.name for row in report.blobs if row.role is Role.INHERITED]
        differing = [row.name for row in report.blobs if not row.agrees]
        assert set(inherited) == set(differing) - set(faults)
        assert report.verdict is Verdict.DIFFER


def onnx_with_faults(path, target, tensors):
    proto = onnx.load(path)
    for item in proto.graph.initializer:
        if item.name in tensors:
            array = numpy_helper.to_array(item).copy()
            array.reshape(-1)[0] += 1
            item.CopyFrom(numpy_helper.from_array(array, item.name))
    onnx.save(proto, target)
    return target


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    files = conv_net(folder)
    nuqconv.convert(files.model, files.weights, folder / "good.onnx")
    return (
        files,
        folder / "good.onnx",
        onnx_with_faults(folder / "good.onnx", folder / "bad.onnx", {"bn1/mean", "scale1/1", "fc/0"}),
    )


@pytest.mark.parametrize("runtimes", [ORT, pytest.param(("caffe", "onnxruntime"), marks=pytest.mark.caffe)])
def test_faults_of_layers_in_place_and_behind_them(small, runtimes, request):
    """Three faults in an ONNX model, of which two are in layers that write one blob."""
    if "caffe" in runtimes:
        request.getfixturevalue("caffe_python")
    files, _, bad = small
    first = nuqconv.compare(
        (files.model, files.weights),
        bad,
        runtimes=runtimes,
        options=CompareOptions(all_roots=False, blobs=["sum", "prob"]),
    )
    assert [row.role for row in first.blobs if row.name == "prob"] == [Role.INHERITED]
    report = nuqconv.compare((files.model, files.weights), bad, runtimes=runtimes)
    assert [root.layer for root in report.roots] == ["bn1", "scale1", "fc"]
    assert [root.alone for root in report.roots] == [False, True, True]
    assert report.verdict is Verdict.DIFFER


@pytest.mark.caffe
def test_a_file_of_caffe_is_run_alone_in_caffe(small, tmp_path, caffe_process):
    """The other side is real Caffe: layers are written as nets of their own."""
    files, good, _ = small
    text = files.model.read_text().replace("negative_slope: 0.1", "negative_slope: 0.5")
    text = text.replace("pool: AVE kernel_size: 3 stride: 2", "pool: MAX kernel_size: 3 stride: 2")
    (tmp_path / "other.prototxt").write_text(text)
    report = nuqconv.compare(good, (tmp_path / "other.prototxt", files.weights), process=caffe_process)
    assert "real Caffe" in report.sides[1]
    assert [(root.layer, root.alone) for root in report.roots] == [("relu2", False), ("pool", True)]
    # Neither can prove anything of Caffe against itself, but two files of Caffe in Caffe do differ.
    report = nuqconv.compare(
        (files.model, files.weights), (tmp_path / "other.prototxt", files.weights), process=caffe_process
    )
    assert [root.layer for root in report.roots] == ["relu2", "pool"]
    assert "other parameters" in report.roots[1].causes[0]


def test_two_onnx_models_of_anybody(small):
    """Neither side is of Caffe; sections of the model are run as models of their own."""
    _, good, bad = small
    report = nuqconv.compare(good, bad)
    assert [root.layer for root in report.roots][-1] == "fc"
    assert {root.blob for root in report.roots} == {"conv1@bn1", "conv1@scale1", "fc"}


def test_values_that_a_branch_takes_from_outside():
    """The body of an If reads values of the graph around it."""

    def model(factor):
        body = helper.make_graph(
            [helper.make_node("Mul", ["h", "k"], ["t"], "times")],
            "then",
            [],
            [helper.make_tensor_value_info("t", 1, [1, 3])],
        )
        other = helper.make_graph(
            [helper.make_node("Neg", ["h"], ["e"], "minus")],
            "else",
            [],
            [helper.make_tensor_value_info("e", 1, [1, 3])],
        )
        nodes = [
            helper.make_node("Add", ["x", "one"], ["h"], "add"),
            helper.make_node("If", ["yes"], ["y"], "if", then_branch=body, else_branch=other),
            helper.make_node("Mul", ["y", "k"], ["z"], "last"),
        ]
        constants = {"one": np.float32([1 + factor]), "yes": np.array(True), "k": np.float32([2 + factor])}
        graph = helper.make_graph(
            nodes,
            "branches",
            [helper.make_tensor_value_info("x", 1, [1, 3])],
            [helper.make_tensor_value_info("z", 1, [1, 3])],
            [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    report = nuqconv.compare(model(0), model(1))
    assert [(root.layer, root.alone) for root in report.roots] == [("add", False), ("if", True), ("last", True)]
    # Neither model is made here, so agreement proves what there is to prove.
    assert nuqconv.compare(model(0), model(0)).verdict is Verdict.AGREE


SHUFFLE = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 8 dim: 8 } } }
layer { name: "c1" type: "Convolution" bottom: "data" top: "c1" convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "sh" type: "ShuffleChannel" bottom: "c1" top: "sh" shuffle_channel_param { group: 2 } }
layer { name: "sl" type: "Slice" bottom: "sh" top: "s1" top: "s2" }
layer { name: "c2" type: "Convolution" bottom: "s2" top: "c2" convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "r2" type: "ReLU" bottom: "c2" top: "c2" }
layer { name: "c3" type: "Convolution" bottom: "c2" top: "c3" convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "cat" type: "Concat" bottom: "s1" bottom: "c3" top: "cat" }
layer { name: "c4" type: "Convolution" bottom: "cat" top: "c4" convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
"""


@pytest.fixture(scope="module")
def shuffle(tmp_path_factory):
    rng = np.random.default_rng(0)
    sizes = {"c1": (8, 4), "c2": (4, 4), "c3": (4, 4), "c4": (8, 8)}
    weights = {name: [rng.normal(size=(*size, 3, 3)), rng.normal(size=size[0])] for name, size in sizes.items()}
    files = write_net(tmp_path_factory.mktemp("shuffle"), SHUFFLE, weights)
    return files.model, files.weights


@pytest.mark.parametrize("runtimes", [("onnxruntime", "opencv"), ("opencv", "onnxruntime")])
def test_memory_that_opencv_uses_again(shuffle, runtimes, monkeypatch):
    """The second output of a Slice behind a ShuffleChannel holds something else when the net has run."""
    pytest.importorskip("cv2")
    report = nuqconv.compare(shuffle, runtimes=runtimes)
    assert report.verdict is Verdict.AGREE
    assert any("'s2' is overwritten in memory that is shared" in note for note in report.notes)
    # Of a runtime of which nobody knows what it overwrites, it is found out.
    monkeypatch.setattr(opencv._OpenCvSide, "exact", lambda *_: {})
    report = nuqconv.compare(shuffle, runtimes=runtimes)
    assert report.agrees
    assert report.roots == ()
    assert [row.name for row in report.blobs if row.role is Role.MEMORY] == ["s2"]
    assert any("'s2' is different, but all that is computed from that agrees" in note for note in report.notes)


def test_a_difference_that_nothing_inherits_is_one(tmp_path):
    """What a ReLU cuts off again is no memory that was used again: the layer differs also alone."""
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "low" type: "Power" bottom: "data" top: "low" power_param { shift: -100 %s } }
layer { name: "relu" type: "ReLU" bottom: "low" top: "relu" }
"""
    models = [write_net(tmp_path, text % more, {}, stem=f"n{n}") for n, more in enumerate(("", "scale: 2"))]
    report = nuqconv.compare(*((files.model, files.weights) for files in models), runtimes=ORT)
    assert [root.layer for root in report.roots] == ["low"]
    assert report.blob["relu"].agrees


def test_axpy_of_opencv(tmp_path):
    pytest.importorskip("cv2")
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "a" type: "Pooling" bottom: "data" top: "a" pooling_param { pool: AVE global_pooling: true } }
layer { name: "x" type: "Power" bottom: "data" top: "x" power_param { scale: 3 shift: 1 } }
layer { name: "y" type: "Power" bottom: "data" top: "y" power_param { scale: -2 } }
layer { name: "axpy" type: "Axpy" bottom: "a" bottom: "x" bottom: "y" top: "axpy" }
"""
    files = write_net(tmp_path, text, {})
    report = nuqconv.compare((files.model, files.weights), runtimes=("onnxruntime", "opencv"))
    assert [root.layer for root in report.roots] == ["axpy"]
    assert report.roots[0].causes[0].startswith("Axpy: the second side computes first * third + second")


def test_small_differences_that_add_up(small):
    """A layer whose inputs are within the tolerance, and which agrees when it is fed the same, is told as that."""
    files, good, _ = small
    proto = onnx.load(good)
    for item in proto.graph.initializer:
        if item.name == "conv1/0":
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) * np.float32(1 + 4e-6), item.name))
    # Every layer before has the tolerance of this one alone.
    loose, strict = nuqconv.CompareOptions().tolerance, 1e-9
    options = CompareOptions(
        tolerances={"fc": replace(loose, rtol=strict, atol=strict), "prob": replace(loose, rtol=1, atol=1)}
    )
    report = nuqconv.compare((files.model, files.weights), proto, runtimes=ORT, options=options)
    assert [root.layer for root in report.roots] == ["fc"]
    assert any("add up here" in cause for cause in report.roots[0].causes)
