"""The quantization factor record, the list of NUQ layers and the quantization information file."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nuqconv.backends.caffe.record import information_text, nuq_layers_text, read_record, record_text
from nuqconv.errors import FormatError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.schema import message_class
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Convolution, InnerProduct, Opaque
from nuqconv.passes import fold_affine
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from tests.support.nets import conv_net, write_net

A = ActivationQuant(float(np.float32(1.0745)), -14)
BOOK = tuple(range(-120, 120, 15))
INT8 = LayerPlan(Precision.INT8, activation=A)
NUQ = LayerPlan(Precision.NUQ, codebook=BOOK, num_steps=16, activation=A)


def network() -> Graph:
    """A convolution on 3x5x7 with 4 filters, an inner product on its output, another on that one's."""
    rng = np.random.default_rng(2)
    shapes = {"conv/0": (4, 3, 2, 2), "conv/1": (4,), "fc1/0": (6, 96), "fc2/0": (2, 6), "fc2/1": (2,)}
    nodes = (
        Node("conv", Convolution(4, (2, 2), (1, 1), (0, 0), (1, 1)), ("data",), ("conv",), ("conv/0", "conv/1")),
        Node("fc1", InnerProduct(6, bias_term=False), ("conv",), ("fc1",), ("fc1/0",)),
        Node("fc2", InnerProduct(2), ("fc1",), ("fc2",), ("fc2/0", "fc2/1")),
    )
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return Graph("net", (Input("data", (2, 3, 5, 7)),), nodes, params, ("fc2",)).verify()


def entries(plan, **arguments):
    """The record as the format's own parser sees it."""
    text = record_text(Quantizer(network()), plan, **arguments)
    message = text_format.Parse(text, message_class("ScaleOffsetRecord")())
    return {entry.key: entry.value for entry in message.record}


def test_golden_text():
    node = Node("fc", InnerProduct(2, bias_term=False), ("x",), ("y",), ("w",))
    weights = np.array([[127, -64, 0], [1, 2, 3]], np.float32)
    graph = Graph("net", (Input("x", (1, 3)),), (node,), {"w": weights}, ("y",))
    plan = Plan.of({"fc": LayerPlan(Precision.NUQ, (-64, 2, 127), 16, ActivationQuant(0.5, -128))})
    assert record_text(Quantizer(graph), plan) == (
        "record {\n"
        '  key: "fc"\n'
        "  value {\n"
        "    scale_d: 0.5\n"
        "    offset_d: -128\n"
        "    scale_w: 1.0\n"
        "    offset_w: 0\n"
        "    shift_bit: 0\n"
        "    channels: 3\n"
        "    height: 1\n"
        "    width: 1\n"
        "    skip_fusion: false\n"
        "  }\n"
        "}\n"
    )


def test_values_of_each_layer():
    found = entries(Plan.of({"conv": INT8, "fc1": NUQ, "fc2": INT8}), skip_fusion=frozenset({"fc1"}))
    assert list(found) == ["conv", "fc1", "fc2"]
    graph, conv = network(), found["conv"]
    assert (conv.scale_d, conv.offset_d) == (A.scale, -14)
    np.testing.assert_array_equal(
        np.float32(conv.scale_w), np.float32(np.abs(graph.params["conv/0"]).max(axis=(1, 2, 3)).astype(float) / 127)
    )
    assert list(conv.offset_w) == list(conv.shift_bit) == [0] * 4
    assert [len(found[name].scale_w) for name in ("fc1", "fc2")] == [1, 1]
    assert {name: (value.channels, value.height, value.width) for name, value in found.items()} == {
        "conv": (3, 5, 7),
        "fc1": (4, 4, 6),
        "fc2": (6, 1, 1),
    }
    # The published schema does not know codebooks: they have a file of their own.
    assert not any(value.cluster for value in found.values())
    assert [name for name, value in found.items() if value.skip_fusion] == ["fc1"]


def test_what_is_left_out():
    """Layers in float, and layers of which only the weights are quantized, have no step size to record."""
    plan = Plan.of({"conv": LayerPlan(Precision.FLOAT), "fc1": LayerPlan(Precision.INT8), "fc2": INT8})
    assert list(entries(plan)) == ["fc2"]
    assert record_text(Quantizer(network()), Plan()) == ""


def test_one_step_size_where_weights_are_not_channel_wise():
    whole = LayerPlan(Precision.INT8, activation=A, channel_wise=False)
    assert len(entries(Plan.of({"conv": whole}))["conv"].scale_w) == 1


def test_pooling_in_the_record_has_the_step_size_of_weights_that_readers_want(tmp_path):
    files = conv_net(tmp_path)
    graph = fold_affine(load_graph(files.model, files.weights)).graph
    text = record_text(Quantizer(graph), Plan.of({"pool": INT8}))
    lines = re.findall(r"^    (\w+: .*)", text, re.MULTILINE)
    assert lines[2:] == ["scale_w: 1.0", "offset_w: 0", "channels: 8", "height: 12", "width: 12", "skip_fusion: false"]
    assert len(lines) == 8


def test_a_layer_behind_an_unknown_one():
    nodes = (
        Node("odd", Opaque("Odd", "not known"), ("x",), ("o",)),
        Node("fc", InnerProduct(2, bias_term=False), ("o",), ("y",), ("w",)),
    )
    graph = Graph("net", (Input("x", (1, 3)),), nodes, {"w": np.ones((2, 3), np.float32)}, ("y",))
    text = record_text(Quantizer(graph), Plan.of({"fc": INT8}))
    assert "scale_w" in text
    assert "channels" not in text


activations = st.builds(ActivationQuant, st.floats(2.0**-20, 2.0**20, width=32), st.integers(-128, 127))
books = st.sets(st.integers(-128, 127), min_size=1, max_size=16).map(lambda levels: tuple(sorted(levels)))
forms = st.one_of(
    st.builds(lambda activation: LayerPlan(Precision.INT8, activation=activation), activations),
    st.builds(lambda book, activation: LayerPlan(Precision.NUQ, book, 16, activation), books, activations),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["conv", "fc1", "fc2"]), forms, min_size=1))
def test_what_is_written_reads_back_to_the_last_bit(tmp_path, layers):
    quantizer = Quantizer(network())
    path = tmp_path / "record.txt"
    path.write_text(record_text(quantizer, Plan.of(layers)))
    found = {entry.key: entry.value for entry in read_record(path).record}
    assert list(found) == list(layers)
    for name, layer in layers.items():
        value = found[name]
        assert (value.scale_d, value.offset_d) == (layer.activation.scale, layer.activation.offset)
        np.testing.assert_array_equal(np.float32(value.scale_w), quantizer.integers(name, layer.activation).scales)
        assert len(value.scale_w) == len(value.offset_w)
    path.write_text(text_format.MessageToString(read_record(path)))
    assert path.read_text() == record_text(quantizer, Plan.of(layers))


def test_records_of_others_are_read(tmp_path):
    """The published sample has neither shift_bit nor shapes for every layer, and comments are allowed."""
    path = tmp_path / "record.txt"
    path.write_text('# made elsewhere\nrecord { key: "conv1" value { scale_d: 1.0745 offset_d: -14 scale_w: 0.5 } }\n')
    (entry,) = read_record(path).record
    assert (entry.key, entry.value.offset_d, list(entry.value.cluster)) == ("conv1", -14, [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"layer { }", r"is no quantization factor record: 1:1 : .*no field named \"layer\""),
        (b'record { key: "a" value { scale_d: x } }', "is no quantization factor record: 1:"),
        (b"\xff\xfe", "is no quantization factor record: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_files_that_are_no_record(tmp_path, content, message):
    path = tmp_path / "record.txt"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"^{re.escape(str(path))}: {message}"):
        read_record(path)


def test_a_record_that_is_not_there(tmp_path):
    with pytest.raises(FormatError) as found:
        read_record(tmp_path / "none.txt")
    assert str(found.value) == f"{tmp_path / 'none.txt'}: cannot be read: No such file or directory"


def test_the_line_of_nuq_layers():
    plan = Plan.of({"conv1": NUQ, "pool": INT8, "conv2_2/x1": NUQ, "fc;": NUQ})
    assert nuq_layers_text(plan, {"fc;": "fc_", "pool": "other"}) == "conv1;conv2_2/x1;fc_\n"
    assert nuq_layers_text(Plan.of({"conv1": INT8}), {}) == "\n"


def attributes(holder):
    """The attributes of an operator or an output by key; each key comes once."""
    found = {item["key"]: item["value"] for item in holder["attr"]}
    assert len(found) == len(holder["attr"])
    return found


def test_the_information_file(tmp_path):
    files = conv_net(tmp_path)
    fold = fold_affine(load_graph(files.model, files.weights))
    plan = Plan.of({"conv1": INT8, "conv2": NUQ, "pool": INT8})
    content = json.loads(information_text(Quantizer(fold.graph).apply(plan), fold.folded))
    assert list(content) == ["graph"]
    (graph,) = content["graph"]
    assert graph["name"] == "small"
    assert [op["id"] for op in graph["op"]] == list(range(len(graph["op"])))
    assert [(op["name"], op["type"], op["input"]) for op in graph["op"]] == [
        ("data", "Input", []),
        ("conv1_0_quant_layer", "Quant", ["data:0"]),
        ("conv1", "Convolution", ["conv1_0_quant_layer:0"]),
        ("conv1_dequant_layer", "DeQuant", ["conv1:0"]),
        ("relu1", "ReLU", ["conv1_dequant_layer:0"]),
        ("conv2_0_quant_layer", "Quant", ["relu1:0"]),
        ("conv2", "Convolution", ["conv2_0_quant_layer:0"]),
        ("conv2_dequant_layer", "DeQuant", ["conv2:0"]),
        ("sum", "Eltwise", ["relu1:0", "conv2_dequant_layer:0"]),
        ("relu2", "ReLU", ["sum:0"]),
        ("pool_0_quant_layer", "Quant", ["relu2:0"]),
        ("pool", "Pooling", ["pool_0_quant_layer:0"]),
        ("pool_dequant_layer", "DeQuant", ["pool:0"]),
        ("fc", "InnerProduct", ["pool_dequant_layer:0"]),
        ("prob", "Softmax", ["fc:0"]),
    ]
    by_name = {op["name"]: op for op in graph["op"]}
    originals = {name: attributes(op)["_datadump_original_op_names"]["list"] for name, op in by_name.items()}
    assert {names["val_type"] for names in originals.values()} == {1}
    whole = ["conv1", "bn1", "scale1"]
    parts = {"conv1": whole, "conv2": ["conv2"], "pool": ["pool"]}
    for layer, names in parts.items():
        for part in (f"{layer}_0_quant_layer", layer, f"{layer}_dequant_layer"):
            assert originals.pop(part)["s"] == names
    assert {name: names["s"] for name, names in originals.items()} == {name: [name] for name in originals}


def pairs(content):
    """Reads the file as its reader does: original layer -> the layer here whose output is to equal the original's.

    Written from docs/formats.md alone: an output with an origin is compared with the original of that name; what has originals but no origin is
    part of the way there, and types of outputs tell how its dump is read.
    """
    found, stages = {}, {}
    for op in content["graph"][0]["op"]:
        names = attributes(op)["_datadump_original_op_names"]["list"].get("s", [])
        for output in op["output_desc"]:
            told = attributes(output)
            if "_datadump_origin_name" in told:
                origin = told["_datadump_origin_name"]["s"]
                assert origin == names[-1]
                assert told["_datadump_origin_output_index"] == {"i": op["output_desc"].index(output)}
                assert told["_datadump_origin_format"] == {"s": "NCHW"}
                found.setdefault(origin, []).append(op["name"])
            stages.setdefault(tuple(names), []).append((op["type"], output.get("dtype")))
    return found, stages


def test_a_reader_of_the_information_file_pairs_every_quantized_layer_with_its_originals(tmp_path):
    files = conv_net(tmp_path)
    fold = fold_affine(load_graph(files.model, files.weights))
    plan = Plan.of({"conv1": INT8, "conv2": NUQ, "pool": INT8})
    found, stages = pairs(json.loads(information_text(Quantizer(fold.graph).apply(plan), fold.folded)))
    assert found == {
        "scale1": ["conv1_dequant_layer"],
        "conv2": ["conv2_dequant_layer"],
        "pool": ["pool_dequant_layer"],
        **{name: [name] for name in ("data", "relu1", "sum", "relu2", "fc", "prob")},
    }
    for names, kind in (
        (("conv1", "bn1", "scale1"), "Convolution"),
        (("conv2",), "Convolution"),
        (("pool",), "Pooling"),
    ):
        assert stages[names] == [("Quant", "DT_INT8"), (kind, "DT_INT32"), ("DeQuant", "DT_FLOAT16")]


def test_a_quant_layer_that_several_layers_share_stands_for_none(tmp_path):
    text = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" inner_product_param { num_output: 3 bias_term: false } }
layer { name: "b" type: "InnerProduct" bottom: "data" top: "b" inner_product_param { num_output: 3 bias_term: false } }
"""
    rng = np.random.default_rng(0)
    files = write_net(tmp_path, text, {name: [rng.normal(size=(3, 4))] for name in ("a", "b")})
    quantized = Quantizer(load_graph(files.model, files.weights)).apply(Plan.of({"a": INT8, "b": INT8}))
    content = json.loads(information_text(quantized, {}))
    found, stages = pairs(content)
    assert found == {"data": ["data"], "a": ["a_dequant_layer"], "b": ["b_dequant_layer"]}
    assert stages[()] == [("Quant", "DT_INT8")]
    (quant,) = (op for op in content["graph"][0]["op"] if op["type"] == "Quant")
    assert attributes(quant)["_datadump_original_op_names"] == {"list": {"val_type": 1}}
