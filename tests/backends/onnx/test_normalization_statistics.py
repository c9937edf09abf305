"""BatchNorm on the statistics of the batch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from nuqconv.backends.onnx import batch_problems, newest_opset, to_onnx
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import BatchStatistics
from nuqconv.passes import fold_affine
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text, write_weights


def one(kind, rest="", shape=(2, 4, 7, 9)):
    return inputs_text(data=shape) + "\n" + layer_text(kind, rest)


STATISTICS = "batch_norm_param {{ use_global_stats: {} {} }}"


def with_statistics_of(data):
    """Puts a batch's own mean and mean square deviation in place of the stored ones.

    The Caffe that is at hand was built for inference and has no code for statistics of the batch; what is left to compare is everything
    that it does with them.
    """
    channels = np.moveaxis(data, 1 if data.ndim > 1 else 0, 0).astype(np.float64)
    channels = channels.reshape(channels.shape[0] if data.ndim > 1 else 1, -1)

    def change(params):
        params["out"] = (
            "BatchNorm",
            [channels.mean(1).astype(np.float32), channels.var(1).astype(np.float32), np.ones(1, np.float32)],
        )

    return change


@pytest.mark.caffe
@pytest.mark.parametrize("param", ["", "eps: 0.1", "moving_average_fraction: 0.5"])
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (5, 4), (2, 3, 4), (2, 3, 2, 2, 3)])
def test_batch_norm_with_the_statistics_of_the_batch(oracle, param, shape):
    rng = np.random.default_rng(3)
    data = (rng.standard_normal(shape) * 3 + 1).astype(np.float32)
    _, net = oracle.load(one("BatchNorm", STATISTICS.format("true", param), shape), rng, with_statistics_of(data))
    with net:
        expected = net.run({"data": data}, ["out"])["out"]
    graph, net = oracle.load(one("BatchNorm", STATISTICS.format("false", param), shape), rng)
    net.close()
    assert isinstance(graph.node["out"].op, BatchStatistics)
    found = OnnxSession(graph, threads=1).run({"data": data})["out"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_statistics_of_one_image_in_opencv(tmp_path):
    """OpenCV normalizes each image by itself, which for a single one is the same; a large eps it adds elsewhere than Caffe."""
    cv2 = pytest.importorskip("cv2")
    text = one("BatchNorm", STATISTICS.format("false", ""), (1, 4, 5, 6))
    (tmp_path / "net.prototxt").write_text(text)
    blobs = [np.ones(4, np.float32), np.ones(4, np.float32), np.ones(1, np.float32)]
    write_weights(tmp_path / "net.caffemodel", {"out": ("BatchNorm", blobs)})
    data = np.random.default_rng(0).standard_normal((1, 4, 5, 6)).astype(np.float32) * 3 + 1
    net = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"))
    net.setInput(data)
    graph = load_graph(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    found = OnnxSession(graph, threads=1).run({"data": data})["out"]
    np.testing.assert_allclose(found, net.forward("out"), rtol=1e-4, atol=1e-5)


def test_statistics_without_a_channel_axis():
    params = {"m": np.zeros(1, np.float32), "v": np.ones(1, np.float32), "f": np.ones(1, np.float32)}
    node = Node("out", BatchStatistics(), ("data",), ("out",), ("m", "v", "f"))
    graph = Graph("net", (Input("data", (6,)),), (node,), params, ("out",))
    found = OnnxSession(graph).run({"data": np.arange(6, dtype=np.float32)})["out"]
    np.testing.assert_allclose(found, (np.arange(6) - 2.5) / np.sqrt(np.arange(6).var() + 1e-5), rtol=1e-5)


def statistics_net(oracle, *layers):
    """A net whose BatchNorm uses the statistics of the batch; weights from real Caffe's shapes."""
    graph, net = oracle.load("\n".join([inputs_text(data=(2, 4, 7, 9)), *layers]), np.random.default_rng(0))
    net.close()
    return graph


@pytest.mark.caffe
def test_statistics_of_the_batch_are_not_folded_and_follow_the_batch(oracle):
    graph = statistics_net(
        oracle,
        layer_text("Convolution", "convolution_param { num_output: 3 kernel_size: 3 }", name="conv"),
        layer_text("BatchNorm", STATISTICS.format("false", ""), bottoms=("conv",)),
    )
    assert fold_affine(graph).folded == {}
    assert batch_problems(graph) == []
    found = OnnxSession(graph).run({"data": np.random.default_rng(0).standard_normal((5, 4, 7, 9)).astype(np.float32)})
    np.testing.assert_allclose(found["out"].mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(found["out"].std((0, 2, 3)), 1, atol=1e-4)


@pytest.mark.caffe
@pytest.mark.parametrize("opset", range(13, newest_opset() + 1))
def test_valid_at_every_opset(oracle, opset):
    graph = statistics_net(
        oracle,
        layer_text("Convolution", "convolution_param { num_output: 3 kernel_size: 3 axis: 2 }", name="conv"),
        layer_text("BatchNorm", STATISTICS.format("false", ""), bottoms=("conv",), name="bn"),
        layer_text("InnerProduct", "inner_product_param { num_output: 3 axis: -1 }", bottoms=("bn",)),
    )
    data = np.random.default_rng(0).standard_normal((2, 4, 7, 9)).astype(np.float32)
    model = to_onnx(graph, opset=opset)
    onnx.checker.check_model(model, full_check=True)
    expected = OnnxSession(graph, threads=1).run({"data": data})["out"]
    np.testing.assert_allclose(OnnxSession(model, threads=1).run({"data": data})["out"], expected, rtol=1e-5, atol=1e-5)
