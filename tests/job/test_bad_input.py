"""Bad models and evaluators from end to end: a clear error that names file, layer and remedy, and an output folder that stays empty."""

import re

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import EvaluatorError, FormatError, ModelError, UnsupportedError
from nuqconv.frontends.caffe.schema import NetParameter
from tests.support.auto import LENET, LENET_WEIGHTS, Job, Judge, batches, contents, error_evaluator


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The files of a run."""
    return Job(tmp_path_factory.mktemp("finished") / "job").run(error_evaluator()).files


def _config_refused(job, error, model, weights):
    with pytest.raises(error) as caught:
        nuqconv.create_quant_config(job.out / "config.json", model, weights)
    assert contents(job.out) == {}
    return str(caught.value).splitlines()


def _model_refused(job, error, *, model=None, weights=None):
    """A model that both the job and the making of its configuration refuse, in the same words."""
    model, weights = model or job.files.model, weights or job.files.weights
    lines = job.refused(error, model=model, weights=weights)
    assert _config_refused(job, error, model, weights) == lines
    return lines


EMPTY = "is empty; a network definition (.prototxt) is expected here"


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (0, f": {EMPTY}"),
        (100, ":3: '{' is never closed; the file may be truncated"),
        (-5, ":15: a string that starts here does not end on its line"),
    ],
)
def test_a_prototxt_that_is_cut(job, tmp_path, end, message):
    cut = tmp_path / "cut.prototxt"
    cut.write_text(job.files.model.read_text()[:end])
    assert _model_refused(job, FormatError, model=cut) == [f"{cut}{message}"]


@pytest.mark.parametrize("end", [1, 100, 4000, -1])
def test_a_caffemodel_that_is_cut(job, tmp_path, end):
    cut = tmp_path / "cut.caffemodel"
    cut.write_bytes(job.files.weights.read_bytes()[:end])
    (line,) = _model_refused(job, FormatError, weights=cut)
    size = cut.stat().st_size
    assert line.startswith(f"{cut}: is no .caffemodel, or is truncated or damaged ({size} bytes): ")


def test_an_empty_caffemodel(job, tmp_path):
    empty = tmp_path / "empty.caffemodel"
    empty.touch()
    assert _model_refused(job, FormatError, weights=empty) == [
        f"{empty}: is empty; trained weights (.caffemodel) are expected here"
    ]


def test_files_that_are_not_there(job, tmp_path):
    missing = tmp_path / "none"
    assert _model_refused(job, FormatError, model=missing) == [f"{missing}: cannot be read: No such file or directory"]
    assert _model_refused(job, FormatError, weights=missing) == [
        f"{missing}: cannot be read: No such file or directory"
    ]
    assert _model_refused(job, FormatError, weights=tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]


def test_model_and_weights_in_the_wrong_order(job):
    (line,) = _model_refused(job, FormatError, model=job.files.weights, weights=job.files.model)
    assert re.fullmatch(
        re.escape(f"{job.files.weights}: is no text file (byte ") + r"\d+ is not UTF-8\); a .prototxt is expected here",
        line,
    )


def test_weights_of_another_model(job):
    model = job.files.model
    assert _model_refused(job, ModelError, weights=LENET_WEIGHTS) == [
        f"{model} with {LENET_WEIGHTS}: the model is not valid",
        f"  - {model}:4: layer 'conv1' (Convolution): needs 1 blobs, {LENET_WEIGHTS} has 2 blobs for it",
        f"  - {model}:6: layer 'bn1' (BatchNorm): needs 3 blobs, {LENET_WEIGHTS} has no entry for it",
        f"  - {model}:7: layer 'scale1' (Scale): needs 2 blobs, {LENET_WEIGHTS} has no entry for it",
        f"  - {model}:14: layer 'fc' (InnerProduct): needs 2 blobs, {LENET_WEIGHTS} has no entry for it",
    ]


@pytest.fixture
def weights_with(job, tmp_path):
    """Writes the job's weights with a change."""

    def write(change):
        net = NetParameter()
        net.ParseFromString(job.files.weights.read_bytes())
        change({layer.name: layer for layer in net.layer})
        path = tmp_path / "changed.caffemodel"
        path.write_bytes(net.SerializeToString())
        return path

    return write


def _change_numbers(layer, number, change):
    blob = layer.blobs[number]
    array = np.frombuffer(b"".join(blob.data), "<f4").copy()
    del blob.data[:]
    blob.data.append(change(array).tobytes())


def test_weights_of_another_shape(job, weights_with):
    def change(layers):
        layers["fc"].blobs[0].shape.dim[:] = [10, 144]

    path = weights_with(change)
    assert _model_refused(job, ModelError, weights=path) == [
        f"{job.files.model} with {path}: the model is not valid",
        f"  - {job.files.model}:14: layer 'fc' (InnerProduct): parameters have shapes 10x144, 5, expected 5x288, 5",
    ]


@pytest.mark.parametrize(("keep", "count"), [(1, 1), (0, 0)])
def test_a_missing_blob(job, weights_with, keep, count):
    def change(layers):
        del layers["conv2"].blobs[keep:]

    path = weights_with(change)
    assert _model_refused(job, ModelError, weights=path) == [
        f"{job.files.model} with {path}: the model is not valid",
        f"  - {job.files.model}:9: layer 'conv2' (Convolution): needs 2 blobs, {path} has {count} blobs for it",
    ]


def test_a_blob_with_too_few_numbers(job, weights_with):
    path = weights_with(lambda layers: _change_numbers(layers["conv2"], 0, lambda array: array[:-1]))
    assert _model_refused(job, ModelError, weights=path) == [
        f"{job.files.model} with {path}: the model is not valid",
        (
            f"  - {job.files.model}:9: layer 'conv2' (Convolution): blob 0 of shape (8, 8, 3, 3) holds 575 numbers, "
            f"but its shape is 8x8x3x3 ({path})"
        ),
    ]


def test_weights_that_are_not_finite(job, weights_with):
    def spoil(array):
        array[[3, 7]] = np.nan, np.inf
        return array

    path = weights_with(lambda layers: _change_numbers(layers["conv2"], 0, spoil))
    assert _model_refused(job, ModelError, weights=path) == [
        f"{job.files.model} with {path}: the model is not valid",
        f"  - {job.files.model}:9: layer 'conv2' (Convolution): 2 of 576 numbers in 'conv2/0' are NaN or infinite",
    ]


def test_a_net_for_training(job):
    train = LENET / "train.prototxt"
    line, *layers = _model_refused(job, UnsupportedError, model=train, weights=LENET_WEIGHTS)
    assert line == (
        f"{train}: is a net for training or testing on a data set; give the deploy form of it, whose input is an Input layer. "
        f"`nuqconv convert {train} WEIGHTS.caffemodel deploy.prototxt` makes it. Layers that stand in the way:"
    )
    assert layers[-1] == f"  - {train}:90: layer 'loss' (SoftmaxWithLoss)"


def test_a_deploy_model(job, finished):
    model = finished.deploy_model
    line, *parts = _model_refused(job, UnsupportedError, model=model, weights=finished.deploy_weights)
    assert line == f"{model} is quantized already; give the float model"
    assert parts[:2] == [
        f"  - {model}:15: layer 'conv1_0_quant_layer' (Quant)",
        f"  - {model}:27: layer 'conv1' (Convolution): has int32 and int8 weights",
    ]


def test_a_fake_quant_model(job, finished):
    model = finished.fake_quant_model
    line, *parts = _model_refused(job, UnsupportedError, model=model, weights=finished.fake_quant_weights)
    assert line == f"{model} is quantized already; give the float model"
    # The search may leave a layer without weights in float: it saves nothing there.
    quantized = [name for name in ("conv1", "conv2", "pool", "fc") if f'"{name}_dequant_layer"' in model.read_text()]
    assert {"conv1", "conv2", "fc"} <= set(quantized)
    assert [re.sub(r"^.*:\d+: ", "", part) for part in parts] == [
        f"layer '{name}_dequant_layer' (Scale): is what a fake_quant model has behind '{name}'" for name in quantized
    ]


NUMBER = "it must return one number: an int, a float, or a numpy scalar"


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (None, f"returned None; {NUMBER}"),
        (float("nan"), "returned nan; it must return a finite number"),
        (float("inf"), "returned inf; it must return a finite number"),
        ("0.5", f"returned '0.5' (str); {NUMBER}"),
        (ZeroDivisionError("no images"), "raised ZeroDivisionError: no images"),
    ],
    ids=str,
)
@pytest.mark.parametrize("later", [False, True], ids=["original", "quantized"])
def test_an_evaluator_without_a_number(job, metric, message, later):
    def measure(text):
        if later and "_dequant_layer" not in text:
            return 0.0
        if isinstance(metric, Exception):
            raise metric
        return metric

    (line,) = job.refused(EvaluatorError, evaluator=Judge(measure), calibration_data=batches())
    place, found = line.split(", 2) ")
    assert found == message
    if later:
        assert re.fullmatch(
            rf"trial 1 \(int8 for all layers\): Judge\.eval_model\('{job.out}/\.nuqconv-[\w.]+/work/trial/net_fake_quant_model\.prototxt', "
            rf"'{job.out}/\.nuqconv-[\w.]+/work/trial/net_fake_quant_weights\.caffemodel'",
            place,
        )
    else:
        assert place == f"Judge.eval_model('{job.files.model}', '{job.files.weights}'"


@pytest.mark.parametrize(
    ("verdict", "message"),
    [
        (None, "returned None; it must return True or False"),
        (1, "returned 1 (int); it must return True or False"),
        ("yes", "returned 'yes' (str); it must return True or False"),
    ],
)
def test_a_verdict_that_is_no_bool(job, verdict, message):
    lines = job.refused(EvaluatorError, evaluator=Judge(accepts=lambda metric: verdict))
    assert lines == [f"Judge.is_satisfied(0.0, 0.0) {message}"]


def test_an_evaluator_that_refuses_the_original(job):
    assert job.refused(EvaluatorError, evaluator=Judge(accepts=lambda metric: False)) == [
        (
            f"broken evaluator: Judge.is_satisfied(0.0, 0.0) is False: the original model '{job.files.model}' itself is refused, "
            "so no quantized model can be judged; is_satisfied must compare the new metric with the original one and accept an equal one"
        )
    ]


def test_what_is_no_evaluator(job):
    assert job.refused(EvaluatorError, evaluator=Judge) == [
        "the evaluator is the class Judge itself; pass an instance of it: Judge()"
    ]
    assert job.refused(EvaluatorError, evaluator=nuqconv.AutoNuqEvaluatorBase()) == [
        "AutoNuqEvaluatorBase is no evaluator; derive it from AutoNuqEvaluatorBase and write the methods",
        "  - eval_model(self, model_file, weights_file, batch_num) is missing",
        "  - is_satisfied(self, original_metric, new_metric) is missing",
    ]
