"""Products of rows, as MatMul with a stored matrix makes them: quantized, to the bit, in real Caffe, onnxruntime and integer arithmetic of numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nuqconv
from nuqconv.backends.caffe import Style, write_caffe
from nuqconv.backends.caffe.record import information_text, record_text
from nuqconv.backends.onnx import to_onnx, write_onnx
from nuqconv.backends.onnx.styles import FAKE_QUANT, PACKED, QDQ
from nuqconv.comparison.layer_errors import measure_layer_errors
from nuqconv.comparison.quantized import pair_layers
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.onnx.build import graph_of
from nuqconv.frontends.options import ReadOptions
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Dequantize, InnerProduct, Quantize, Reshape
from nuqconv.passes import rows_as_matrix
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.capability import capabilities
from nuqconv.quantize.moments import patches
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession, exchange
from nuqconv.runtimes.onnxruntime.exchange import ExchangeSession
from tests.oracle import loops
from tests.support.plans import strongest_plan

RNG = np.random.default_rng(4)
SHAPES = {"three axes": (2, 5, 24), "four axes": (2, 3, 4, 24), "one image": (1, 7, 24)}


def rows_net(shape, batch=None):
    """Two products of one value, and a square one behind them."""
    tensors = {
        name: RNG.normal(size=size).astype(np.float32) for name, size in (("a", (24, 8)), ("b", (24, 8)), ("c", (8, 8)))
    }
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"], "left"),
        helper.make_node("MatMul", ["x", "b"], ["q"], "right"),
        helper.make_node("Add", ["p", "q"], ["s"], "sum"),
        helper.make_node("MatMul", ["s", "c"], ["y"], "square"),
    ]
    dims = [batch or shape[0], *shape[1:]]
    graph = helper.make_graph(
        nodes,
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def quantized_net(shape, batch=None):
    graph = graph_of(rows_net(shape, batch), "rows.onnx", ReadOptions({"x": shape})).graph
    data = RNG.normal(size=shape).astype(np.float32) * 3
    quantizer = Quantizer(graph)
    plan = strongest_plan(quantizer, {"x": data})
    return quantizer, plan, data * np.float32(1.7)


def reference(quantizer, plan, data):
    """All from the plan's numbers and the layers' integers."""

    def product(name, x):
        layer = plan[name]
        u = loops.quantize(x, layer.activation.scale, layer.activation.offset)
        found = quantizer.layer_integers(name, layer)
        sums = u.astype(np.int64) @ found.weights.astype(np.int64).T
        assert np.abs(sums).max() < 2**24
        return sums.astype(np.float32) * (np.float32(layer.activation.scale) * found.scales)

    return product("square", product("left", data) + product("right", data))


def test_they_can_be_non_uniform():
    graph = graph_of(rows_net((2, 5, 24))).graph
    assert [(item.name, item.int8, item.nuq) for item in capabilities(graph)] == [
        (name, True, True) for name in ("left", "right", "square")
    ]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_rows_are_positions_of_an_image(shape):
    """So that moments take as many of them from each image as they take positions of a convolution."""
    op = InnerProduct(4, axis=len(shape) - 1, bias_term=False, by_rows=True)
    x = RNG.normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(patches(op, x), x.reshape(-1, 1, shape[-1]))
    some = patches(op, x, rows=2)
    assert some.shape == (2 * len(x), 1, shape[-1])
    images = x.reshape(len(x), -1, shape[-1])
    for number, row in enumerate(some[:, 0]):
        assert (images[number // 2] == row).all(axis=-1).any()


@pytest.mark.caffe
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_form_in_every_runtime(tmp_path, shape, caffe_process, monkeypatch):
    quantizer, plan, data = quantized_net(shape)
    assert all(layer.codebook is not None for layer in plan.values())
    quantized = quantizer.apply(plan).verify()
    expected = reference(quantizer, plan, data)
    found = {
        "onnxruntime": OnnxSession(quantized).run({"x": data})["y"],
        "integers": OnnxSession(quantized, integer=True).run({"x": data})["y"],
        "packed": OnnxSession(to_onnx(quantized, style=PACKED)).run({"x": data})["y"],
    }
    for kind in ("signed", "unsigned"):
        monkeypatch.setattr(exchange, "fast_products", lambda kind=kind: kind)
        session = ExchangeSession(quantized)
        found[f"fast, {kind}"] = session.run_with({"x": data}, session.tensors(quantized.params))["y"]
    for style in Style:
        files = [tmp_path / f"{style.value}{end}" for end in (".prototxt", ".caffemodel")]
        write_caffe(quantized, *files, style)
        found[f"{style.value} read back"] = OnnxSession(load_graph(*files)).run({"x": data})["y"]
    with Net(tmp_path / "fake_quant.prototxt", tmp_path / "fake_quant.caffemodel", process=caffe_process) as net:
        found["real Caffe"] = net.run({"x": data})["y"]
    for runtime, array in found.items():
        np.testing.assert_array_equal(array, expected, err_msg=runtime)
    # QuantizeLinear divides, so a value at a tie may come out one step away, and real numbers are summed.
    pairs = OnnxSession(to_onnx(quantized, style=QDQ)).run({"x": data})["y"]
    np.testing.assert_allclose(pairs, expected, atol=0.02 * np.abs(expected).max())


def test_the_deploy_model_has_the_devices_form_only(tmp_path):
    quantizer, plan, _ = quantized_net((2, 5, 24))
    quantized = quantizer.apply(plan)
    write_caffe(quantized, tmp_path / "d.prototxt", tmp_path / "d.caffemodel", Style.DEPLOY)
    deploy = load_graph(tmp_path / "d.prototxt", tmp_path / "d.caffemodel")
    products = [node for node in deploy.nodes if isinstance(node.op, InnerProduct)]
    assert [(node.op.axis, node.op.transpose) for node in products] == [(1, False)] * 3
    assert all(deploy.params[node.params[0]].dtype == np.int8 for node in products)
    assert sum(isinstance(node.op, Quantize) for node in deploy.nodes) == 2
    record = record_text(quantizer, plan)
    assert record.count("channels: 24") == 2
    assert record.count("height: 1") == 3
    information = information_text(quantized, {})
    assert '"right_dequant_layer"' in information
    text = (tmp_path / "d.prototxt").read_text()
    assert text.count('object_layer: "left"') == 2  # of its Quant, which it shares, and of its DeQuant


def test_a_batch_stays_open_and_pairs_are_read_as_quantized_layers(tmp_path):
    quantizer, plan, data = quantized_net((2, 5, 24), "N")
    quantized = quantizer.apply(plan)
    write_onnx(quantized, tmp_path / "pairs.onnx", style=QDQ, dynamic_batch=True)
    model = onnx.load(tmp_path / "pairs.onnx")
    assert [node.op_type for node in model.graph.node].count("MatMul") == 3
    pairs = OnnxSession(tmp_path / "pairs.onnx")
    three = np.concatenate([data, data[:1]])
    found = pairs.run({"x": three})["y"]
    np.testing.assert_allclose(found[:2], pairs.run({"x": data})["y"], rtol=1e-5, atol=1e-4)
    again = nuqconv.load(tmp_path / "pairs.onnx", input_shapes={"x": (3, 5, 24)})
    assert [node.op.axis for node in again.nodes if isinstance(node.op, Dequantize)] == [2, 2, 2]
    # One that divides where the other multiplies: at ties a step lies between them.
    np.testing.assert_allclose(OnnxSession(again).run({"x": three})["y"], found, atol=0.02 * np.abs(found).max())


def test_a_quantize_that_others_read_stays_for_them():
    def product(name, axis, count, **options):
        return Node(
            name, InnerProduct(4, axis=axis, bias_term=False, **options), ("u",), (f"{name}@sums",), (f"{name}/0",)
        )

    nodes = [Node("u", Quantize(20.0, 3), ("x",), ("u",)), product("rows", 2, 6, by_rows=True), product("all", 1, 30)]
    params = {}
    for name, width, axis in (("rows", 6, 2), ("all", 30, 1)):
        params[f"{name}/0"] = RNG.integers(-128, 128, (4, width)).astype(np.int8)
        params[f"{name}/steps"] = np.full(4, 0.01, np.float32)
        nodes.append(
            Node(f"{name}_dequant_layer", Dequantize(axis=axis), (f"{name}@sums",), (name,), (f"{name}/steps",))
        )
    graph = Graph("net", (Input("x", (2, 5, 6)),), tuple(nodes), params, ("rows", "all")).verify()
    changed = rows_as_matrix(graph).verify()
    assert [type(node.op) for node in changed.nodes].count(Quantize) == 2
    assert [node.op for node in changed.nodes if isinstance(node.op, Reshape)] == [
        Reshape((-1, 6)),
        Reshape((-1, 5, 4)),
    ]
    data = RNG.normal(size=(2, 5, 6)).astype(np.float32)
    wanted = OnnxSession(graph).run({"x": data})
    for name, array in OnnxSession(changed).run({"x": data}).items():
        np.testing.assert_array_equal(array, wanted[name])
    alone = replace(graph, outputs=("rows", "rows@sums"))
    assert rows_as_matrix(alone).nodes == alone.nodes


def test_errors_of_layers_are_the_same_in_every_form(tmp_path):
    """In Caffe files a Reshape stands around a layer, in ONNX step sizes are an operand: both are parts of the layer."""
    quantizer, plan, data = quantized_net((2, 5, 24))
    quantized, data = quantizer.apply(plan), data / np.float32(1.7)
    for style in Style:
        write_caffe(quantized, tmp_path / f"{style.value}.prototxt", tmp_path / f"{style.value}.caffemodel", style)
    forms = {
        style.value: load_graph(*(tmp_path / f"{style.value}{end}" for end in (".prototxt", ".caffemodel")))
        for style in Style
    }
    for name, style in (("floats", FAKE_QUANT), ("packed", PACKED), ("pairs", QDQ)):
        write_onnx(quantized, tmp_path / f"{name}.onnx", style=style)
        forms[name] = nuqconv.load(tmp_path / f"{name}.onnx")
    wanted = measure_layer_errors(pair_layers(quantizer.graph, quantized), [{"x": data}])
    assert [item.layer for item in wanted.layers] == ["left", "right", "square"]
    assert all(item.weights is not None and item.single.snr_db > 15 for item in wanted.layers)
    for name, graph in forms.items():
        found = measure_layer_errors(pair_layers(quantizer.graph, graph), [{"x": data}])
        assert [item.layer for item in found.layers] == ["left", "right", "square"], name
        for mine, theirs in zip(found.layers, wanted.layers, strict=True):
            for kind in ("accumulated", "single", "weights", "activations"):
                pair = getattr(mine, kind).snr_db, getattr(theirs, kind).snr_db
                assert pair[0] == pytest.approx(pair[1], abs=0.3 if name == "pairs" else 1e-3), (name, kind)


def test_a_sample_that_becomes_several(tmp_path):
    """As windows of a Swin do in a file whose batch is 1: calibration and errors of layers take one sample after the other."""
    rng = np.random.default_rng(2)
    tensors = {"a": rng.normal(size=(8, 8)).astype(np.float32), "s": np.int64([4, 3, 8]), "t": np.int64([1, 12, 8])}
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"], "first"),
        helper.make_node("Reshape", ["p", "s"], ["w"], "windows"),
        helper.make_node("MatMul", ["w", "a"], ["q"], "second"),
        helper.make_node("Reshape", ["q", "t"], ["y"], "whole"),
    ]
    tensors["b"], nodes[2].input[1] = rng.normal(size=(8, 8)).astype(np.float32), "b"
    graph = helper.make_graph(
        nodes,
        "windows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 12, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 12, 8))],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "a.onnx")
    data = rng.normal(size=(5, 12, 8)).astype(np.float32)
    found = nuqconv.quantize(tmp_path / "a.onnx", {"*": 16}, data={"x": data})
    assert [layer.name for layer in found.layers] == ["first", "second"]
    found.save(tmp_path / "out")
    pair = pair_layers(nuqconv.load(tmp_path / "a.onnx"), nuqconv.load(tmp_path / "out_qdq_model.onnx"))
    errors = measure_layer_errors(pair, [{"x": data}])
    assert (errors.samples, len(errors.layers)) == (5, 2)
