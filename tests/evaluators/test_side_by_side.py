"""nuqconv.evaluate: models in runtimes on the same samples."""

from __future__ import annotations

import json

import numpy as np
import pytest

import nuqconv
from nuqconv.backends.caffe import write_caffe
from nuqconv.errors import ConfigError, EvaluatorError, ModelError
from nuqconv.evaluators.demand import Demand
from nuqconv.frontends.caffe import load_graph
from nuqconv.quantize.apply import Quantizer
from nuqconv.runtimes.caffe import Net
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, lenet_data
from tests.support.nets import conv_net
from tests.support.plans import strongest_plan

LENET = (LENET_MODEL, LENET_WEIGHTS)
SAMPLES = 200


@pytest.fixture(scope="module")
def data():
    found = lenet_data(SAMPLES)
    return {"data": found.inputs["data"]}, found.labels


@pytest.fixture(scope="module")
def models(tmp_path_factory, data):
    """LeNet as ONNX, and with codebooks of 16 levels."""
    folder = tmp_path_factory.mktemp("models")
    nuqconv.convert(LENET, folder / "lenet.onnx", dynamic_batch=True)
    quantizer = Quantizer(load_graph(*LENET))
    quantized = (folder / "q.prototxt", folder / "q.caffemodel")
    write_caffe(quantizer.apply(strongest_plan(quantizer, {"data": data[0]["data"][:64]})), *quantized)
    return folder / "lenet.onnx", quantized


@pytest.mark.caffe
def test_two_models_in_three_runtimes(data, models, caffe_python):
    """Which samples differ is what real Caffe's own outputs say."""
    onnx, quantized = models
    done = []
    report = nuqconv.evaluate(
        [LENET, quantized, onnx],
        data=data[0],
        labels=data[1],
        metric="top1",
        runtimes=["caffe", "onnxruntime", "opencv"],
        batch_size=64,
        on_batch=done.append,
    )
    assert done == [64, 128, 192, 200]
    assert [(side.model, side.runtime) for side in report.sides] == [
        *((str(model), name) for model in (LENET[0], quantized[0]) for name in ("caffe", "onnxruntime", "opencv")),
        (str(onnx), "onnxruntime"),
    ]
    assert [note.split(" is not run in ")[1] for note in report.notes] == [
        "real Caffe, which does not take it",
        "OpenCV, which does not take it",
    ]
    with Net(*LENET, python=caffe_python) as net, Net(*quantized, python=caffe_python) as other:
        answers = [each.run(data[0])["prob"].argmax(axis=1) for each in (net, other)]
    rights = [(answer == data[1]).mean() for answer in answers]
    differing = [f"arrays[{place}]" for place in np.flatnonzero(answers[0] != answers[1])]
    assert 0 < len(differing) < 30
    for side in report.sides:
        mine = side.model == str(quantized[0])
        assert side.value == rights[mine]
        assert list(side.differing) == (differing if mine else [])
        assert side.interval.low <= side.value <= side.interval.high
        assert side.interval.units == SAMPLES
        assert side.seconds > 0
        if side is report.sides[0]:
            assert side.difference is None
        else:
            assert side.difference.estimate == pytest.approx(side.value - rights[0])
    assert report.refused(Demand(max_drop=0.2)) == ()
    assert rights[0] != rights[1]
    same = Demand(satisfied=lambda original, new: new == original)
    assert {side.model for side in report.refused(same)} == {str(quantized[0])}


def test_json_has_all_that_is_found(data, models):
    report = nuqconv.evaluate([LENET, models[1]], data=data[0], labels=data[1])
    content = json.loads(report.to_json())
    assert (content["metric"], content["samples"], content["notes"]) == ("top1", SAMPLES, [])
    assert content["data"] == f"{SAMPLES} x 1x28x28 from arrays"
    assert content["preparation"] is None
    assert [side["value"] for side in content["sides"]] == [side.value for side in report.sides]
    assert content["sides"][1]["differing"] == list(report.sides[1].differing)
    assert content["sides"][1]["difference"] == vars(report.sides[1].difference)
    assert content["sides"][0]["difference"] is None


def test_against_the_first_model(data, models):
    """As an evaluator measures it that has seen the first model first."""
    for metric, limit in (("output_error", "max_error"), ("agreement", "max_drop"), ("cosine", "max_drop")):
        report = nuqconv.evaluate([LENET, models[1]], data=data[0], metric=metric, batch_size=50)
        with nuqconv.BatchEvaluator(data[0], metric=metric, batch_size=50, **{limit: 1}) as evaluator:
            expected = [evaluator.eval_model(*map(str, files), 4) for files in (LENET, models[1])]
        assert [side.value for side in report.sides] == pytest.approx(expected, rel=1e-6)
        assert report.sides[0].value == (0 if metric == "output_error" else pytest.approx(1))


def test_a_graph_some_samples_and_a_function(data):
    graph = load_graph(*LENET)

    def right(outputs, labels):
        return (outputs["prob"].argmax(axis=1) == labels).mean()

    report = nuqconv.evaluate(graph, data=data[0], labels=data[1], metric=right, samples=70)
    (side,) = report.sides
    assert side.model == "network 'LeNet'"
    assert (side.interval, side.difference, side.differing) == (None, None, ())
    assert report.samples == 70
    assert side.value == nuqconv.evaluate(graph, data=data[0], labels=data[1], samples=70).sides[0].value
    assert report.metric.endswith("right")


def test_outputs_and_inputs_with_other_names(tmp_path, data):
    """A single one needs not be called alike."""
    text = LENET[0].read_text()
    other = tmp_path / "other.prototxt"
    renamed = text.replace('"data"', '"image"').replace('"prob"', '"score"')
    assert renamed != text
    other.write_text(renamed)
    report = nuqconv.evaluate([LENET, (other, LENET[1])], data=data[0], metric="output_error", samples=20)
    assert report.sides[1].value == 0


def test_what_does_not_go_together(tmp_path, data, models):
    small = tuple(vars(conv_net(tmp_path)).values())
    with pytest.raises(ConfigError, match=r"none of these runtimes runs it\n  - .*real Caffe runs no ONNX model"):
        nuqconv.evaluate(models[0], data=data[0], labels=data[1], runtimes=["caffe"])
    with pytest.raises(ConfigError, match="these data do not fit the net"):
        nuqconv.evaluate([small, LENET], data=data[0], metric="output_error")
    with pytest.raises(EvaluatorError, match="metric 'top1' needs labels"):
        nuqconv.evaluate(LENET, data=data[0])
    with pytest.raises(EvaluatorError, match="metric 'best' is not known"):
        nuqconv.evaluate(LENET, data=data[0], metric="best")
    with pytest.raises(ConfigError, match="runtime 'torch' is not known"):
        nuqconv.evaluate(LENET, data=data[0], labels=data[1], runtimes=["torch"])
    with pytest.raises(ConfigError, match="at least one model"):
        nuqconv.evaluate([], data=data[0], labels=data[1])
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        nuqconv.evaluate(LENET, data=data[0], labels=data[1], batch_size=0)
    with pytest.raises(
        EvaluatorError,
        match=r"lenet[.]onnx in onnxruntime: expected labels that are whole numbers from 0 to 9, found 77",
    ):
        nuqconv.evaluate(models[0], data=data[0], labels=data[1].astype(int) * 0 + 77)
    with pytest.raises(ModelError, match="'prb'"):
        nuqconv.evaluate(LENET, data=data[0], labels=data[1], outputs=["prb"])
