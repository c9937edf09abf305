"""`nuqconv.quantize`: every layer becomes what was chosen for it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import nuqconv
from nuqconv.errors import ConfigError, UnsupportedError
from nuqconv.job.codebooks import read_codebooks
from nuqconv.runtimes.caffe import Net
from tests.support.auto import batches
from tests.support.nets import conv_net

DATA = np.concatenate([batch["data"] for batch in batches(4)])


@pytest.fixture
def net(tmp_path):
    files = conv_net(tmp_path)
    return (files.model, files.weights)


def quantize(net, layers=None, **options):
    return nuqconv.quantize(net, layers, data={"data": DATA}, batch_size=4, **options)


def forms(result):
    return {name: layer.precision.value + str(layer.num_steps or "") for name, layer in result.plan.items()}


def test_the_package_can_be_called_and_is_a_package():
    from nuqconv.quantize.plan import Plan  # noqa: PLC0415

    assert callable(nuqconv.quantize)
    assert nuqconv.quantize.plan.Plan is Plan


def test_uniform_int8_is_the_plain_case(net):
    result = quantize(net)
    assert forms(result) == {"conv1": "int8", "conv2": "int8", "pool": "int8", "fc": "int8"}
    assert result.sizes.bytes == result.sizes.int8_bytes
    assert (result.metric, result.original_metric, result.notes) == (None, None, ())


def test_each_layer_becomes_what_is_said_and_the_others_what_the_star_says(net):
    result = quantize(net, {"conv1": 16, "fc": "int8", "*": "float"})
    assert forms(result) == {"conv1": "nuq16", "fc": "int8"}
    assert forms(quantize(net, {"conv1": 32})) == {"conv1": "nuq32", "conv2": "int8", "pool": "int8", "fc": "int8"}
    # AVE Pooling has no weights.
    every = quantize(net, {"*": 16})
    assert forms(every) == {"conv1": "nuq16", "conv2": "nuq16", "pool": "int8", "fc": "nuq16"}
    assert every.notes == ("these layers cannot have a codebook and are int8: pool",)


@pytest.mark.parametrize(("levels", "bits"), [(2, 1), (5, 3), (33, 6), (200, 8)])
def test_any_number_of_levels_and_onnx_packs_to_the_bits_needed(net, tmp_path, levels, bits):
    result = quantize(net, {"fc": levels, "*": "float"})
    (layer,) = (layer for layer in result.layers if layer.name == "fc")
    weights = result.model.job.quantizer.layer_integers("fc", result.plan["fc"]).weights
    assert len(np.unique(weights)) <= levels
    assert (layer.num_steps, layer.bits) == (levels, bits)
    files = result.save(tmp_path / "out" / "net", onnx=True)
    assert "no deploy model" in result.notes[-1]
    assert "fc (" in result.notes[-1]
    assert (files.deploy_model, files.deploy_weights) == (None, None)
    assert len(read_codebooks(files.nuq_codebooks)["fc"].levels) <= levels
    sizes = [len(item.raw_data) for item in onnx.load(files.nuq_onnx).graph.initializer]
    if bits < 8:
        assert -(-weights.size * bits // 8) in sizes


def test_run_is_what_real_caffe_makes_of_the_saved_model(net, tmp_path, caffe_process):
    result = quantize(net, {"conv1": 16, "conv2": 32, "fc": 16})
    files = result.save(tmp_path / "out" / "net")
    found = result.run({"data": DATA[:2]})["prob"]
    with Net(files.fake_quant_model, files.fake_quant_weights, process=caffe_process) as judge:
        np.testing.assert_allclose(found, judge.run({"data": DATA[:2]})["prob"], atol=1e-5)
    np.testing.assert_array_equal(result.run(DATA[:2])["prob"], found)


def test_a_configuration_instead(net, tmp_path):
    entry = {"weight_quant_params": {"wts_algo": "nuq_quantize", "num_steps": 32}}
    content = {"version": 1, "batch_num": 2, "conv2": entry, "fc": {}}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    results = [quantize(net, config=given) for given in (path, content)]
    assert [forms(result) for result in results] == [{"conv2": "nuq32", "fc": "int8"}] * 2
    assert results[0].plan == results[1].plan
    assert forms(quantize(net, config={"version": 1, "batch_num": 1, "fc": {}})) == {"fc": "int8"}


def test_fewer_batches_than_asked_for_is_a_note(net):
    assert quantize(net, batch_num=4).notes == ()
    (note,) = quantize(net, batch_num=9).notes
    assert note == "calibrated on 4 batches of 4, the data have no more; 9 were asked for"


def test_a_metric_measures_the_original_and_the_result(net, tmp_path):
    result = quantize(net, {"*": 2}, metric="output_error")
    assert result.original_metric == 0
    files = result.save(tmp_path / "out" / "net", onnx=True)
    report = nuqconv.evaluate(
        [net, (files.fake_quant_model, files.fake_quant_weights)], data={"data": DATA}, metric="output_error"
    )
    assert result.metric == pytest.approx(report.sides[1].value, rel=1e-4)
    assert result.metric > 0.01


def test_all_that_is_wrong_is_said_at_once(net):
    wrong = {"conv9": 16, "conv1": 1, "conv2": 257, "fc": "int4", "pool": 16, "relu1": "int8", "*": True}
    with pytest.raises(ConfigError) as caught:
        quantize(net, wrong)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [repr(name) for name in wrong]
    with pytest.raises(ConfigError, match="exclude each other"):
        quantize(net, {}, config={})
    with pytest.raises(ConfigError, match="no layer is to be quantized"):
        quantize(net, {"*": "float"})


def test_a_quantized_model_is_refused(net, tmp_path):
    files = quantize(net).save(tmp_path / "out" / "net")
    with pytest.raises(UnsupportedError, match="quantized already"):
        quantize((files.deploy_model, files.deploy_weights))


def test_the_same_call_gives_the_same_bytes(net, tmp_path):
    found = []
    for name in ("a", "b"):
        files = quantize(net, {"*": 16}).save(tmp_path / name / "net", onnx=True)
        found.append({key: path.read_bytes() for key, path in files.present().items()})
    assert found[0] == found[1]


def test_in_a_folder_the_files_have_the_name_of_the_model(net, tmp_path):
    (tmp_path / "there").mkdir()
    result = quantize(net)
    for place in (tmp_path / "there", f"{tmp_path}/new/"):
        assert {path.name[:4] for path in result.save(place).present().values()} == {"net_"}
    names = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("there", "new")]
    assert names[0] == names[1]
    own = nuqconv.quantize(nuqconv.load(*net), data={"data": DATA}, batch_size=4).save(f"{tmp_path}/own/")
    assert own.deploy_model.name == "model_deploy_model.prototxt"


def test_hfmg_is_another_range(net):
    ranges = {}
    for name, settings in (("ifmr", {}), ("hfmg", {"act_algo": "hfmg", "num_of_bins": 1024})):
        result = quantize(net, config={"version": 1, "batch_num": 4, "fc": {"activation_quant_params": settings}})
        ranges[name] = result.plan["fc"].activation
    assert ranges["hfmg"] != ranges["ifmr"]
    assert ranges["hfmg"].scale == pytest.approx(ranges["ifmr"].scale, rel=0.3)
