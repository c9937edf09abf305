"""The models of published packages: loading, folding, writing and quantizing them, in every runtime that has their layers."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

import nuqconv
from nuqconv.backends.caffe import Style, write_caffe
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.weights import blob_array, read_weights
from nuqconv.ir.ops import Opaque
from nuqconv.passes import fold_affine
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.plan import Precision
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from photos import EVALUATION, photos
from tests.support.detections import assert_same_detections, in_caffes_order
from tests.support.packages import real_files
from tests.support.plans import strongest_plan

pytestmark = pytest.mark.package


def _images(name, count=1):
    if name == "nsfw":
        return photos(EVALUATION, 224, count)[:, ::-1] - np.array([104, 117, 123], np.float32).reshape(1, 3, 1, 1)
    if name == "super_resolution":
        return photos(EVALUATION, 224, count).mean(axis=1, keepdims=True) / np.float32(255)
    return (photos(EVALUATION, 300, count)[:, ::-1] - np.float32(127.5)) * np.float32(0.007843)


def _computable(graph):
    """Values that no Opaque node stands in front of."""
    return [name for name, shape in graph.shapes.items() if shape is not None and name in graph.producer]


@pytest.mark.slow
def test_nsfw_is_quantized_without_a_search(tmp_path):
    """All layers that can be at 16 levels: each has no more, and the answers stay near the float net's."""
    files = real_files("nsfw")
    images = _images("nsfw", 8)
    result = nuqconv.quantize(files, {"*": 16}, data={"data": images}, batch_size=4)
    written = result.save(tmp_path / "nsfw")
    found = [layer for layer in result.layers if layer.precision is Precision.NUQ]
    assert len(found) == len(result.layers) == 54
    stored = read_weights(written.deploy_weights).layers
    for layer in found:
        assert len(np.unique(blob_array(stored[layer.name].blobs[0]))) <= 16, layer.name
    assert written.nuq_layer_record.read_text().strip() == ";".join(layer.name for layer in found)
    # 4 bits of 32 for each weight, and step sizes and biases.
    assert 0.125 < result.sizes.bytes / result.sizes.float_bytes < 0.15
    exact = OnnxSession(load_graph(*files)).run({"data": images})["prob"]
    assert np.abs(result.run(images)["prob"] - exact).max() < 0.2


@pytest.mark.caffe
@pytest.mark.parametrize("name", ["nsfw", "super_resolution"])
def test_float_model_gives_real_caffes_blobs(name, caffe_python):
    """Every blob that real Caffe still holds at the end, folded away layers included."""
    files = real_files(name)
    graph = load_graph(*files)
    data = _images(name)
    final = [value for value in _computable(graph) if graph.storage_name(value) == value]
    found = OnnxSession(graph, outputs=final).run({"data": data})
    with Net(*files, python=caffe_python) as net:
        expected = net.run({"data": data}, final)
    for value in final:
        scale = np.abs(expected[value]).max()
        np.testing.assert_allclose(found[value], expected[value], rtol=1e-3, atol=2e-5 * scale, err_msg=value)


@pytest.mark.parametrize("name", ["mobilenet_ssd", "super_resolution"])
def test_float_model_gives_opencvs_outputs(name):
    cv2 = pytest.importorskip("cv2")
    files = real_files(name)
    graph = load_graph(*files)
    outputs = ["mbox_loc", "mbox_conf_flatten"] if name == "mobilenet_ssd" else list(graph.outputs)
    data = _images(name)
    found = OnnxSession(graph, outputs=outputs).run({"data": data})
    net = cv2.dnn.readNetFromCaffe(*map(str, files))
    net.setInput(data)
    for value, expected in zip(outputs, net.forward(outputs), strict=True):
        np.testing.assert_allclose(
            found[value], expected.reshape(found[value].shape), rtol=1e-3, atol=1e-4 * np.abs(expected).max()
        )


@pytest.mark.parametrize("name", ["nsfw", "mobilenet_ssd"])
def test_folding_changes_nothing(name):
    """Against the unfolded graph in onnxruntime, which the tests above hold against real Caffe and OpenCV."""
    graph = load_graph(*real_files(name))
    folded = fold_affine(graph)
    assert len(folded.folded) == {"nsfw": 53, "mobilenet_ssd": 35}[name]
    assert not {"BatchNorm", "Scale"} & {node.op.kind for node in folded.graph.nodes}
    outputs = ["mbox_loc", "mbox_conf_flatten"] if name == "mobilenet_ssd" else list(graph.outputs)
    data = _images(name)
    before, after = (OnnxSession(one, outputs=outputs).run({"data": data}) for one in (graph, folded.graph.verify()))
    for value in outputs:
        np.testing.assert_allclose(after[value], before[value], rtol=1e-3, atol=1e-4 * np.abs(before[value]).max())


@pytest.mark.parametrize("name", ["nsfw", "super_resolution", "mobilenet_ssd"])
def test_quantized_models_agree_in_every_runtime(name, tmp_path, caffe_python):
    """Up to the last float operation after the last quantized layer, which is not exact in any runtime."""
    graph = fold_affine(load_graph(*real_files(name))).graph
    data = _images(name)
    quantizer = Quantizer(graph)
    plan = strongest_plan(quantizer, {"data": data})
    quantized = quantizer.apply(plan)
    outputs = ["mbox_loc", "mbox_conf_flatten"] if name == "mobilenet_ssd" else list(graph.outputs)
    files = {style: (tmp_path / f"{style.value}.prototxt", tmp_path / f"{style.value}.caffemodel") for style in Style}
    for style, (model, weights) in files.items():
        write_caffe(quantized, model, weights, style)
    found = {
        "integers": OnnxSession(quantized, outputs=outputs, integer=True).run({"data": data}),
        "deploy read back": OnnxSession(load_graph(*files[Style.DEPLOY]), outputs=outputs, integer=True).run(
            {"data": data}
        ),
        "fake_quant read back": OnnxSession(load_graph(*files[Style.FAKE_QUANT]), outputs=outputs).run({"data": data}),
    }
    if name != "mobilenet_ssd":
        with Net(*files[Style.FAKE_QUANT], python=caffe_python) as net:
            found["real Caffe"] = net.run({"data": data}, outputs)
    expected = OnnxSession(quantized, outputs=outputs).run({"data": data})
    for runtime, arrays in found.items():
        for value in outputs:
            np.testing.assert_allclose(
                arrays[value], expected[value], rtol=1e-4, atol=1e-6, err_msg=f"{runtime}: {value}"
            )
    deploy = load_graph(*files[Style.DEPLOY])
    for layer, chosen in plan.items():
        if chosen.precision is Precision.NUQ:
            assert len(np.unique(deploy.params[deploy.node[layer].params[0]])) <= 16, layer


def test_detection_layers_are_written_back_to_the_letter(tmp_path):
    files = real_files("mobilenet_ssd")
    graph = load_graph(*files)
    assert not any(isinstance(node.op, Opaque) for node in graph.nodes)
    layers = [node for node in graph.nodes if node.op.kind in {"DetectionOutput", "PriorBox"}]
    assert len(layers) == 7
    source = files[0].read_text()
    quantizer = Quantizer(fold_affine(graph).graph)
    quantized = quantizer.apply(strongest_plan(quantizer, {"data": _images("mobilenet_ssd")}))
    for style in Style:
        write_caffe(quantized, tmp_path / "m.prototxt", tmp_path / "m.caffemodel", style)
        text = (tmp_path / "m.prototxt").read_text()
        for node in layers:
            assert node.origin.text in source
            assert node.origin.text in text
        again = load_graph(tmp_path / "m.prototxt", tmp_path / "m.caffemodel")
        assert [node for node in again.nodes if node.op.kind in {"DetectionOutput", "PriorBox"}] == layers


@pytest.mark.parametrize("confidence", [0.25, 0.01])
def test_detections_are_opencvs(confidence, tmp_path):
    """The whole net in onnxruntime, on a batch."""
    cv2 = pytest.importorskip("cv2")
    model, weights = real_files("mobilenet_ssd")
    text = model.read_text()
    assert text.count("confidence_threshold: 0.25") == 1
    model = tmp_path / "model.prototxt"
    model.write_text(text.replace("confidence_threshold: 0.25", f"confidence_threshold: {confidence}"))
    data = _images("mobilenet_ssd", 8)
    found = OnnxSession(load_graph(model, weights)).run({"data": data})["detection_out"]
    net = cv2.dnn.readNetFromCaffe(str(model), str(weights))
    net.setInput(data)
    expected = in_caffes_order(net.forward())
    assert len(expected[0, 0]) == (3 if confidence == 0.25 else 83)
    assert_same_detections(found, expected)


def test_detections_of_the_quantized_model_in_opencv(tmp_path):
    """The whole net, DetectionOutput included, runs in OpenCV after quantization to int8."""
    cv2 = pytest.importorskip("cv2")
    graph = fold_affine(load_graph(*real_files("mobilenet_ssd"))).graph
    data = _images("mobilenet_ssd")
    quantizer = Quantizer(graph)
    write_caffe(
        quantizer.apply(strongest_plan(quantizer, {"data": data}, 32)),
        tmp_path / "q.prototxt",
        tmp_path / "q.caffemodel",
    )
    net = cv2.dnn.readNetFromCaffe(str(tmp_path / "q.prototxt"), str(tmp_path / "q.caffemodel"))
    net.enableFusion(False)
    net.setInput(data)
    assert net.forward().shape[-1] == 7


def test_the_inputs_are_not_changed(tmp_path):
    files = real_files("super_resolution")
    before = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files]
    graph = load_graph(*files)
    write_caffe(graph, tmp_path / "m.prototxt", tmp_path / "m.caffemodel")
    assert before == [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files]
