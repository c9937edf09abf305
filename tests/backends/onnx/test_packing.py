"""Packed weights are unpacked by onnxruntime to what they were, and quantized graphs keep their outputs in every form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from nuqconv.backends.onnx import write_onnx
from nuqconv.backends.onnx.lower import lower_graph
from nuqconv.backends.onnx.packing import pack, unpack_nodes
from nuqconv.backends.onnx.styles import FAKE_QUANT, PACKED, QDQ
from nuqconv.ir import Graph, Input, Node, Stepped
from nuqconv.ir.ops import Convolution, Deconvolution, Dequantize, InnerProduct, Pooling, Quantize, ReLU
from nuqconv.runtimes.onnxruntime import OnnxSession

RNG = np.random.default_rng(11)


def plain_session(model: bytes) -> onnxruntime.InferenceSession:
    """A session as a user makes it, with all that onnxruntime optimizes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def unpacked(weights: np.ndarray) -> np.ndarray:
    tensors: dict[str, np.ndarray] = {}

    def store(array: np.ndarray, purpose: str) -> str:
        tensors[f"{purpose}{len(tensors)}"] = array
        return f"{purpose}{len(tensors) - 1}"

    counter = iter(range(100))
    packed = pack(weights)
    assert packed is not None
    nodes = unpack_nodes(weights.shape, packed, "result", lambda purpose: f"{purpose}_{next(counter)}", store)
    graph = helper.make_graph(
        nodes,
        "unpack",
        [],
        [helper.make_tensor_value_info("result", TensorProto.INT8, weights.shape)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return plain_session(model.SerializeToString()).run(None, {})[0]


@given(
    levels=st.lists(st.integers(-128, 127), min_size=1, max_size=100, unique=True),
    shape=arrays.array_shapes(min_dims=1, max_dims=4, max_side=9),
    seed=st.integers(0, 999),
)
def test_what_is_packed_is_unpacked(levels, shape, seed):
    weights = np.random.default_rng(seed).choice(np.array(levels, np.int8), (*shape, 40))
    if pack(weights) is not None:
        assert np.array_equal(unpacked(weights), weights)


@pytest.mark.parametrize(("levels", "bits"), [(1, 1), (2, 1), (3, 2), (16, 4), (17, 5), (32, 5), (33, 6)])
def test_size(levels, bits):
    weights = np.resize(np.arange(levels, dtype=np.int8), 8000)
    packed = pack(weights)
    assert packed.planes.nbytes == 1000 * bits
    assert packed.codebook.nbytes == levels


def test_what_is_not_packed():
    assert pack(np.arange(256).astype(np.int8)) is None
    assert pack(np.zeros(1, np.int8)) is None
    assert pack(np.zeros(0, np.int8)) is None
    assert pack(np.zeros(100, np.float32)) is None


def steps(count: int) -> np.ndarray:
    return RNG.uniform(0.001, 0.01, count).astype(np.float32)


def network() -> Graph:
    """Layers of all kinds, quantized, with step sizes that are no powers of two."""
    nodes = (
        Node("q1", Quantize(20.0, -7), ("data",), ("u1",)),
        Node("conv", Convolution(6, (3, 3), (1, 1), (1, 1), (1, 1)), ("u1",), ("s1",), ("w1", "b1")),
        Node("d1", Dequantize(), ("s1",), ("r1",), ("t1",)),
        Node("relu", ReLU(), ("r1",), ("a1",)),
        Node("q2", Quantize(30.0, -128), ("a1",), ("u2",)),
        Node("up", Deconvolution(4, (2, 2), (2, 2), (0, 0), (1, 1), bias_term=False), ("u2",), ("s2",), ("w2",)),
        Node("d2", Dequantize(), ("s2",), ("r2",), ("t2",)),
        Node("q3", Quantize(25.0, 3), ("r2",), ("u3",)),
        Node("pool", Pooling("AVE", (2, 2), (2, 2)), ("u3",), ("s3",)),
        Node("d3", Dequantize(), ("s3",), ("r3",), ("t3",)),
        Node("q4", Quantize(17.3, 3), ("r3",), ("u4",)),
        Node("fc", InnerProduct(5), ("u4",), ("s4",), ("w4", "b4")),
        Node("d4", Dequantize(), ("s4",), ("out",), ("t4",)),
    )
    book = np.array([-90, -40, -11, 0, 7, 20, 55, 101], np.int8)
    params = {
        "w1": RNG.choice(book, (6, 3, 3, 3)),
        "b1": RNG.integers(-500, 500, 6).astype(np.int32),
        "t1": steps(6),
        "w2": RNG.integers(-128, 127, (6, 4, 2, 2)).astype(np.int8),
        "t2": steps(4),
        "t3": np.full(4, np.float32(1) / np.float32(25)),
        "w4": RNG.choice(book, (5, 4 * 36)),
        "b4": RNG.integers(-500, 500, 5).astype(np.int32),
        "t4": np.full(5, 0.003, np.float32),
    }
    return Graph("net", (Input("data", (2, 3, 6, 6)),), nodes, params, ("out",)).verify()


@pytest.mark.parametrize("packed", [False, True])
def test_the_written_model_is_exact_in_a_plain_onnxruntime(packed):
    """Nothing is multiplied into the integer weights, whatever onnxruntime optimizes."""
    graph, data = network(), RNG.standard_normal((2, 3, 6, 6)).astype(np.float32)
    model = lower_graph(graph, style=replace(FAKE_QUANT, packed=packed)).whole().SerializeToString()
    (found,) = plain_session(model).run(None, {"data": data})
    assert np.array_equal(found, OnnxSession(graph).run({"data": data})["out"])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("opset", [13, 21])
def test_qdq(tmp_path, packed, opset):
    """Where nothing lies at a tie, the form with QuantizeLinear gives the same numbers up to the rounding of floats."""
    graph, data = network(), RNG.standard_normal((2, 3, 6, 6)).astype(np.float32)
    path = tmp_path / "qdq.onnx"
    write_onnx(graph, path, style=replace(QDQ, packed=packed), opset=opset)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("QuantizeLinear") == 4
    assert "Round" not in kinds
    (found,) = plain_session(path.read_bytes()).run(None, {"data": data})
    wanted = OnnxSession(graph).run({"data": data})["out"]
    np.testing.assert_allclose(found, wanted, atol=2e-2 * np.abs(wanted).max())
    assert np.median(np.abs(found - wanted)) < 1e-5 * np.abs(wanted).max()


def weights_only(axis: int, levels: int) -> Graph:
    """A convolution and a product of which the weights alone are integers times step sizes, along an axis or one for all."""
    book = np.linspace(-120, 120, levels).astype(np.int8)
    parts = {
        "w1": Stepped(RNG.choice(book, (6, 3, 3, 3)), steps(6).reshape(6, 1, 1, 1)),
        "w2": Stepped(RNG.choice(book, (6, 4, 2, 2)), steps(4).reshape(1, 4, 1, 1)),
        "w3": Stepped(RNG.choice(book, (5, 64)), steps(1).reshape(1, 1) if axis < 0 else steps(5).reshape(5, 1)),
    }
    nodes = (
        Node("c1", Convolution(6, (3, 3), (1, 1), (0, 0), (1, 1)), ("data",), ("v1",), ("w1", "b1")),
        Node("c2", Deconvolution(4, (2, 2), (1, 1), (0, 0), (1, 1), bias_term=False), ("v1",), ("v2",), ("w2",)),
        Node("pool", Pooling("MAX", (2, 2), (1, 1)), ("v2",), ("v3",)),
        Node("fc", InnerProduct(5), ("v3",), ("out",), ("w3", "b3")),
    )
    params = {name: part.floats for name, part in parts.items()}
    params |= {"b1": steps(6), "b3": steps(5)}
    return Graph("net", (Input("data", (2, 3, 6, 6)),), nodes, params, ("out",), stepped=parts).verify()


@pytest.mark.parametrize("levels", [3, 40, 200])
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("style", [PACKED, QDQ])
def test_weights_alone_are_stored_as_integers(style, axis, levels):
    graph, data = weights_only(axis, levels), RNG.standard_normal((2, 3, 6, 6)).astype(np.float32)
    model = lower_graph(graph, style=style).whole()
    onnx.checker.check_model(model, full_check=True)
    stored = {item.name: item.data_type for item in model.graph.initializer}
    assert all(stored.get(name, TensorProto.INT8) == TensorProto.INT8 for name in ("w1", "w2", "w3"))
    (wanted,) = plain_session(lower_graph(graph).whole().SerializeToString()).run(None, {"data": data})
    (found,) = plain_session(model.SerializeToString()).run(None, {"data": data})
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


def test_integers_of_weights_that_have_changed_since_are_not_stored():
    graph = weights_only(0, 3)
    changed = replace(graph, params={**graph.params, "w1": graph.params["w1"] * 2})
    stored = {item.name: item.data_type for item in lower_graph(changed, style=PACKED).whole().graph.initializer}
    assert stored["w1"] == TensorProto.FLOAT
    assert "w3" not in stored


def test_a_quantized_value_that_is_an_output_stays(tmp_path):
    graph = replace(network(), outputs=("out", "u2", "s1"))
    data = RNG.standard_normal((2, 3, 6, 6)).astype(np.float32)
    path = tmp_path / "qdq.onnx"
    write_onnx(graph, path, style=QDQ)
    found = dict(zip(("out", "u2", "s1"), plain_session(path.read_bytes()).run(None, {"data": data}), strict=True))
    wanted = OnnxSession(graph).run({"data": data})
    assert np.array_equal(found["s1"], wanted["s1"])
