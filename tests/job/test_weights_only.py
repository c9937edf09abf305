"""Weights alone: inputs of layers stay float, integers are fitted by what they do to the layers' outputs, and files hold what was evaluated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

import nuqconv
from nuqconv.errors import JournalError
from nuqconv.job.about import Budget
from nuqconv.job.calibration import Source
from nuqconv.job.preparation import WEIGHTS_ONLY
from nuqconv.quantize.plan import Plan, Precision
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.default import load_graph
from tests.support.auto import LENET, LENET_MODEL, LENET_WEIGHTS, WEIGHT_ONLY_OUTPUTS, Judge, batches, error_evaluator
from tests.support.auto import Job as SmallJob
from tests.support.nets import conv_net

ALONE = nuqconv.PrepareOptions(weights_only=True, progress=False)
LENET_NET = (LENET_MODEL, LENET_WEIGHTS)
FEW = nuqconv.SearchOptions(ALONE, budget=Budget(3, None, None))


@pytest.fixture
def net(tmp_path):
    files = conv_net(tmp_path)
    return (files.model, files.weights)


@pytest.fixture(scope="module")
def images():
    calibration, test = (
        np.load(LENET / f"{name}.npz")["data"].astype(np.float32) / np.float32(256)
        for name in ("calibration", "test_set")
    )
    return calibration, test[:300]


def onnx_output(path, images):
    session = onnxruntime.InferenceSession(str(path))
    return session.run(None, {session.get_inputs()[0].name: images})[0].astype(np.float64)


def test_fitted_integers_err_less_than_the_nearest_on_other_images(images, tmp_path, caffe_process):
    """Judged from the written files, in onnxruntime and in real Caffe."""
    calibration, test = images
    with Net(LENET_MODEL, LENET_WEIGHTS, process=caffe_process) as judge:
        exact = judge.run({"data": test})["prob"].astype(np.float64)
    errors = {}
    for name, options in (("fitted", ALONE), ("nearest", replace(ALONE, weight_method=None))):
        found = nuqconv.quantize(LENET_NET, {"*": 4}, data={"data": calibration}, options=options)
        assert {layer.activation for layer in found.plan.values()} == {None}
        files = found.save(tmp_path / name, onnx=True)
        with Net(files.fake_quant_model, files.fake_quant_weights, process=caffe_process) as judge:
            in_caffe = judge.run({"data": test})["prob"].astype(np.float64)
        np.testing.assert_allclose(onnx_output(files.fake_quant_onnx, test), in_caffe, atol=1e-5)
        errors[name] = np.square(in_caffe - exact).sum() / np.square(exact).sum()
    assert 0 < errors["fitted"] < 0.5 * errors["nearest"]


def test_biases_take_up_the_mean_error(images):
    calibration, _ = images
    found = nuqconv.quantize(LENET_NET, {"*": 4}, data={"data": calibration}, options=ALONE)
    job, name = found.model.job, "conv1"
    (value,) = job.graph.node[name].outputs
    plans = [found.plan, found.plan.replace(name, replace(found.plan[name], weights=None)), Plan()]
    fitted, nearest, exact = (
        load_graph(job.quantizer.apply(plan), [value]).run({"data": calibration})[value] for plan in plans
    )
    # Of each image some positions are measured, so the mean is not 0 to the last digit.
    means = [np.abs((item - exact).mean((0, 2, 3), dtype=np.float64)).max() for item in (fitted, nearest)]
    assert means[0] < 0.05 * means[1]


@pytest.mark.parametrize(("levels", "bits"), [(2, 1), (5, 3), (64, 6), ("int8", 8)])
def test_packed_and_qdq_models_hold_integers(net, tmp_path, levels, bits):
    data = np.concatenate([batch["data"] for batch in batches(4)])
    found = nuqconv.quantize(net, {"*": levels}, data={"data": data}, batch_size=4, options=ALONE)
    files = found.save(tmp_path / "out" / "net", onnx=True)
    wanted = onnx_output(files.fake_quant_onnx, data[:2])
    np.testing.assert_array_equal(onnx_output(files.nuq_onnx, data[:2]), wanted)
    np.testing.assert_allclose(onnx_output(files.qdq_onnx, data[:2]), wanted, rtol=1e-4)
    np.testing.assert_allclose(found.run(data[:2])["prob"], wanted, rtol=1e-4)
    packed, pairs = (onnx.load(path).graph for path in (files.nuq_onnx, files.qdq_onnx))
    assert [node.op_type for node in pairs.node].count("DequantizeLinear") == len(found.plan) == 3
    size = found.model.graph.params["conv2/0"].size
    (conv2,) = (len(item.raw_data) for item in packed.initializer if item.name in {"conv2/0/planes", "conv2/0"})
    assert conv2 == -(-size * bits // 8)
    assert not [item for item in packed.initializer if item.data_type == 1 and len(item.raw_data) >= 4 * size]


def test_a_search_of_weights_alone(tmp_path):
    job = SmallJob(tmp_path / "job")
    result = job.run(error_evaluator(0.2), weights_only=True)
    assert result.calibration is Source.NONE
    assert WEIGHTS_ONLY in result.notes
    assert sorted(path.name for path in job.out.iterdir()) == list(WEIGHT_ONLY_OUTPUTS)
    assert result.best.accepted
    assert result.metric > 0
    plans = [layer for layer in result.plan.values() if layer.precision is not Precision.FLOAT]
    assert {layer.activation for layer in plans} == {None}
    assert None not in {layer.weights for layer in plans}
    # Of the layers with weights only: pooling has nothing but its input.
    assert set(result.plan) == {"conv1", "conv2", "fc"}
    quick = job.run(error_evaluator(0.2), weights_only=True, weight_method=None)
    assert quick.sizes.bytes >= result.sizes.bytes
    assert quick.trials[0].metric > result.trials[0].metric


def test_without_batches_weights_are_the_nearest(tmp_path):
    def metric(text):
        if "python_param" in text:
            raise RuntimeError("Unknown layer type: Python")
        return 0.0

    job = SmallJob(tmp_path / "job")
    found = job.run(Judge(metric), weights_only=True)
    assert {layer.weights for layer in found.plan.values()} == {None}
    assert found.notes[0] == WEIGHTS_ONLY
    assert found.notes[1].startswith("weights are on the nearest levels, since there are no batches of inputs")
    assert "Unknown layer type: Python" in found.notes[1]


def test_its_journal_is_its_own_and_goes_on_to_the_same_bytes(net, tmp_path, caplog):
    data = {"data": np.concatenate([batch["data"] for batch in batches(4)])}

    def run(options):
        return nuqconv.auto(
            net,
            data=data,
            metric="output_error",
            max_error=0.2,
            batch_size=4,
            save=tmp_path / "out" / "net",
            options=options,
        )

    first = run(FEW)
    written = {path.name: path.read_bytes() for path in first.files.present().values()}
    again = run(FEW)
    assert again.plan == first.plan
    assert {path.name: path.read_bytes() for path in again.files.present().values()} == written
    assert any("evaluations are taken from" in note for note in again.notes)
    again.write(trial=1, save_dir=tmp_path / "one" / "net")
    with pytest.raises(JournalError) as caught:
        run(replace(FEW, prepare=replace(ALONE, weights_only=False)))
    assert caught.value.problems == ("inputs of layers: in the journal 'float', now not there",)
    # Layers of the other kind are other layers: none is taken over.
    both = run(replace(FEW, prepare=replace(ALONE, weights_only=False), on_mismatch="restart"))
    assert all(layer.activation is not None for layer in both.plan.values())


def test_in_sequence_too(images):
    calibration, test = images
    found = [
        nuqconv.quantize(LENET_NET, {"*": 4}, data={"data": calibration}, options=replace(ALONE, sequential=sequential))
        for sequential in (False, True)
    ]
    exact = load_graph(found[0].model.job.graph).run({"data": test})["prob"]
    errors = [np.square(item.run(test)["prob"] - exact).sum() for item in found]
    assert {layer.activation for layer in found[1].plan.values()} == {None}
    assert errors[1] < errors[0]
