"""Dumps of every layer's output, judged by real Caffe run from the beginning to each layer, and by a reader of the information file."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format

import nuqconv
from nuqconv.errors import ConfigError, ModelError, OutputError, UnsupportedError
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.runtimes.caffe import Net
from tests.support.deep_net import deep_net
from tests.support.nets import write_net

STAMP = 1234567890123456
LENET = Path(__file__).resolve().parents[2] / "examples" / "lenet"


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return deep_net(tmp_path_factory.mktemp("deep"), blocks=3)


@pytest.fixture(scope="module")
def model(net):
    return (net.model, net.weights)


@pytest.fixture(scope="module")
def inputs():
    return {"data": np.random.default_rng(5).standard_normal((2, 3, 8, 8)).astype(np.float32)}


def expected_in_caffe(model, inputs, process):
    """Each layer's tops just after it has run: the net is run from the beginning for each of them."""
    found = {}
    with Net(*model, process=process) as caffe:
        for layer in caffe.layers:
            if layer.type in ("Input", "Split"):
                continue
            made = caffe.run(inputs, layer.tops, end=layer.name)
            for index, top in enumerate(layer.tops):
                found[f"{re.sub('[/.]', '_', layer.name)}.{index}.{STAMP}.npy"] = made[top]
    return found


def loaded(folder):
    return {path.name: np.load(path) for path in sorted(folder.iterdir())}


def test_states_of_blobs_are_those_of_real_caffe_layer_by_layer(model, inputs, caffe_process, tmp_path):
    before = [path.read_bytes() for path in model]
    dumped = nuqconv.dump(model, tmp_path / "d", data=inputs, runtime="caffe", timestamp=STAMP, process=caffe_process)
    found = loaded(tmp_path / "d")
    expected = expected_in_caffe(model, inputs, caffe_process)
    assert np.array_equal(found.pop(f"data.0.{STAMP}.npy"), inputs["data"])
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    # Layers in place: four states of one blob, all of them different.
    states = [found[f"b1_{name}.0.{STAMP}.npy"] for name in ("a", "a_bn", "a_scale", "a_relu")]
    assert len({array.tobytes() for array in states}) == len(states)
    assert {top.blob for top in dumped.tops if top.layer.startswith("b1/a")} == {"b1/a"}
    assert [top.index for top in dumped.tops if top.layer == "slice"] == [0, 1]
    assert [path.read_bytes() for path in model] == before


def test_onnxruntime_gives_the_same_states(model, inputs, caffe_process, tmp_path):
    nuqconv.dump(model, tmp_path / "d", data=inputs, runtime="onnxruntime", timestamp=STAMP)
    found = loaded(tmp_path / "d")
    del found[f"data.0.{STAMP}.npy"]
    expected = expected_in_caffe(model, inputs, caffe_process)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=1e-5 * max(1, float(np.abs(array).max())))


VIEWS = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
layer { name: "pow" type: "Power" bottom: "data" top: "pow" power_param { scale: -2 } }
layer { name: "flat" type: "Flatten" bottom: "pow" top: "flat" }
layer { name: "cut" type: "ReLU" bottom: "flat" top: "flat" }
layer { name: "again" type: "Power" bottom: "flat" top: "flat" power_param { shift: 3 } }
"""


def test_memory_that_layers_share_is_read_before_it_is_overwritten(tmp_path, caffe_process):
    files = write_net(tmp_path, VIEWS, {})
    x = {"data": np.random.default_rng(1).standard_normal((2, 3, 4, 4)).astype(np.float32)}
    nuqconv.dump(
        (files.model, files.weights), tmp_path / "d", data=x, runtime="caffe", timestamp=7, process=caffe_process
    )
    found = loaded(tmp_path / "d")
    # The input layer has its own name, which is not its blob's.
    assert sorted(found) == ["again.0.7.npy", "cut.0.7.npy", "flat.0.7.npy", "in.0.7.npy", "pow.0.7.npy"]
    doubled = -2 * x["data"]
    assert np.array_equal(found["pow.0.7.npy"], doubled)
    assert np.array_equal(found["flat.0.7.npy"], doubled.reshape(2, 48))
    assert np.array_equal(found["cut.0.7.npy"], np.maximum(doubled, 0).reshape(2, 48))
    assert np.array_equal(found["again.0.7.npy"], np.maximum(doubled, 0).reshape(2, 48) + 3)


def test_an_onnx_model_is_dumped_by_its_nodes(model, inputs, tmp_path):
    target = tmp_path / "net.onnx"
    nuqconv.convert(*model, target)
    dumped = nuqconv.dump(target, tmp_path / "d", data=inputs, timestamp=7)
    nodes = onnx.load(target).graph.node
    assert [(top.layer, top.index) for top in dumped.tops[1:]] == [
        (node.name, index) for node in nodes for index in range(len(node.output))
    ]
    assert dumped.runtime.startswith("onnxruntime")


def read_information(text: str, float_dumps: Path, quantized_dumps: Path) -> dict[str, tuple[list[str], float]]:
    """A reader of the information file, after the description of the format alone.

    Returns:
        For each layer whose output equals that of original layers: these, and the cosine of both dumps.
    """
    found = {}
    operators = json.loads(text)["graph"][0]["op"]
    attributes = [{item["key"]: item["value"] for item in op["attr"]} for op in operators]
    for op, told in zip(operators, attributes, strict=True):
        originals = told["_datadump_original_op_names"]["list"].get("s", [])
        for index, output in enumerate(op["output_desc"]):
            origin = {item["key"]: item["value"] for item in output.get("attr", [])}
            if "_datadump_origin_name" not in origin:
                continue
            name, number = origin["_datadump_origin_name"]["s"], origin["_datadump_origin_output_index"]["i"]
            assert origin["_datadump_origin_format"]["s"] == "NCHW"
            assert name == originals[-1]
            one = find_dump(float_dumps, name, number)
            two = find_dump(quantized_dumps, op["name"], index)
            found[op["name"]] = (originals, cosine(one, two))
    return found


def find_dump(folder: Path, layer: str, index: int):
    name = layer.replace("/", "_").replace(".", "_")
    (path,) = (
        path for path in folder.iterdir() if re.fullmatch(rf"{re.escape(name)}\.{index}\.[0-9]+\.npy", path.name)
    )
    return np.load(path)


def cosine(one, two) -> float:
    a, b = one.astype(np.float64).ravel(), two.astype(np.float64).ravel()
    assert a.size == b.size
    return float(a @ b) / (float(np.linalg.norm(a)) * float(np.linalg.norm(b)))


@pytest.fixture(scope="module", params=["lenet", "residual"])
def quantized(request, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "lenet":
        source = (LENET / "deploy.prototxt", LENET / "lenet.caffemodel")
        with np.load(LENET / "calibration.npz") as arrays:
            data = {"data": (arrays["data"][:32] * arrays["scale"]).astype(np.float32)}
    else:
        source = model
        data = {"data": np.random.default_rng(9).standard_normal((32, 3, 8, 8)).astype(np.float32)}
    result = nuqconv.quantize(
        source, {"conv1": 16, "*": "int8"} if request.param == "lenet" else {"*": "int8"}, data=data
    )
    result.save(folder / "net")
    return source, {"data": data["data"][:2]}, folder


@pytest.mark.parametrize("form", ["deploy", "fake_quant"])
def test_a_reader_pairs_every_quantized_layer_with_its_originals(quantized, caffe_process, form):
    source, data, folder = quantized
    paths = (folder / f"net_{form}_model.prototxt", folder / f"net_{form}_weights.caffemodel")
    # A deploy model does not run in Caffe.
    runtime = "onnxruntime" if form == "deploy" else "caffe"
    nuqconv.dump(source, folder / f"float_{form}", data=data, runtime="caffe", process=caffe_process)
    nuqconv.dump(paths, folder / f"dumps_{form}", data=data, runtime=runtime, process=caffe_process)
    text = (folder / "net_quant.json").read_text()
    pairs = read_information(text, folder / f"float_{form}", folder / f"dumps_{form}")
    layers = {op["name"] for op in json.loads(text)["graph"][0]["op"] if op["type"] == "DeQuant"}
    assert layers <= pairs.keys()
    assert all(similarity > 0.99 for _, similarity in pairs.values()), pairs
    if "lenet" in str(source[0]):
        assert {pairs[name][0][0] for name in layers} == {"conv1", "conv2", "ip1", "ip2"}
    else:
        wanted = {"stem", "fc", *(f"b{k}/{part}" for k in (1, 2, 3) for part in "ab")}
        assert {pairs[name][0][0] for name in layers} == wanted
        assert pairs["b1/a_dequant_layer"][0] == ["b1/a", "b1/a_bn", "b1/a_scale"]


def test_integers_of_a_deploy_model_are_integers(quantized):
    _, data, folder = quantized
    paths = (folder / "net_deploy_model.prototxt", folder / "net_deploy_weights.caffemodel")
    dumped = nuqconv.dump(paths, folder / "integers", data=data, runtime="onnxruntime")
    kinds = {top.layer: top.dtype for top in dumped.tops}
    types = {op["name"]: op for op in json.loads((folder / "net_quant.json").read_text())["graph"][0]["op"]}
    names = {"int8": "DT_INT8", "int32": "DT_INT32"}
    for layer, op in types.items():
        told = op["output_desc"][0].get("dtype") if op["output_desc"] else None
        if told in names.values():
            assert names[kinds[layer]] == told
    net = text_format.Parse(paths[0].read_text(), NetParameter())
    quant = next(layer for layer in net.layer if layer.type == "Quant")
    offset = int.from_bytes(quant.quant_param.offset, "little", signed=True)
    x = next(np.load(top.file) for top in dumped.tops if top.blob == quant.bottom[0])
    found = next(np.load(top.file) for top in dumped.tops if top.layer == quant.name)
    wanted = np.clip(np.rint(x * np.float32(quant.quant_param.scale)) + offset, -128, 127)
    assert np.array_equal(found, wanted)
    assert np.ptp(found.astype(int)) > 128


def text_with(*names):
    layers = ['layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }']
    return "\n".join(
        [*layers, *(f'layer {{ name: "{name}" type: "Power" bottom: "data" top: "{name}_out" }}' for name in names)]
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a/b", "a.b"), r"layers 'a/b' and 'a.b' would have one file, a_b.0.7.npy"),
        (("a b", "c"), "layer 'a b': its name may have letters"),
    ],
)
def test_layers_that_the_comparator_cannot_tell_apart_are_refused(tmp_path, names, message):
    files = write_net(tmp_path, text_with(*names), {})
    with pytest.raises(UnsupportedError, match=message):
        nuqconv.dump((files.model, files.weights), tmp_path / "d", runtime="onnxruntime", timestamp=7)
    assert not (tmp_path / "d").exists()


def test_all_files_or_none(model, inputs, tmp_path, monkeypatch):
    nuqconv.dump(model, tmp_path / "d", data=inputs, runtime="onnxruntime", timestamp=7)
    before = {path: path.read_bytes() for path in (tmp_path / "d").iterdir()}
    again = nuqconv.dump(model, tmp_path / "e", data=inputs, runtime="onnxruntime", timestamp=7)
    assert {path.name: data for path, data in before.items()} == {
        top.file.name: top.file.read_bytes() for top in again.tops
    }
    written = []
    whole = np.lib.format.write_array

    def full(file, *args, **options):
        if len(written) == 3:
            raise OSError(28, os.strerror(28), file.name)
        written.append(file.name)
        whole(file, *args, **options)

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OutputError, match="No space left"):
        nuqconv.dump(model, tmp_path / "d", data={"data": 2 * inputs["data"]}, runtime="onnxruntime", timestamp=7)
    assert {path: path.read_bytes() for path in (tmp_path / "d").iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"timestamp": 10**16}, ConfigError, "at most 16 digits"),
        ({"samples": 3}, ConfigError, "for a data set"),
        ({"data": {"other": np.zeros((2, 3, 8, 8))}, "runtime": "onnxruntime"}, ModelError, "'data' is missing"),
        ({"runtime": "opencv"}, UnsupportedError, "does not promise"),
        ({"runtime": "none"}, ConfigError, "is not known"),
    ],
)
def test_wrong_usage(model, tmp_path, arguments, error, message):
    if arguments.get("runtime") == "opencv":
        pytest.importorskip("cv2")
    with pytest.raises(error, match=message):
        nuqconv.dump(model, tmp_path / "d", **arguments)
    assert not (tmp_path / "d").exists()
