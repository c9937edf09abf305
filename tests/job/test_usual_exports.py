"""ONNX models as exporters write them, at batch 1 and open, with default options to deploy files; onnxruntime on the exports judges real Caffe."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

import nuqconv
from nuqconv.frontends.caffe import load_graph
from nuqconv.quantize.capability import quantized_parts
from nuqconv.runtimes.caffe import Net
from tests.support.exports import EXPORTS, export, shapes

SAMPLES = 4
OPEN = ("yolo_v8", "vit", "swin", "unet")
"""Those that are tried with an open batch too; every second is enough for a run of all tests."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "batch"), [*((name, 1) for name in EXPORTS), *((name, "batch") for name in OPEN)])
def test_default_options_lead_to_deploy_files(tmp_path, name, batch, caplog):
    model = export(name, batch)
    onnx.save(model, tmp_path / "model.onnx")
    pictures = np.random.default_rng(1).standard_normal(shapes(model, SAMPLES)).astype(np.float32)
    result = nuqconv.auto(
        tmp_path / "model.onnx", data={"images": pictures}, metric="output_error", max_error=0.5, save=tmp_path / "net"
    )
    products = [node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")]
    stored = {item.name for item in model.graph.initializer}
    assert len(result.layers) == sum(node.input[1] in stored for node in products)
    assert not [note for note in result.notes if "no Caffe models" in note]
    assert "errors of layers are not" not in caplog.text
    deploy = load_graph(tmp_path / "net_deploy_model.prototxt", tmp_path / "net_deploy_weights.caffemodel")
    assert [item.shape for item in deploy.inputs] == [tuple(shapes(model, 1 if batch == 1 else SAMPLES))]
    assert quantized_parts(deploy)
    assert set(deploy.outputs) == {item.name for item in model.graph.output}


@pytest.mark.caffe
@pytest.mark.parametrize("name", EXPORTS)
def test_real_caffe_computes_what_onnxruntime_does(tmp_path, name, caffe_process):
    model = export(name, 1)
    onnx.save(model, tmp_path / "model.onnx")
    nuqconv.convert(tmp_path / "model.onnx", tmp_path / "net.prototxt")
    picture = np.random.default_rng(2).standard_normal(shapes(model, 1)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = dict(
        zip((item.name for item in session.get_outputs()), session.run(None, {"images": picture}), strict=True)
    )
    with Net(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", process=caffe_process) as net:
        found = net.run({"images": picture}, list(expected))
    for output, array in expected.items():
        assert found[output].shape == array.shape
        assert np.abs(found[output] - array).max() <= 1e-5 * np.abs(array).max()


@pytest.mark.parametrize("name", ["yolo_v5", "nanodet", "retinaface", "yolo_v8", "unet"])
def test_the_batch_of_a_file_can_be_opened(tmp_path, name):
    model = export(name, 1)
    onnx.save(model, tmp_path / "model.onnx")
    nuqconv.convert(tmp_path / "model.onnx", tmp_path / "open.onnx", dynamic_batch=True)
    pictures = np.random.default_rng(3).standard_normal(shapes(model, 3)).astype(np.float32)
    one, several = (onnxruntime.InferenceSession(tmp_path / f"{stem}.onnx") for stem in ("model", "open"))
    names = [item.name for item in one.get_outputs()]
    wanted = [one.run(names, {"images": pictures[n : n + 1]}) for n in range(3)]
    for number, array in enumerate(several.run(names, {"images": pictures})):
        np.testing.assert_allclose(array, np.concatenate([item[number] for item in wanted]), rtol=1e-4, atol=1e-4)


@pytest.mark.caffe
@pytest.mark.parametrize("name", ["vit", "swin"])
def test_quantized_transformers_in_real_caffe_and_onnxruntime(tmp_path, name, caffe_process):
    model = export(name, 1)
    onnx.save(model, tmp_path / "model.onnx")
    pictures = np.random.default_rng(4).standard_normal(shapes(model, 3)).astype(np.float32)
    result = nuqconv.quantize(tmp_path / "model.onnx", {"*": 16}, data={"images": pictures})
    assert len(result.layers) == 10
    result.save(tmp_path / "net")
    output = model.graph.output[0].name
    judge = onnxruntime.InferenceSession(tmp_path / "net_fake_quant_model.onnx").run([output], {"images": pictures[:1]})
    with Net(
        tmp_path / "net_fake_quant_model.prototxt",
        tmp_path / "net_fake_quant_weights.caffemodel",
        process=caffe_process,
    ) as net:
        found = net.run({"images": pictures[:1]}, [output])[output]
    np.testing.assert_allclose(found, judge[0], atol=1e-5 * np.abs(judge[0]).max())
