"""Conversion of whole models."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import nuqconv
from nuqconv.backends.caffe import Style, write_caffe
from nuqconv.backends.onnx import MIN_OPSET, newest_opset
from nuqconv.errors import ConfigError, ModelError, OutputError, UnsupportedError
from nuqconv.frontends.caffe.prototxt import read_prototxt
from nuqconv.passes import fold_affine
from nuqconv.quantize.apply import Quantizer
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.support.nets import conv_net, write_net
from tests.support.plans import strongest_plan

ORT = ("onnxruntime", "onnxruntime")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return conv_net(tmp_path_factory.mktemp("net"))


def test_the_signature_of_the_design(files, tmp_path):
    result = nuqconv.convert(files.model, files.weights, tmp_path / "new" / "model.onnx")
    (path,) = result.files
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert model.opset_import[0].version == result.opset == newest_opset()
    assert model.producer_name == "nuqconv"
    props = {item.key: item.value for item in model.metadata_props}
    assert props == {"source_format": "caffe", "source_model": "net.prototxt", "source_weights": "net.caffemodel"}
    assert [item.name for item in model.graph.input] == ["data"]
    assert {"conv1", "conv2", "sum", "pool", "fc", "prob"} <= {
        name for node in model.graph.node for name in node.output
    }
    assert (result.inputs, result.outputs) == ({"data": (2, 3, 12, 12)}, {"prob": (2, 5)})
    graph = nuqconv.load(files.model, files.weights)
    assert sum(result.layers.values()) == len(graph.nodes)
    assert result.layers["Convolution"] == 2
    assert result.parameters == sum(array.size for array in graph.params.values())
    assert result.bytes == path.stat().st_size
    assert result.source_bytes == files.model.stat().st_size + files.weights.stat().st_size
    assert json.loads(result.to_json())["opset"] == result.opset


@pytest.mark.parametrize("opset", range(MIN_OPSET, newest_opset() + 1))
def test_every_opset(files, tmp_path, opset):
    nuqconv.convert(files.model, files.weights, tmp_path / "model.onnx", opset=opset)
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == opset
    assert nuqconv.compare((files.model, files.weights), model, runtimes=ORT).agrees


def test_dynamic_batch_and_shapes(files, tmp_path):
    target = tmp_path / "model.onnx"
    result = nuqconv.convert(files.model, files.weights, target, dynamic_batch=True)
    assert (result.inputs, result.outputs) == ({"data": ("N", 3, 12, 12)}, {"prob": ("N", 5)})
    for batch in (1, 5):
        assert nuqconv.compare(
            (files.model, files.weights),
            target,
            runtimes=ORT,
            options=nuqconv.CompareOptions(input_shapes={"data": (batch, 3, 12, 12)}),
        ).agrees
    result = nuqconv.convert(files.model, files.weights, target, input_shapes={"data": (7, 3, 12, 12)})
    assert result.outputs == {"prob": (7, 5)}
    result = nuqconv.convert(files.model, files.weights, target, outputs=["pool", "sum"])
    assert result.outputs == {"pool": (2, 8, 6, 6), "sum": (2, 8, 12, 12)}
    assert "Softmax" not in result.layers
    with pytest.raises(ModelError, match="fc"):
        nuqconv.convert(files.model, files.weights, target, input_shapes={"data": (1, 3, 30, 20)})
    with pytest.raises(ModelError, match="'image'"):
        nuqconv.convert(files.model, files.weights, target, input_shapes={"image": (1, 3, 30, 20)})


def test_fold(files, tmp_path, caffe_python):
    result = nuqconv.convert(files.model, files.weights, tmp_path / "model.onnx", fold=True)
    assert result.folded == {"conv1": ("bn1", "scale1")}
    assert "BatchNorm" not in result.layers
    model = onnx.load(tmp_path / "model.onnx")
    assert not {"BatchNormalization", "Mul"} & {node.op_type for node in model.graph.node}
    assert nuqconv.compare((files.model, files.weights), model).agrees
    nuqconv.convert(files.model, files.weights, tmp_path / "folded.prototxt", fold=True)
    folded = (tmp_path / "folded.prototxt", tmp_path / "folded.caffemodel")
    assert nuqconv.compare((files.model, files.weights), folded).agrees


def test_caffe_stays_to_the_letter(files, tmp_path, caffe_python):
    result = nuqconv.convert(files.model, files.weights, tmp_path / "out.prototxt", tmp_path / "w.caffemodel")
    assert result.files == (tmp_path / "out.prototxt", tmp_path / "w.caffemodel")
    assert result.opset is None
    before, after = (read_prototxt(path).layers for path in (files.model, result.files[0]))
    assert [layer.text for layer in after[1:]] == [layer.text for layer in before[1:]]
    assert nuqconv.compare((files.model, files.weights), result.files).agrees
    again = nuqconv.convert(*result.files, tmp_path / "again.prototxt")
    assert [path.read_bytes() for path in again.files] == [path.read_bytes() for path in result.files]


OLD = """
name: "old"
input: "data"
input_dim: 1 input_dim: 2 input_dim: 5 input_dim: 5
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" convolution_param { num_output: 3 kernel_size: 3 } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "prob" type: SOFTMAX bottom: "conv" top: "prob" }
"""


def test_an_old_generation_becomes_the_current_one(tmp_path, caffe_python):
    rng = np.random.default_rng(0)
    weights = {"conv": [rng.standard_normal((3, 2, 3, 3)), rng.standard_normal(3)]}
    files = write_net(tmp_path, OLD, weights, "old")
    result = nuqconv.convert(files.model, files.weights, tmp_path / "new.prototxt")
    text = result.files[0].read_text()
    assert "layers" not in text
    assert "input_dim" not in text
    assert 'type: "Convolution"' in text
    assert nuqconv.compare((files.model, files.weights), result.files).agrees


TRAINING = """
name: "train"
layer { name: "images" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "labels" type: "Input" top: "label" input_param { shape { dim: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 4 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def test_a_net_for_training_is_cut(tmp_path, caffe_python):
    rng = np.random.default_rng(0)
    weights = {"fc": [rng.standard_normal((4, 3)), rng.standard_normal(4)]}
    files = write_net(tmp_path, TRAINING, weights, "train")
    result = nuqconv.convert(files.model, files.weights, tmp_path / "model.onnx")
    assert result.layers == {"InnerProduct": 1, "Softmax": 1}
    assert any("loss" in note for note in result.notes)
    caffe = nuqconv.convert(files.model, files.weights, tmp_path / "deploy.prototxt")
    assert "SoftmaxWithLoss" not in caffe.files[0].read_text()
    assert nuqconv.compare(caffe.files, tmp_path / "model.onnx").agrees
    report = nuqconv.compare((files.model, files.weights), tmp_path / "model.onnx")
    assert report.agrees
    assert report.sides[0] == f"real Caffe: {files.model}"
    assert any("loss" in note for note in report.notes)


@pytest.fixture(scope="module")
def deploy(files, tmp_path_factory):
    """A deploy model and its graph."""
    folder = tmp_path_factory.mktemp("deploy")
    quantizer = Quantizer(fold_affine(nuqconv.load(files.model, files.weights)).graph)
    batch = {"data": np.random.default_rng(0).standard_normal((2, 3, 12, 12)).astype(np.float32)}
    quantized = quantizer.apply(strongest_plan(quantizer, batch))
    write_caffe(quantized, folder / "d.prototxt", folder / "d.caffemodel", Style.DEPLOY)
    return (folder / "d.prototxt", folder / "d.caffemodel"), quantized


def test_deploy_to_integers(deploy, tmp_path):
    paths, quantized = deploy
    result = nuqconv.convert(*paths, tmp_path / "model.onnx", integer=True)
    model = onnx.load(result.files[0])
    onnx.checker.check_model(model, full_check=True)
    assert {"ConvInteger", "MatMulInteger"} <= {node.op_type for node in model.graph.node}
    x = np.random.default_rng(0).standard_normal((2, 3, 12, 12)).astype(np.float32)
    ours = OnnxSession(model).run({"data": x})["prob"]
    np.testing.assert_array_equal(ours, OnnxSession(quantized, integer=True).run({"data": x})["prob"])
    assert nuqconv.compare(paths, model, runtimes=ORT, inputs={"data": x}).agrees
    nuqconv.convert(*paths, tmp_path / "float.onnx")
    assert nuqconv.compare(paths, tmp_path / "float.onnx", runtimes=ORT).agrees


def test_deploy_stays_deploy(deploy, tmp_path):
    paths, _ = deploy
    result = nuqconv.convert(*paths, tmp_path / "same.prototxt")
    signature, written = result.files[0].read_bytes().split(b"\n", 1)
    assert signature.startswith(b"# Written by nuqconv.")
    assert [written, result.files[1].read_bytes()] == [path.read_bytes() for path in paths]
    with pytest.raises(UnsupportedError, match="is quantized"):
        nuqconv.convert(*paths, tmp_path / "same.prototxt", fold=True)


def test_all_opaque_layers_at_once(tmp_path):
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "one" type: "NobodyKnows" bottom: "data" top: "one" }
layer { name: "two" type: "AnotherOne" bottom: "one" top: "two" }
"""
    files = write_net(tmp_path, text, {})
    with pytest.raises(UnsupportedError) as found:
        nuqconv.convert(files.model, files.weights, tmp_path / "model.onnx")
    assert len(found.value.problems) == 2
    assert "'one' (NobodyKnows)" in found.value.problems[0]
    assert f"{files.model}:4" in found.value.problems[1]
    assert not (tmp_path / "model.onnx").exists()
    result = nuqconv.convert(files.model, files.weights, tmp_path / "out.prototxt")
    assert len(result.opaque) == 2
    assert result.outputs == {"two": None}
    assert result.layers == {"NobodyKnows": 1, "AnotherOne": 1}


def test_refusals(files, tmp_path):
    onnx_file = tmp_path / "model.onnx"
    with pytest.raises(UnsupportedError, match="opset 12 is not supported: choose one from 13"):
        nuqconv.convert(files.model, files.weights, onnx_file, opset=12)
    with pytest.raises(UnsupportedError, match="has no quantized layers"):
        nuqconv.convert(files.model, files.weights, onnx_file, integer=True)
    for option in ({"opset": 13}, {"dynamic_batch": True}, {"integer": True}):
        with pytest.raises(ConfigError, match=r"belong to \.onnx"):
            nuqconv.convert(files.model, files.weights, tmp_path / "x.prototxt", **option)
    for targets in (("x.tflite",), ("x.onnx", "x.caffemodel"), ("x.prototxt", "x.onnx")):
        with pytest.raises(OutputError, match="expected one file"):
            nuqconv.convert(files.model, files.weights, *(tmp_path / name for name in targets))
    with pytest.raises(ConfigError, match="what is to be written"):
        nuqconv.convert(files.model, files.weights)
    with pytest.raises(ConfigError, match=r"its trained weights .* are missing; give them before .*model\.onnx"):
        nuqconv.convert(files.model, onnx_file)
    nuqconv.save(nuqconv.load(files.model, files.weights), tmp_path / "source.onnx")
    with pytest.raises(ConfigError, match="has no weights file; found"):
        nuqconv.convert(tmp_path / "source.onnx", files.weights, tmp_path / "x.prototxt", tmp_path / "x.caffemodel")
    (tmp_path / "source.onnx").unlink()
    before = files.model.read_bytes()
    with pytest.raises(OutputError, match="is an input of this run"):
        nuqconv.convert(files.model, files.weights, files.model)
    assert files.model.read_bytes() == before
    with pytest.raises(ModelError, match="'nothing'"):
        nuqconv.convert(files.model, files.weights, onnx_file, outputs=["nothing"])
    assert not list(tmp_path.iterdir())
