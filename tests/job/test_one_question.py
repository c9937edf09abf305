"""One evaluation instead of a search: is a plan that was asked for as good as demanded?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import ConfigError, EvaluatorError
from nuqconv.formats import ReadOptions, open_model
from nuqconv.job.calibration import Source
from nuqconv.runtimes.default import load_graph
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, Judge, batches, lenet_data
from tests.support.nets import conv_net, write_net

DATA = np.concatenate([batch["data"] for batch in batches(4)])
QUIET = nuqconv.PrepareOptions(progress=False)


@pytest.fixture
def net(tmp_path):
    files = conv_net(tmp_path)
    return (files.model, files.weights)


@dataclass
class Own:
    """An evaluator with batches, which accepts what moves outputs little, and keeps what it was asked."""

    limit: float = 0.5
    seen: list[str] = field(default_factory=list)
    evaluate_batch_num: int = 3

    def eval_model(self, model_file, weights_file, batch_num):
        assert batch_num == 3
        self.seen.append("quantized" if "_dequant_layer" in Path(model_file).read_text() else "original")
        return float(load_graph(open_model(model_file, weights_file).read().graph).run({"data": DATA})["prob"].std())

    def is_satisfied(self, original_metric, new_metric):
        return abs(new_metric - original_metric) <= self.limit * original_metric

    def calibration_batches(self, batch_num):
        self.seen.append(f"{batch_num} batches")
        return iter(batches(4)[:batch_num])


def test_the_limit_of_a_metric(net):
    strict, mild = (
        nuqconv.quantize(net, {"*": 4}, data={"data": DATA}, metric="output_error", max_error=limit, batch_size=4)
        for limit in (1e-4, 10.0)
    )
    assert strict.plan == mild.plan
    assert (strict.accepted, mild.accepted) == (False, True)
    assert strict.metric == mild.metric > 1e-4
    assert (strict.facts.metric, strict.facts.limit, strict.facts.better) == ("output_error", 1e-4, "lower")
    assert "(refused)" in repr(strict)
    assert "(accepted)" in repr(mild)
    asked = nuqconv.quantize(net, {"*": 4}, data={"data": DATA}, metric="output_error", batch_size=4)
    assert (asked.accepted, asked.metric) == (None, strict.metric)


def test_the_answer_is_that_of_real_caffe(tmp_path, caffe_process):
    """At 2 levels everywhere LeNet loses more than two points, at 16 it does not."""
    data = lenet_data(500)
    for levels, wanted in ((2, False), (16, True)):
        found = nuqconv.quantize(
            (LENET_MODEL, LENET_WEIGHTS), {"*": levels}, data=dict(data.inputs), labels=data.labels, max_drop=0.02
        )
        assert found.accepted is wanted
        files = found.save(tmp_path / str(levels))
        in_caffe = nuqconv.CaffeEvaluator(dict(data.inputs), labels=data.labels, metric="top1", max_drop=0.02)
        original, metric = (
            in_caffe.eval_model(str(model), str(weights), in_caffe.evaluate_batch_num)
            for model, weights in ((LENET_MODEL, LENET_WEIGHTS), (files.fake_quant_model, files.fake_quant_weights))
        )
        assert (found.original_metric, found.metric) == (original, metric)
        assert in_caffe.is_satisfied(original, metric) is wanted


def test_an_evaluator_of_ones_own_is_shown_the_original_first_and_gives_the_batches(net):
    judge = Own()
    found = nuqconv.quantize(net, {"*": 16}, evaluator=judge, batch_num=2)
    assert judge.seen == ["original", "2 batches", "quantized"]
    assert found.accepted is True
    assert found.calibration is Source.ONNXRUNTIME
    assert found.facts.demand == "Own.is_satisfied"
    plain = nuqconv.quantize(net, {"*": 16}, data={"data": DATA[:8]}, batch_size=4, batch_num=2)
    assert found.plan == plain.plan
    assert nuqconv.quantize(net, {"*": 16}, evaluator=Own(limit=0.0), batch_num=2).accepted is False
    # Data of one's own go before the evaluator's.
    other = Own()
    assert nuqconv.quantize(net, {"*": 16}, evaluator=other, data={"data": DATA}, batch_size=4).accepted is True
    assert other.seen == ["original", "quantized"]


def test_fewer_batches_than_asked_for_is_a_note(net):
    found = nuqconv.quantize(net, {"*": 16}, evaluator=Own())
    assert any("calibrated on 4 batches, fewer than the 8 asked for" in note for note in found.notes)


@pytest.mark.usefixtures("caffe_python")
def test_an_evaluator_without_batches_runs_a_model_that_measures(net):
    judge = nuqconv.CaffeEvaluator({"data": DATA}, metric="output_error", max_error=10.0, batch_size=4)

    class Without:
        evaluate_batch_num = judge.evaluate_batch_num
        eval_model, is_satisfied = judge.eval_model, judge.is_satisfied

    found = nuqconv.quantize(net, {"*": 16}, evaluator=Without(), batch_num=4)
    assert found.calibration is Source.CAFFE
    assert found.accepted is True
    assert None not in {layer.weights for name, layer in found.plan.items() if name != "pool"}


def test_where_nothing_can_calibrate_weights_alone_are_quantized(net):
    def metric(text):
        if "python_param" in text:
            raise RuntimeError("Unknown layer type: Python")
        return 1.0

    found = nuqconv.quantize(net, {"*": 16}, evaluator=Judge(metric))
    assert found.calibration is Source.NONE
    assert any(note.startswith("only weights are quantized, activations stay float") for note in found.notes)
    assert {layer.activation for layer in found.plan.values()} == {None}
    assert found.accepted is True


def test_other_data_to_calibrate_on_than_to_measure(net):
    options = nuqconv.PrepareOptions(progress=False, calibration_data=[{"data": DATA[:8]}])
    found = nuqconv.quantize(net, {"*": 16}, data={"data": DATA}, metric="output_error", options=options)
    assert found.plan == nuqconv.quantize(net, {"*": 16}, data={"data": DATA[:8]}, options=QUIET).plan
    assert found.plan == nuqconv.quantize(net, {"*": 16}, options=options).plan
    whole = nuqconv.quantize(net, {"*": 16}, data={"data": DATA}, metric="output_error", options=QUIET)
    assert found.original_metric == whole.original_metric == 0
    assert found.plan != whole.plan


def test_layers_that_a_stage_selects(tmp_path):
    """The evaluator is given the original with the chosen layers only, as it is given the result."""
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "one" type: "InnerProduct" bottom: "data" top: "out" inner_product_param { num_output: 3 } include { stage: "one" } }
layer { name: "two" type: "InnerProduct" bottom: "data" top: "out" inner_product_param { num_output: 3 } include { not_stage: "one" } }
"""
    rng = np.random.default_rng(0)
    weights = {name: [rng.normal(size=(3, 4)), rng.normal(size=3)] for name in ("one", "two")}
    files = write_net(tmp_path, text, weights)
    model = open_model(files.model, files.weights, ReadOptions(stages=frozenset({"one"})))
    data = {"data": rng.normal(size=(64, 4)).astype(np.float32)}
    found = nuqconv.quantize(model, data=data, metric="output_error", max_error=0.05)
    assert set(found.plan) == {"one"}
    assert (found.original_metric, found.accepted) == (0, True)


def test_what_does_not_go_together(net):
    for wrong in ({}, {"metric": "top1"}, {"max_drop": 0.1}):
        with pytest.raises(ConfigError, match="give data to calibrate on, or an evaluator"):
            nuqconv.quantize(net, {"*": 16}, **wrong)
    for wrong in ({"metric": "top1"}, {"max_drop": 0.1}, {"max_error": 0.1}):
        with pytest.raises(ConfigError, match="exclude an evaluator of your own"):
            nuqconv.quantize(net, {"*": 16}, evaluator=Judge(), **wrong)
    apart = nuqconv.PrepareOptions(calibration_data=[{"data": DATA}])
    with pytest.raises(ConfigError, match="give data to measure the metric on"):
        nuqconv.quantize(net, {"*": 16}, metric="output_error", options=apart)
    with pytest.raises(EvaluatorError, match="goes with max_error"):
        nuqconv.quantize(net, {"*": 16}, data={"data": DATA}, metric="output_error", max_drop=0.1)
    with pytest.raises(EvaluatorError, match="exactly one of"):
        nuqconv.quantize(net, {"*": 16}, data={"data": DATA}, metric="output_error", max_drop=0.1, max_error=0.1)
    judge = Judge(accepts=lambda metric: False)
    with pytest.raises(EvaluatorError, match="itself is refused"):
        nuqconv.quantize(net, {"*": 16}, evaluator=judge)
    # A choice that is wrong costs no evaluation.
    judge = Judge()
    with pytest.raises(ConfigError, match="no layer is to be quantized"):
        nuqconv.quantize(net, {"*": "float"}, evaluator=judge)
    assert judge.seen == []
