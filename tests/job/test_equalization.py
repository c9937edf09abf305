"""Scaled channels in a search: taken where the evaluator's metric is no worse, left where it is, and the files go on with them."""

import logging

import numpy as np
import pytest

import nuqconv
from nuqconv.comparison.quantization import compare_quantized
from nuqconv.evaluators import OnnxRuntimeEvaluator
from nuqconv.frontends.caffe import load_graph
from nuqconv.job.about import Budget
from nuqconv.job.equalization import find_shifts, kept_values
from nuqconv.job.options import PrepareOptions, SearchOptions
from nuqconv.passes import fold_affine
from nuqconv.runtimes.caffe import Net
from tests.support.nets import write_net

TEXT = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 12 dim: 12 } } }
layer { name: "wide" type: "Convolution" bottom: "data" top: "wide" convolution_param { num_output: 16 kernel_size: 3 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "wide" top: "wide" }
layer { name: "depthwise" type: "Convolution" bottom: "wide" top: "depthwise" convolution_param { num_output: 16 kernel_size: 3 group: 16 } }
layer { name: "relu2" type: "ReLU" bottom: "depthwise" top: "depthwise" }
layer { name: "last" type: "Convolution" bottom: "depthwise" top: "last" convolution_param { num_output: 4 kernel_size: 1 } }
"""
IMAGES = np.random.default_rng(0).normal(size=(48, 3, 12, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """Channels of very different sizes, which the last layer weighs alike: one step size for all of them loses the small ones."""
    rng = np.random.default_rng(2)
    sizes = np.exp2(np.linspace(-5, 5, 16))
    weights = {
        "wide": [rng.normal(size=(16, 3, 3, 3)) * sizes[:, None, None, None], 0.1 * rng.normal(size=16) * sizes],
        "depthwise": [rng.normal(size=(16, 1, 3, 3)), np.zeros(16)],
        "last": [rng.normal(size=(4, 16, 1, 1)) / sizes[:, None, None], np.zeros(4)],
    }
    return write_net(tmp_path_factory.mktemp("net"), TEXT, weights)


def evaluator(**options):
    options = {"metric": "output_error", "max_error": 5, "batch_size": 8, **options}
    return OnnxRuntimeEvaluator({"data": IMAGES[:24]}, calibration={"data": IMAGES[24:]}, **options)


class Prefers(OnnxRuntimeEvaluator):
    """Says that the second int8 model it sees, the scaled one, is worse."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.seen = 0

    def eval_model(self, *args):
        self.seen += 1
        found = super().eval_model(*args)
        return found + 2.0 if self.seen == 3 else found


def search(net, save, judge=None, *, equalize=True, evaluations=4, **options):
    budget = Budget(evaluations, None, None)
    options = SearchOptions(PrepareOptions(equalize=equalize, progress=False), budget=budget, **options)
    return nuqconv.auto(
        (net.model, net.weights),
        evaluator=judge or evaluator(),
        batch_num=3,
        batch_size=8,
        save=save,
        options=options,
    )


def note(result):
    return [text for text in result.notes if "powers of two" in text]


@pytest.fixture(scope="module")
def results(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    return search(net, folder / "scaled" / "net"), search(net, folder / "plain" / "net", equalize=False)


def test_int8_errs_less_and_the_result_says_which_blobs_are_scaled(results):
    scaled, plain = results
    assert scaled.trials[0].metric < 0.5 * plain.trials[0].metric
    assert "wide" in note(scaled)[0]
    assert "depthwise" in note(scaled)[0]
    assert note(plain) == []


def test_real_caffe_computes_what_was_evaluated(results, caffe_process):
    scaled, _ = results
    wanted = scaled.run({"data": IMAGES[:4]})["last"]
    for model, weights in (
        (scaled.files.fake_quant_model, scaled.files.fake_quant_weights),
        (scaled.files.deploy_model, scaled.files.deploy_weights),
    ):
        if model is scaled.files.deploy_model:
            # Stock Caffe lacks the layers of the deploy form, whose layer blobs the reader understands.
            found = nuqconv.load(model, weights)
            assert found.outputs == ("last",)
            continue
        with Net(model, weights, process=caffe_process) as judge:
            np.testing.assert_allclose(
                judge.run({"data": IMAGES[:4]})["last"], wanted, atol=1e-4 * np.abs(wanted).max()
            )


def test_compare_knows_that_inner_blobs_are_scaled(results, net):
    scaled, _ = results
    report = compare_quantized(
        (net.model, net.weights), (scaled.files.deploy_model, scaled.files.deploy_weights), data={"data": IMAGES[:8]}
    )
    for layer in report.errors.layers:
        assert layer.accumulated.relative < 0.3, layer.layer


def test_the_journal_holds_what_was_scaled(net, tmp_path, caplog):
    first = search(net, tmp_path / "net", evaluations=2)
    with caplog.at_level(logging.INFO):
        second = search(net, tmp_path / "net", evaluations=4)
    assert note(first) == note(second)
    assert "int8 everywhere: metric" not in caplog.text
    assert [trial.metric for trial in first.trials] == [trial.metric for trial in second.trials[:2]]
    whole = search(net, tmp_path / "at once" / "net", evaluations=4)
    for name, path in second.files.present().items():
        if "trials" not in path.name:
            assert path.read_bytes() == whole.files.present()[name].read_bytes(), name


def test_the_evaluator_may_refuse_it(net, tmp_path):
    judge = Prefers({"data": IMAGES[:24]}, metric="output_error", max_error=5, batch_size=8)
    assert note(search(net, tmp_path / "net", judge, evaluations=2)) == []


def test_blobs_that_the_evaluator_reads_stay(net, tmp_path):
    graph = fold_affine(load_graph(net.model, net.weights)).graph
    assert set(find_shifts(graph, [{"data": IMAGES}])) == {"wide", "depthwise"}
    kept = kept_values(graph, evaluator(outputs=("depthwise",)))
    assert {graph.storage_name(value) for value in kept} == {"depthwise"}
    assert set(find_shifts(graph, [{"data": IMAGES}], kept)) == {"wide"}
    result = search(net, tmp_path / "net", evaluator(outputs=("depthwise",)), evaluations=1)
    assert note(result)
    assert "depthwise" not in note(result)[0]
