"""What the device's tools take: names of layers, DeQuant blobs of one value and with shifts, as the original writes them."""

from __future__ import annotations

import re

import numpy as np
import pytest

import nuqconv
from nuqconv.backends.caffe import Style, write_caffe
from nuqconv.backends.caffe.device_names import device_names
from nuqconv.errors import FormatError, ModelError, NuqconvError, UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.frontends.caffe.varint import encode_varints
from nuqconv.frontends.caffe.weights import blob_array, read_weights
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import ReLU
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.support.nets import conv_net, write_net

RNG = np.random.default_rng(5)
DATA = RNG.normal(size=(4, 3, 12, 12)).astype(np.float32)
NAMES = {"conv1": "conv 1", "conv2": "conv;2", "pool": "pool:0", "fc": "fc/1.x-y", "relu2": "ré", "sum": "conv_2"}
WANTED = {"conv 1": "conv_1", "conv;2": "conv_2_2", "ré": "r_", "pool:0": "pool_0"}


@pytest.fixture(scope="module")
def renamed(tmp_path_factory):
    """The small net with names that the device refuses, quantized and saved, and its result."""
    folder = tmp_path_factory.mktemp("renamed")
    files = conv_net(folder)
    net = NetParameter.FromString(files.weights.read_bytes())
    for layer in net.layer:
        layer.name = NAMES.get(layer.name, layer.name)
    files.weights.write_bytes(net.SerializeToString())
    text = files.model.read_text()
    for old, new in NAMES.items():
        text = text.replace(f'name: "{old}"', f'name: "{new}"')
    files.model.write_text(text)
    layers = {"conv 1": 16, "conv;2": 32}
    result = nuqconv.quantize((files.model, files.weights), layers, data={"data": DATA}, batch_size=2, batch_num=2)
    return result, result.save(folder / "out" / "net")


def test_names_that_the_device_refuses_are_replaced(renamed):
    result, files = renamed
    names = re.findall(r'(?<!_)name: "(.*?)"', files.deploy_model.read_text())[1:]
    assert len(names) == len(set(names)) > 15
    assert all(re.fullmatch(r"[A-Za-z0-9./_-]+", name) for name in names), names
    stored = read_weights(files.deploy_weights).layers
    assert {*WANTED.values()} - {"r_"} <= set(stored)
    assert {"conv_1_0_quant_layer", "conv_1_dequant_layer", "conv_2_2_0_quant_layer", "conv_2_2_dequant_layer"} <= set(
        names
    )
    shown = ", ".join(f"'{old}' is '{new}'" for old, new in WANTED.items())
    assert result.notes == (
        f"the device refuses the names of some layers, which the deploy model calls otherwise: {shown}",
    )


def test_blobs_keep_their_names(renamed):
    _, files = renamed
    blobs = set(re.findall(r'(?:top|bottom): "(.*?)"', files.deploy_model.read_text()))
    assert {"data", "conv1", "conv2", "sum", "pool", "fc", "prob"} <= blobs


def test_the_other_files_say_which_layers_are_meant(renamed):
    result, files = renamed
    assert files.nuq_layer_record.read_text() == "conv_1;conv_2_2\n"
    # Keys of the factor record and the fake_quant model belong to the original's names.
    assert 'key: "conv;2"' in files.scale_offset_record.read_text()
    assert 'name: "conv;2"' in files.fake_quant_model.read_text()
    text = files.quant_info.read_text(encoding="utf-8")
    assert '"name": "conv_2_2"' in text
    assert '"conv;2"' in text
    assert list(result.plan) == ["conv 1", "conv;2", "pool:0", "fc/1.x-y"]


def test_the_deploy_model_computes_the_same(renamed):
    result, files = renamed
    again = nuqconv.load(files.deploy_model, files.deploy_weights)
    found = OnnxSession(again).run({"data": DATA})["prob"]
    np.testing.assert_array_equal(found, result.run(DATA)["prob"])


def test_replaced_names_meet_no_other():
    names = ["a:b", "a_b", "a;b", "a_b_2", "", "layer"]
    values = ["x", *names]
    nodes = tuple(
        Node(name, ReLU(), (before,), (f"v{number}",))
        for number, (name, before) in enumerate(zip(names, ["x", *(f"v{i}" for i in range(len(values)))], strict=False))
    )
    graph = Graph("net", (Input("x", (1, 2)),), nodes, {}, (f"v{len(names) - 1}",))
    assert device_names(graph) == {"a:b": "a_b_3", "a;b": "a_b_4"}


def test_inputs_of_an_onnx_model_get_layers_with_such_names(tmp_path):
    graph = Graph("net", (Input("x:0", (1, 2)),), (Node("x_0", ReLU(), ("x:0",), ("y:0",)),), {}, ("y:0",)).verify()
    write_caffe(graph, tmp_path / "d.prototxt", tmp_path / "d.caffemodel", Style.DEPLOY)
    assert re.findall(r'^  (\w+: ".*")', (tmp_path / "d.prototxt").read_text(), re.MULTILINE)[:3] == [
        'name: "x_0_input"',
        'type: "Input"',
        'top: "x:0"',
    ]


TEXT = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 5 dim: 5 } } }
layer { name: "conv_0_quant_layer" type: "Quant" bottom: "data" top: "q" quant_param { scale: 20 offset: "\\003" object_layer: "conv" } }
layer { name: "conv" type: "Convolution" bottom: "q" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "conv_dequant_layer" type: "DeQuant" bottom: "conv" top: "conv"
  dequant_param { channel_wise: %s object_layer: "conv" layer_type: "Convolution" deqscale: 0.5 shift_bit: 0 offset: 0 } }
"""
WEIGHT = RNG.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8)
BIAS = RNG.integers(-9000, 9000, 4).astype(np.int32)
IMAGE = RNG.normal(size=(2, 3, 5, 5)).astype(np.float32) * 4


def original(folder, packed, *, blobs=1):
    """A deploy model as the original writes it, made from the published schema alone."""
    packed = np.asarray(packed, np.uint64)
    files = write_net(folder, TEXT % str(packed.size > 1).lower(), {})
    net = NetParameter()
    conv, dequant = net.layer.add(name="conv"), net.layer.add(name="conv_dequant_layer")
    for array, field in ((WEIGHT, "int8_data"), (BIAS, "int32_data")):
        blob = conv.blobs.add()
        blob.shape.dim.extend(array.shape)
        if field == "int8_data":
            blob.int8_data = array.tobytes()
        else:
            blob.int32_data.extend(array.tolist())
    for _ in range(blobs):
        blob = dequant.blobs.add(uint64_data=encode_varints(packed))
        blob.shape.dim.append(packed.size)
    files.weights.write_bytes(net.SerializeToString())
    return files


def bits(steps, shifts=0, offsets=0):
    packed = np.asarray(steps, "<f4").view("<u4").astype(np.uint64)
    return packed | np.asarray(shifts, np.uint64) << np.uint64(32) | np.asarray(offsets, np.uint64) << np.uint64(40)


def reference(steps, shifts):
    """The published form of what DeQuant does, number by number."""
    quantized = np.clip(np.rint(IMAGE * np.float32(20)) + 3, -128, 127).astype(np.int64) - 3
    found = np.zeros((2, 4, 3, 3))
    for n, c, y, x in np.ndindex(found.shape):
        total = int((quantized[n, :, y : y + 3, x : x + 3] * WEIGHT[c].astype(np.int64)).sum()) + int(BIAS[c])
        shift, step = shifts[c % len(shifts)], np.float32(steps[c % len(steps)])
        if shift:
            units = int(abs(total) / 2**shift + 0.5) * (1 if total >= 0 else -1)
            total = min(max(units, -32768), 32767) * 2**shift
        found[n, c, y, x] = np.float32(total) * step
    return found.astype(np.float32)


@pytest.mark.parametrize(
    ("steps", "shifts"),
    [
        ([0.01], [0]),
        ([0.25], [16]),
        ([0.01], [1]),
        ([0.01, 0.02, 0.03, 0.04], [0]),
        ([0.01, 0.02, 0.03, 0.04], [3, 1, 16, 9]),
    ],
)
@pytest.mark.parametrize("integer", [False, True])
def test_models_of_the_original_are_read(tmp_path, steps, shifts, integer):
    files = original(tmp_path, bits(steps, shifts))
    graph = load_graph(files.model, files.weights)
    found = OnnxSession(graph, integer=integer).run({"data": IMAGE})["conv"]
    np.testing.assert_array_equal(found, reference(steps, shifts))


def test_shifts_are_written_again(tmp_path):
    files = original(tmp_path, bits([0.5], [7]))
    graph = load_graph(files.model, files.weights)
    write_caffe(graph, tmp_path / "d.prototxt", tmp_path / "d.caffemodel", Style.DEPLOY)
    entry = read_weights(tmp_path / "d.caffemodel").layers["conv_dequant_layer"]
    assert blob_array(entry.blobs[0]).tolist() == bits([0.5], [7]).tolist()
    assert not entry.dequant_param.channel_wise
    with pytest.raises(UnsupportedError, match="shifts its sums by 7 bits, which stock layers cannot"):
        write_caffe(graph, tmp_path / "f.prototxt", tmp_path / "f.caffemodel")


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (bits([1.0], [17]), "shifts of 17 bits; either all are 0 or all are 1 to 16"),
        (bits([1.0] * 4, [0, 1, 1, 1]), "shifts of 0, 1 bits"),
        (bits([1.0], 0, 1), "a weight offset that is not 0"),
        (bits([1.0, 2.0]), "needs one step size for each of the channels"),
    ],
)
def test_what_no_dequant_can_hold(tmp_path, packed, words):
    files = original(tmp_path, packed)
    with pytest.raises((FormatError, ModelError)) as caught:
        load_graph(files.model, files.weights)
    assert words in str(caught.value)


def test_a_fake_quant_model_of_the_original_is_refused_by_name(tmp_path):
    files = original(tmp_path, bits([1.0]), blobs=3)
    with pytest.raises(NuqconvError, match="is of a fake_quant model that only the original's own Caffe runs"):
        load_graph(files.model, files.weights)


@pytest.mark.parametrize(("channel_wise", "shape"), [(True, (8,)), (False, (1,))])
def test_one_value_where_there_is_one_step_size(tmp_path, channel_wise, shape):
    files = conv_net(tmp_path)
    plan = Plan.of(
        {
            "conv2": LayerPlan(Precision.INT8, activation=ActivationQuant(0.5, 3), channel_wise=channel_wise),
            "pool": LayerPlan(Precision.INT8, activation=ActivationQuant(0.5, 3)),
            "fc": LayerPlan(Precision.INT8, activation=ActivationQuant(0.25, 3)),
        }
    )
    quantized = Quantizer(load_graph(files.model, files.weights)).apply(plan)
    write_caffe(quantized, tmp_path / "d.prototxt", tmp_path / "d.caffemodel", Style.DEPLOY)
    stored = read_weights(tmp_path / "d.caffemodel").layers
    found = {name: stored[f"{name}_dequant_layer"] for name in plan}
    assert {name: blob_array(entry.blobs[0]).shape for name, entry in found.items()} == {
        "conv2": shape,
        "pool": (1,),
        "fc": (1,),
    }
    assert {name: entry.dequant_param.channel_wise for name, entry in found.items()} == {
        "conv2": channel_wise,
        "pool": False,
        "fc": False,
    }
    again = load_graph(tmp_path / "d.prototxt", tmp_path / "d.caffemodel")
    for name in plan:
        np.testing.assert_array_equal(
            *(graph.params[f"{name}_dequant_layer/0"] for graph in (again, quantized)), err_msg=name
        )


@pytest.mark.parametrize(("factor", "odd"), [(1e-7, True), (1.0, False), (1e9, True)])
def test_step_sizes_that_the_original_takes_otherwise_are_a_note(tmp_path, factor, odd):
    files = conv_net(tmp_path)
    config = {"version": 1, "batch_num": 1, "conv1": {}}
    result = nuqconv.quantize((files.model, files.weights), config=config, data={"data": DATA * factor}, batch_size=4)
    step = result.plan["conv1"].activation.scale
    note = (
        "the inputs of some layers have step sizes outside of 1.2e-07 to 8.4e+06, which the original takes for 1 or refuses: "
        f"conv1 ({step:.3g})"
    )
    assert result.notes == ((note,) if odd else ())
