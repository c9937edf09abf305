"""`convert_model`: both models from factors that a user wrote."""

from __future__ import annotations

import numpy as np
import pytest

import nuqconv
from nuqconv import compat
from nuqconv.errors import ConfigError, UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.weights import blob_array, read_weights
from nuqconv.passes import fold_affine
from nuqconv.runtimes.caffe import Net
from tests.support.nets import conv_net

DATA = np.random.default_rng(0).normal(size=(4, 3, 12, 12)).astype(np.float32)


def record(**layers: str) -> str:
    return "".join(f'record {{ key: "{name}" value {{ {value} }} }}\n' for name, value in layers.items())


@pytest.fixture
def net(tmp_path):
    files = conv_net(tmp_path)
    return (files.model, files.weights)


def convert(net, folder, text):
    (folder / "record.txt").write_text(text)
    return compat.convert_model(*net, folder / "record.txt", folder / "out" / "net")


def test_the_numbers_are_those_of_the_record(net, tmp_path, caffe_process):
    """Against plain numpy for the deploy model, and real Caffe for the other."""
    many = " ".join(f"scale_w: {0.01 + 0.001 * i} offset_w: 0" for i in range(8))
    files = convert(
        net,
        tmp_path,
        record(
            conv1=f"scale_d: 0.05 offset_d: 3 {many} channels: 3 height: 12 width: 12",
            pool="scale_d: 0.25 offset_d: -128 scale_w: 1.0 offset_w: 0",
            fc="scale_d: 0.5 offset_d: 0 scale_w: 0.002 offset_w: 0 skip_fusion: true",
        ),
    )
    assert sorted(files.present()) == sorted(
        ["fake_quant_model", "fake_quant_weights", "deploy_model", "deploy_weights", "nuq_layer_record", "quant_info"]
    )
    folded = fold_affine(load_graph(*net)).graph
    stored = read_weights(files.deploy_weights).layers
    scales = np.float32([0.01 + 0.001 * i for i in range(8)])
    for name, scale_d, scale_w in (("conv1", 0.05, scales), ("fc", 0.5, np.float32([0.002]))):
        weight, bias = (folded.params[item].astype(np.float64) for item in folded.node[name].params)
        steps = scale_w.astype(np.float64).reshape(-1, *(1,) * (weight.ndim - 1))
        np.testing.assert_array_equal(
            blob_array(stored[name].blobs[0]), np.clip(np.rint(weight / steps), -128, 127), err_msg=name
        )
        wanted = np.rint(bias / (scale_w.astype(np.float64) * float(np.float32(scale_d))))
        np.testing.assert_array_equal(blob_array(stored[name].blobs[1]), wanted, err_msg=name)
    deploy = nuqconv.load(files.deploy_model, files.deploy_weights)
    from nuqconv.runtimes.onnxruntime import OnnxSession  # noqa: PLC0415

    with Net(files.fake_quant_model, files.fake_quant_weights, process=caffe_process) as judge:
        np.testing.assert_allclose(
            OnnxSession(deploy).run({"data": DATA})["prob"], judge.run({"data": DATA})["prob"], atol=1e-6
        )


def test_a_record_of_nuqconv_gives_its_files_again(net, tmp_path):
    """Of nearest levels: a record holds step sizes, not the integers that a fit chooses."""
    nearest = nuqconv.PrepareOptions(weight_method=None)
    result = nuqconv.quantize(net, data={"data": DATA}, batch_size=4, options=nearest)
    wanted = result.save(tmp_path / "wanted" / "net")
    found = convert(net, tmp_path, wanted.scale_offset_record.read_text())
    for name, path in found.present().items():
        assert path.read_bytes() == wanted.present()[name].read_bytes(), name


def test_folding_is_switched_by_layer(net, tmp_path):
    text = "scale_d: 0.05 offset_d: 3 " + "scale_w: 0.02 offset_w: 0 " * 8
    folded = convert(net, tmp_path, record(conv1=text)).deploy_model.read_text()
    apart = convert(net, tmp_path, record(conv1=text + "skip_fusion: true")).deploy_model.read_text()
    assert ("BatchNorm" in folded, "BatchNorm" in apart) == (False, True)


def test_a_codebook_in_the_record(net, tmp_path):
    files = convert(
        net, tmp_path, record(fc="scale_d: 1 offset_d: 0 scale_w: 0.003 cluster: -50 cluster: 0 cluster: 60")
    )
    weights = blob_array(read_weights(files.deploy_weights).layers["fc"].blobs[0])
    assert set(np.unique(weights)) == {-50, 0, 60}
    assert files.nuq_layer_record.read_text() == "fc\n"


def test_all_that_does_not_fit_is_said_at_once(net, tmp_path):
    good = "scale_d: 1 offset_d: 0 "
    text = record(
        conv3=good,
        relu1=good,
        conv1=good + "scale_w: 1 scale_w: 2",
        conv2="scale_d: 1 offset_d: 200 scale_w: 1 offset_w: 3",
        pool=good + "scale_w: 0.5",
        fc=good + "scale_w: 1 shift_bit: 4",
        sum=good,
    )
    with pytest.raises(ConfigError) as caught:
        convert(net, tmp_path, text)
    assert [problem.split(": ", 1) for problem in caught.value.problems] == [
        ["record of 'conv3'", "the model has no layer of this name; did you mean 'conv2' or 'conv1'?"],
        ["record of 'relu1'", "ReLU layers are not quantized"],
        ["record of 'conv1'", "it has 2 scale_w, expected 1 or 8"],
        ["record of 'conv2'", "offset_d is 200, expected an integer in [-128, 127]"],
        ["record of 'conv2'", "offset_w must be 0, once for each scale_w"],
        ["record of 'pool'", "scale_w of a layer without weights is [0.5], expected 1.0 or none"],
        ["record of 'fc'", "shift_bit must be 0: stock layers cannot shift, so there would be no fake_quant model"],
        ["record of 'sum'", "Eltwise layers are not quantized"],
    ]
    with pytest.raises(ConfigError, match="it holds no layer"):
        convert(net, tmp_path, "")
    assert not (tmp_path / "out").exists()


def test_a_quantized_model_is_refused(net, tmp_path):
    files = convert(net, tmp_path, record(fc="scale_d: 1 offset_d: 0 scale_w: 0.003"))
    with pytest.raises(UnsupportedError, match="quantized already"):
        convert((files.deploy_model, files.deploy_weights), tmp_path, record(fc="scale_d: 1 offset_d: 0 scale_w: 1"))
