"""The ready-made evaluators, in onnxruntime and in real Caffe."""

import os
from pathlib import Path

import numpy as np
import pytest

from nuqconv import CaffeEvaluator, OnnxRuntimeEvaluator
from nuqconv.backends.caffe import write_caffe
from nuqconv.backends.caffe.runtime import Net
from nuqconv.errors import CaffeProcessError, EvaluatorError, ModelError
from nuqconv.frontends.caffe import load_graph
from nuqconv.quantize.apply import Quantizer
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, lenet_data
from tests.support.nets import conv_net
from tests.support.plans import strongest_plan

SAMPLES = 300
LENET_FILES = (str(LENET_MODEL), str(LENET_WEIGHTS))


@pytest.fixture(scope="module")
def data():
    return lenet_data(SAMPLES)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory, data):
    """LeNet with codebooks of 16 levels in every layer, as a fake_quant model."""
    quantizer = Quantizer(load_graph(*LENET_FILES))
    batch = {"data": data.inputs["data"][:64]}
    files = tuple(str(tmp_path_factory.mktemp("quantized") / name) for name in ("q.prototxt", "q.caffemodel"))
    write_caffe(quantizer.apply(strongest_plan(quantizer, batch)), *map(Path, files))
    return files


@pytest.fixture(scope="module")
def scores(data, caffe_python):
    """What real Caffe says of the images, one at a time."""
    with Net(*LENET_FILES, python=caffe_python) as net:
        return np.concatenate([net.run({"data": image[np.newaxis]})["prob"] for image in data.inputs["data"]])


@pytest.fixture(scope="module", params=["onnxruntime", "caffe"])
def kind(request):
    """The class of the evaluators."""
    if request.param == "caffe":
        request.getfixturevalue("caffe_python")
        return CaffeEvaluator
    return OnnxRuntimeEvaluator


def _value(evaluator, files=LENET_FILES):
    with evaluator:
        return evaluator.eval_model(*files, evaluator.evaluate_batch_num)


@pytest.mark.caffe
@pytest.mark.parametrize("batch_size", [128, SAMPLES, 1000])
def test_top1_is_the_share_of_right_answers(kind, data, scores, batch_size):
    """Batches of 128 leave 44 over; one of 1000 is never full."""
    evaluator = kind(data.inputs, labels=data.labels, max_drop=0.01, batch_size=batch_size)
    assert evaluator.evaluate_batch_num == {128: 3, SAMPLES: 1, 1000: 1}[batch_size]
    assert _value(evaluator) == (scores.argmax(axis=1) == data.labels).mean()


@pytest.mark.caffe
@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k(kind, data, scores, k):
    best = np.argsort(-scores, axis=1)[:, :k]
    expected = (best == data.labels[:, np.newaxis]).any(axis=1).mean()
    evaluator = kind(data.inputs, labels=data.labels, metric=f"top{k}", max_drop=0.01)
    assert _value(evaluator) == expected < 1


@pytest.mark.caffe
def test_fewer_batches_go_with_fewer_labels(kind, data, scores):
    with kind(data.inputs, labels=data.labels, max_drop=0.01, batch_size=70) as evaluator:
        found = evaluator.eval_model(*LENET_FILES, 2)
    assert found == (scores[:140].argmax(axis=1) == data.labels[:140]).mean()


@pytest.mark.caffe
def test_both_runtimes_give_a_quantized_model_the_same_metric(data, quantized, caffe_python):
    options = {"labels": data.labels, "max_drop": 0.01}
    found = _value(OnnxRuntimeEvaluator(data.inputs, **options), quantized)
    assert found == _value(CaffeEvaluator(data.inputs, **options), quantized)
    assert found > 0.8


@pytest.mark.caffe
def test_both_runtimes_give_the_same_output_error(data, quantized, scores, caffe_python):
    errors = []
    for kind in (OnnxRuntimeEvaluator, CaffeEvaluator):
        with kind(data.inputs, metric="output_error", max_error=0.1) as evaluator:
            assert evaluator.eval_model(*LENET_FILES, evaluator.evaluate_batch_num) == 0
            errors.append(evaluator.eval_model(*quantized, evaluator.evaluate_batch_num))
            assert evaluator.eval_model(*LENET_FILES, evaluator.evaluate_batch_num) == 0
    with Net(*quantized, python=caffe_python) as net:
        found = net.run(data.inputs)["prob"]
    expected = np.linalg.norm(found - scores) / np.linalg.norm(scores)
    assert 0.01 < expected < 0.3
    # float32 softmax and sums of the float model differ in the last bits between the runtimes.
    assert errors == pytest.approx([expected] * 2, rel=1e-4)


def test_of_several_outputs_the_worst_error_counts(tmp_path):
    rng = np.random.default_rng(0)
    files = conv_net(tmp_path)
    other = conv_net(tmp_path, seed=1, stem="other")
    inputs = {"data": rng.normal(size=(4, 3, 12, 12))}

    def error(*outputs):
        evaluator = OnnxRuntimeEvaluator(inputs, metric="output_error", max_error=0.1, outputs=outputs)
        evaluator.eval_model(str(files.model), str(files.weights), 1)
        return evaluator.eval_model(str(other.model), str(other.weights), 1)

    one, two = error("conv2"), error("fc")
    assert one != two
    assert error("conv2", "fc") == error("fc", "conv2") == max(one, two)


@pytest.mark.caffe
def test_a_function_gets_all_outputs_and_labels(kind, data, scores):
    seen = {}

    def metric(outputs, labels):
        seen.update(outputs)
        seen["labels"] = labels
        return np.float32(0.25)

    evaluator = kind(
        data.inputs, labels=data.labels, metric=metric, max_drop=0.01, outputs=("pool2", "prob"), batch_size=64
    )
    found = _value(evaluator)
    assert (type(found), found) == (float, 0.25)
    assert list(seen) == ["pool2", "prob", "labels"]
    assert seen["pool2"].shape == (SAMPLES, 50, 4, 4)
    np.testing.assert_allclose(seen["prob"], scores, rtol=1e-4, atol=1e-6)
    assert np.array_equal(seen["labels"], data.labels)


@pytest.mark.caffe
def test_an_output_that_does_not_exist(kind, data):
    evaluator = kind(data.inputs, labels=data.labels, max_drop=0.01, outputs=("prb",))
    error, message = (
        (ModelError, "network 'LeNet' has no value 'prb'")
        if kind is OnnxRuntimeEvaluator
        else (CaffeProcessError, "'prb'")
    )
    with pytest.raises(error, match=message):
        _value(evaluator)


def test_top_k_of_several_outputs(data):
    evaluator = OnnxRuntimeEvaluator(data.inputs, labels=data.labels, max_drop=0.01, outputs=("ip2", "prob"))
    with pytest.raises(EvaluatorError) as caught:
        _value(evaluator)
    assert str(caught.value) == "a top-k metric needs one output, the net has ip2, prob; choose one with outputs="


IMAGES = {"data": np.zeros((4, 1, 28, 28))}
NO_RULE = "give exactly one of max_drop, max_error and satisfied"
UNKNOWN = "is not known; top1, top5 (any number) and output_error are, or give a function"


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (IMAGES, {"max_drop": 0.1}, "metric 'top1' needs labels"),
        (IMAGES, {"max_drop": 0.1, "labels": np.zeros(3)}, "there are 3 labels for 4 samples"),
        (IMAGES, {"labels": np.zeros(4)}, NO_RULE),
        (IMAGES, {"labels": np.zeros(4), "max_drop": 0.0, "max_error": 0.0}, NO_RULE),
        (
            IMAGES,
            {"metric": "output_error", "max_drop": 0.1},
            "metric 'output_error' goes with max_error, found max_drop",
        ),
        (
            IMAGES,
            {"metric": "top1", "labels": np.zeros(4), "max_error": 0.1},
            "metric 'top1' goes with max_drop, found max_error",
        ),
        (IMAGES, {"metric": "top0", "max_drop": 0.1}, f"metric 'top0' {UNKNOWN}"),
        (IMAGES, {"metric": "accuracy", "max_drop": 0.1}, f"metric 'accuracy' {UNKNOWN}"),
        (IMAGES, {"labels": np.zeros(4), "max_drop": 0.1, "batch_size": 0}, "batch_size must be at least 1, found 0"),
        (
            {**IMAGES, "info": np.zeros((3, 2))},
            {"max_drop": 0.1},
            "the inputs must have one number of samples, at least 1; found {'data': 4, 'info': 3}",
        ),
        ({}, {"max_drop": 0.1}, "the inputs must have one number of samples, at least 1; found {}"),
    ],
)
def test_wrong_arguments(inputs, options, message):
    with pytest.raises(EvaluatorError) as caught:
        OnnxRuntimeEvaluator(inputs, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("rule", "original", "accepted", "refused"),
    [
        # 25 of 2500 images less are a drop of 0.01, though 0.5016 - 0.01 is more than 0.4916 in float64.
        ({"max_drop": 0.01}, 1254 / 2500, (1229 / 2500, 0.5016, 1.0), (1228 / 2500, 0.0)),
        ({"max_drop": 0.0}, 0.9, (0.9, 0.95), (0.8999999,)),
        ({"max_drop": 0.7}, 0.3, (-0.4,), (-0.400001,)),
        ({"metric": "output_error", "max_error": 0.05}, 0.0, (0.0, 0.05), (0.0500001, 1.0)),
        ({"satisfied": lambda original, new: new == original + 1}, 2.0, (3.0,), (2.0,)),
    ],
    ids=["max_drop", "no drop", "negative", "max_error", "satisfied"],
)
def test_what_satisfies(rule, original, accepted, refused):
    evaluator = OnnxRuntimeEvaluator(IMAGES, labels=np.zeros(4), **rule)
    assert [evaluator.is_satisfied(original, new) for new in accepted] == [True] * len(accepted)
    assert [evaluator.is_satisfied(original, new) for new in refused] == [False] * len(refused)


def test_batches_to_calibrate_on(data):
    images = data.inputs["data"]
    evaluator = OnnxRuntimeEvaluator(data.inputs, labels=data.labels, max_drop=0.01, batch_size=128)
    assert [len(batch["data"]) for batch in evaluator.calibration_batches(2)] == [128, 128]
    assert [len(batch["data"]) for batch in evaluator.calibration_batches(9)] == [128, 128, 44]
    other = {"data": (images[:5] * 255).astype(np.uint8)}
    evaluator = OnnxRuntimeEvaluator(data.inputs, labels=data.labels, max_drop=0.01, batch_size=3, calibration=other)
    first, second = (batch["data"] for batch in evaluator.calibration_batches(2))
    assert first.dtype == second.dtype == np.float32
    assert np.array_equal(np.concatenate([first, second]), other["data"])


def _is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.caffe
def test_one_child_process_serves_all_evaluations_and_closing_ends_it(data, caffe_python):
    with CaffeEvaluator(data.inputs, labels=data.labels, max_drop=0.01) as evaluator:
        assert evaluator._process is None
        first = evaluator.eval_model(*LENET_FILES, 1)
        pid = evaluator._process.pid
        evaluator.eval_model(*LENET_FILES, 1)
        assert evaluator._process.pid == pid
        assert _is_running(pid)
    assert not _is_running(pid)
    evaluator.close()
    again = evaluator.eval_model(*LENET_FILES, 1)
    new = evaluator._process.pid
    evaluator.close()
    assert again == first
    assert not _is_running(new)


@pytest.mark.caffe
def test_after_a_crash_of_caffe_the_next_evaluation_has_a_new_process(data, tmp_path, caffe_python):
    broken = tmp_path / "broken.prototxt"
    broken.write_text(LENET_MODEL.read_text().replace("num_output: 500", "num_output: 400"))
    with CaffeEvaluator(data.inputs, labels=data.labels, max_drop=0.01) as evaluator:
        with pytest.raises(CaffeProcessError, match="ip1"):
            evaluator.eval_model(str(broken), str(LENET_WEIGHTS), 1)
        assert evaluator.eval_model(*LENET_FILES, 1) > 0.8


def test_outputs_whose_size_depends_on_the_data(monkeypatch):
    """As a detection layer gives them: the numbers of two batches cannot be put together."""
    evaluator = OnnxRuntimeEvaluator(
        {"data": np.zeros((2, 1), np.float32)}, metric="output_error", max_error=1, batch_size=1
    )
    runs = [{"found": np.zeros((1, 1, count, 7), np.float32)} for count in (1, 3)]
    monkeypatch.setattr(evaluator, "run", lambda *arguments: iter(runs))
    with pytest.raises(EvaluatorError) as caught:
        evaluator.eval_model("m", "w", 2)
    assert str(caught.value) == (
        "these outputs have no fixed number of entries for each sample, so they cannot be compared: "
        "'found': (1, 1, 1, 7), (1, 1, 3, 7); choose blobs before them with outputs= (--outputs)"
    )
