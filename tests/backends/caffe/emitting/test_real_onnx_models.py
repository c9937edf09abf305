"""Published ONNX models as Caffe models: real Caffe on the written files against onnxruntime on the published file, on photographs."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

import nuqconv
from nuqconv.backends.caffe import Style, write_caffe
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.onnx import read_onnx_model
from nuqconv.frontends.options import ReadOptions
from nuqconv.passes import fold_affine
from nuqconv.quantize.apply import Quantizer
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from photos import EVALUATION, photos
from tests.support.packages import real_file
from tests.support.plans import strongest_plan

pytestmark = [pytest.mark.caffe, pytest.mark.package]


def line_of_text(width):
    """A band of a photograph, as high as a line of text."""
    picture = photos(EVALUATION, width, 1)
    return np.ascontiguousarray(picture[:, :, width // 2 - 24 : width // 2 + 24])


IMAGES = {
    "centerface": lambda: photos(EVALUATION, 320, 1),
    "ocr_cls": lambda: line_of_text(192) / np.float32(127.5) - 1,
    "ocr_det": lambda: photos(EVALUATION, 320, 1) / np.float32(127.5) - 1,
    "ocr_rec": lambda: line_of_text(320) / np.float32(127.5) - 1,
}


def published(path, data):
    """Input name and outputs of the file itself, in onnxruntime."""
    model = onnx.load(path)
    stored = {item.name for item in model.graph.initializer}
    (source,) = [item for item in model.graph.input if item.name not in stored]
    # centerface's file fixes a size that its users never run.
    del source.type.tensor_type.shape.dim[:]
    for size in data.shape:
        source.type.tensor_type.shape.dim.add().dim_value = size
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [item.name for item in session.get_outputs()]
    return source.name, dict(zip(names, session.run(names, {source.name: data}), strict=True))


@pytest.mark.parametrize("name", ["ocr_cls", "ocr_det"])
def test_quantized_they_are_the_same_in_real_caffe(judge, name):
    """No step of a quantization falls another way: what stands between quantized layers is computed as onnxruntime does."""
    data = IMAGES[name]().astype(np.float32)
    source, _ = published(real_file(name), data)
    graph = fold_affine(read_onnx_model(real_file(name), ReadOptions(input_shapes={source: data.shape})).graph).graph
    quantizer = Quantizer(graph)
    quantized = quantizer.apply(strongest_plan(quantizer, {source: data}))
    write_caffe(quantized, judge.model, judge.weights, Style.FAKE_QUANT)
    wanted = OnnxSession(quantized, threads=1).run({source: data})
    with Net(judge.model, judge.weights, process=judge.process) as net:
        found = net.run({source: data})
    for output, array in wanted.items():
        np.testing.assert_allclose(found[output], array, rtol=0, atol=1e-5)
    write_caffe(quantized, judge.model, judge.weights, Style.DEPLOY)
    deployed = OnnxSession(load_graph(judge.model, judge.weights), threads=1).run({source: data})
    for output, array in wanted.items():
        np.testing.assert_allclose(deployed[output], array, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["centerface", "ocr_cls", "ocr_det"])
def test_opencv_runs_the_written_files(tmp_path, name):
    """A reader of Caffe models that nobody here had a hand in; rec has a Bias of two blobs, which OpenCV lacks."""
    data = IMAGES[name]().astype(np.float32)
    source, wanted = published(real_file(name), data)
    graph = read_onnx_model(real_file(name), ReadOptions(input_shapes={source: data.shape})).graph
    files = tmp_path / "m.prototxt", tmp_path / "m.caffemodel"
    nuqconv.save(graph, *files)
    net = cv2.dnn.readNetFromCaffe(*map(str, files))
    net.setInput(data, source)
    found = net.forward(net.getUnconnectedOutLayersNames())
    # OpenCV tells the layers that make the outputs, not their blobs.
    assert len(found) == len(wanted)
    for array in wanted.values():
        assert min(np.abs(other - array).max() for other in found if other.shape == array.shape) < 1e-4


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_real_caffe_gives_onnxruntimes_outputs(judge, name):
    path = real_file(name)
    data = IMAGES[name]().astype(np.float32)
    source, wanted = published(path, data)
    graph = read_onnx_model(path, ReadOptions(input_shapes={source: data.shape})).graph
    nuqconv.save(graph, judge.model, judge.weights)
    with Net(judge.model, judge.weights, process=judge.process) as net:
        assert net.inputs == [source]
        assert set(net.outputs) == set(wanted)
        found = net.run({source: data})
    for output, array in wanted.items():
        np.testing.assert_allclose(found[output], array, rtol=0, atol=1e-4)
    # What is read again has the same layers and computes the same.
    again = load_graph(judge.model, judge.weights)
    assert again.shapes[next(iter(wanted))] == next(iter(wanted.values())).shape
