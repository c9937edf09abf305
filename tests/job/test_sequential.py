"""Integers in sequence: outputs come nearer on images that were not used, and a search takes them only where its metric says so."""

import numpy as np
import pytest

import nuqconv
from nuqconv.frontends.caffe import load_graph
from nuqconv.job.about import Budget
from nuqconv.job.options import PrepareOptions, SearchOptions
from nuqconv.job.sequential import sequential_plan
from nuqconv.passes import fold_affine
from nuqconv.quantize.compensate import WeightMethod
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.default import load_graph as load
from tests.support.nets import conv_net, write_net

LENET = "examples/lenet"
METHOD = WeightMethod()


@pytest.fixture(scope="module")
def lenet(pytestconfig):
    folder = pytestconfig.rootpath / LENET
    graph = fold_affine(load_graph(folder / "deploy.prototxt", folder / "lenet.caffemodel")).graph
    calibration, test = (
        np.load(folder / f"{name}.npz")["data"].astype(np.float32) for name in ("calibration", "test_set")
    )
    return graph, calibration, test[:400]


def error(graph, quantized, images, value):
    exact, found = (load(item, [value]).run({"data": images})[value].astype(np.float64) for item in (graph, quantized))
    return np.square(found - exact).sum() / np.square(exact).sum()


def test_outputs_of_lenet_on_other_images(lenet):
    graph, calibration, test = lenet
    plain = nuqconv.quantize(graph, {"*": 16}, data={"data": calibration}, batch_size=64)
    batches = [{"data": calibration[start : start + 64]} for start in range(0, len(calibration), 64)]
    quantizer = plain.model.job.quantizer
    plan = sequential_plan(quantizer, plain.plan, batches, method=METHOD)
    assert [layer.num_steps for layer in plan.values()] == [layer.num_steps for layer in plain.plan.values()]
    assert error(graph, quantizer.apply(plan), test, "ip2") < 0.9 * error(graph, plain.model.graph, test, "ip2")
    assert plan == sequential_plan(quantizer, plain.plan, batches, method=METHOD)


def test_the_first_layer_sees_what_it_always_saw(lenet):
    """Its input does not depend on other layers, so that only the step of the input is made good."""
    graph, calibration, test = lenet
    result = nuqconv.quantize(graph, {"*": "int8"}, data={"data": calibration}, batch_size=64)
    quantizer = result.model.job.quantizer
    plan = sequential_plan(quantizer, result.plan, [{"data": calibration[:64]}], method=METHOD)
    name = next(iter(plan))
    output = graph.node[name].outputs[0]
    one, two = (error(graph, quantizer.apply(item), test, output) for item in (result.plan, plan))
    assert two < 1.2 * one


BRANCHES = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 dim: 8 dim: 8 } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }
layer { name: "left" type: "Convolution" bottom: "a" top: "left" convolution_param { num_output: 6 kernel_size: 3 pad: 1 group: 6 } }
layer { name: "right" type: "Convolution" bottom: "a" top: "right" convolution_param { num_output: 6 kernel_size: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "left" bottom: "right" top: "sum" }
layer { name: "pool" type: "Pooling" bottom: "sum" top: "pool" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "both" type: "Concat" bottom: "pool" bottom: "pool" top: "both" }
layer { name: "up" type: "Deconvolution" bottom: "both" top: "up" convolution_param { num_output: 3 kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "up" top: "fc" inner_product_param { num_output: 5 } }
"""


@pytest.fixture(scope="module")
def branches(tmp_path_factory):
    rng = np.random.default_rng(4)
    weights = {
        "a": [rng.normal(size=(6, 4, 3, 3)), rng.normal(size=6)],
        "left": [rng.normal(size=(6, 1, 3, 3)), rng.normal(size=6)],
        "right": [rng.normal(size=(6, 6, 1, 1)), rng.normal(size=6)],
        "up": [rng.normal(size=(12, 3, 2, 2)), rng.normal(size=3)],
        "fc": [rng.normal(size=(5, 192)), rng.normal(size=5)],
    }
    return write_net(tmp_path_factory.mktemp("branches"), BRANCHES, weights)


@pytest.mark.parametrize("form", ["int8", 16])
def test_branches_sums_and_all_kinds_of_layers(branches, form, tmp_path, caffe_process):
    data = np.random.default_rng(1).normal(size=(64, 4, 8, 8)).astype(np.float32)
    other = np.random.default_rng(2).normal(size=(16, 4, 8, 8)).astype(np.float32)
    files = (branches.model, branches.weights)
    plain, found = (
        nuqconv.quantize(
            files, {"*": form}, data={"data": data}, batch_size=16, options=PrepareOptions(sequential=sequential)
        )
        for sequential in (False, True)
    )
    assert found.plan != plain.plan
    graph = plain.model.job.graph
    # Of noise 64 samples say little; which of both is better is for an evaluator to say.
    assert error(graph, found.model.graph, other, "fc") < 1.5 * error(graph, plain.model.graph, other, "fc")
    saved = found.save(tmp_path / "net")
    with Net(saved.fake_quant_model, saved.fake_quant_weights, process=caffe_process) as judge:
        wanted = found.run({"data": other[:2]})["fc"]
        np.testing.assert_allclose(judge.run({"data": other[:2]})["fc"], wanted, atol=1e-4 * np.abs(wanted).max())


def test_a_search_tries_it_last_and_goes_on_with_the_same_bytes(tmp_path):
    files = conv_net(tmp_path)
    data = np.random.default_rng(1).normal(size=(16, 3, 12, 12)).astype(np.float32)

    heard = []

    def on_trial(trial, progress):
        heard.append((trial.number, progress.done, progress.expected >= progress.done))

    def run(save):
        return nuqconv.auto(
            (files.model, files.weights),
            data={"data": data},
            metric="output_error",
            max_error=0.3,
            batch_size=4,
            save=save,
            options=SearchOptions(
                PrepareOptions(sequential=True, progress=False), budget=Budget(2, None, None), on_trial=on_trial
            ),
        )

    first = run(tmp_path / "one" / "net")
    assert heard == [(trial.number, trial.number, True) for trial in first.trials]
    last = first.trials[-1]
    assert last.step == "the same layers, chosen in sequence"
    before = first.trials[-2 if len(first.trials) == 3 else 0]
    assert any("in sequence" in text for text in first.notes)
    assert (first.best is last) == (
        last.accepted
        and last.metric <= min(t.metric for t in first.trials[:-1] if t.bytes == last.bytes or t is before)
    )
    again = run(tmp_path / "one" / "net")
    assert [trial.metric for trial in again.trials] == [trial.metric for trial in first.trials]
    assert again.plan == first.plan
    assert any("3 of 3 evaluations are taken" in text for text in again.notes)
