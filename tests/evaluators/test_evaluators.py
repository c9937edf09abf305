"""The ready-made evaluators, in onnxruntime and in real Caffe."""

import os
import pickle
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nuqconv import BatchEvaluator, CaffeEvaluator, OnnxRuntimeEvaluator
from nuqconv.backends.caffe import write_caffe
from nuqconv.errors import CaffeProcessError, ConfigError, EvaluatorError, ModelError
from nuqconv.evaluators.identity import evaluator_identity
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.quantize.apply import Quantizer
from nuqconv.runtimes.caffe import CaffeProcess, Net
from nuqconv.runtimes.onnxruntime import cache
from nuqconv.runtimes.onnxruntime.runtime import OnnxRuntime
from nuqconv.search.metrics import metric_names
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, lenet_data
from tests.support.nets import blob_into, conv_net
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
    assert (
        str(caught.value)
        == "metric 'top1' needs one output, the net has ip2, prob; choose one with outputs= (--outputs)"
    )


IMAGES = {"data": np.zeros((4, 1, 28, 28))}
NO_RULE = "give exactly one of max_drop, max_error and satisfied"
UNKNOWN = f"is not known; these are: {metric_names()}; or give a function of your own"


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (IMAGES, {"max_drop": 0.1}, "metric 'top1' needs labels: the number of its class of each sample"),
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
        assert evaluator._models.idle == []
        first = evaluator.eval_model(*LENET_FILES, 1)
        pid = evaluator._models.idle[0].process.pid
        evaluator.eval_model(*LENET_FILES, 1)
        assert [child.process.pid for child in evaluator._models.idle] == [pid]
        assert _is_running(pid)
    assert not _is_running(pid)
    evaluator.close()
    again = evaluator.eval_model(*LENET_FILES, 1)
    new = evaluator._models.idle[0].process.pid
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


@pytest.mark.caffe
def test_weights_that_are_set_give_what_a_new_net_gives(data, quantized, tmp_path, caffe_python):
    """Codebooks of 16, 8 and 4 levels in one net; then another net, and back."""
    batches = [{"data": data.inputs["data"][:40]}, {"data": data.inputs["data"][40:60]}]
    models = [(quantized[0], str(tmp_path / f"{number}.caffemodel")) for number in range(3)]
    net = NetParameter.FromString(Path(quantized[1]).read_bytes())
    for number, (_, weights) in enumerate(models):
        layer = next(layer for layer in net.layer if layer.name == ("conv2", "ip1", "ip2")[number])
        values = np.frombuffer(layer.blobs[0].data[0], "<f4")
        layer.blobs[0].data[0] = (values - values % (8 << number)).astype("<f4").tobytes()
        Path(weights).write_bytes(net.SerializeToString())
    order = [quantized, models[0], models[2], models[2], models[1], LENET_FILES, models[0], quantized]
    with CaffeEvaluator(data.inputs, labels=data.labels, max_drop=0.01) as evaluator:
        found = [list(evaluator.run(*files, iter(batches))) for files in order]
        assert evaluator._models.idle[0].process.request("hello").fields["loads"] == 3
    with CaffeProcess(caffe_python) as process:
        for files, runs in zip(order, found, strict=True):
            fresh = Net(*files, process=process)
            for batch, outputs in zip(batches, runs, strict=True):
                assert outputs["prob"].tobytes() == fresh.run(batch)["prob"].tobytes()
    assert len({runs[0]["prob"].tobytes() for runs in found}) == 5


@pytest.mark.caffe
@pytest.mark.parametrize("sharing", ["", 'param { name: "same" }'])
def test_layers_that_share_weights_are_loaded_anew(tmp_path, caffe_python, sharing):
    """With shared weights the last layer of the file decides, so one layer by itself must not be set."""
    layer = (
        'layer {{ name: "{0}" type: "InnerProduct" bottom: "x" top: "{0}" {1} '
        "inner_product_param {{ num_output: 2 bias_term: false }} }}\n"
    )
    model = tmp_path / "m.prototxt"
    model.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 } } }\n'
        + layer.format("a", sharing)
        + layer.format("b", sharing)
    )
    files = []
    for number in range(2):
        net = NetParameter(name="m")
        for name, value in (("a", number + 1), ("b", 7)):
            item = net.layer.add(name=name, type="InnerProduct")
            blob_into(item.blobs.add(), np.full((2, 1), value))
        files.append(tmp_path / f"{number}.caffemodel")
        files[-1].write_bytes(net.SerializeToString())
    inputs = {"x": np.ones((1, 1), np.float32)}
    with CaffeEvaluator(inputs, metric="output_error", max_error=1) as evaluator:
        found = [next(evaluator.run(str(model), str(file), iter([inputs]))) for file in files]
        assert evaluator._models.idle[0].process.request("hello").fields["loads"] == (2 if sharing else 1)
    for file, outputs in zip(files, found, strict=True):
        with Net(model, file, python=caffe_python) as fresh:
            for name, array in fresh.run(inputs).items():
                assert np.array_equal(outputs[name], array)


@pytest.mark.caffe
def test_a_child_that_is_killed_is_a_clear_error_and_the_next_evaluation_has_a_new_one(data, quantized, caffe_python):
    with CaffeEvaluator(data.inputs, labels=data.labels, max_drop=0.01) as evaluator:
        expected = evaluator.eval_model(*quantized, 1)
        batch = {"data": data.inputs["data"][:8]}

        def killing():
            yield batch
            os.kill(child.process.pid, signal.SIGKILL)
            yield batch

        (child,) = evaluator._models.idle
        with pytest.raises(CaffeProcessError, match="SIGKILL"):
            list(evaluator.run(*quantized, killing()))
        assert evaluator._models.idle == []
        assert evaluator.eval_model(*quantized, 1) == expected
        assert evaluator._models.idle[0].process.pid != child.process.pid


@pytest.mark.caffe
def test_threads_evaluate_side_by_side(kind, data, quantized):
    expected = [
        _value(kind(data.inputs, labels=data.labels, max_drop=0.01), files) for files in (LENET_FILES, quantized)
    ]
    with kind(data.inputs, labels=data.labels, max_drop=0.01) as evaluator, ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(evaluator.eval_model, *files, 10) for files in (LENET_FILES, quantized) * 3]
        assert [future.result() for future in futures] == expected * 3


@pytest.mark.caffe
def test_a_pickled_evaluator_knows_the_original(kind, data, quantized):
    with kind(data.inputs, metric="output_error", max_error=0.1, batch_size=100) as evaluator:
        evaluator.eval_model(*LENET_FILES, 3)
        expected = evaluator.eval_model(*quantized, 3)
        with pickle.loads(pickle.dumps(evaluator)) as copy:
            assert copy.eval_model(*quantized, 3) == expected > 0
            assert copy.data_version == evaluator.data_version


def _twice(factor):
    return lambda outputs, labels: float(outputs["prob"].sum() * factor)


def test_the_version_of_the_data():
    labels = np.zeros(4, np.int64)

    def version(inputs=IMAGES, labels=labels, **options):
        return OnnxRuntimeEvaluator(inputs, labels=labels, **{"max_drop": 0.1, **options}).data_version

    same = {
        version(),
        version(max_drop=0.2),
        version(max_drop=None, satisfied=lambda one, two: one == two),
        version({"data": np.zeros((4, 1, 28, 28), np.float32)}),
        version(calibration={"data": np.ones((4, 1, 28, 28))}),
        version(threads=1),
    }
    assert len(same) == 1
    other = [
        version({"data": np.ones((4, 1, 28, 28))}),
        version({"image": np.zeros((4, 1, 28, 28))}),
        version(labels=labels + 1),
        version(metric="top5"),
        version(batch_size=2),
        version(outputs=("prob",)),
        version(metric=_twice(1)),
        version(metric=_twice(2)),
    ]
    assert len({*same, *other}) == len(other) + 1
    assert version(metric=_twice(2)) == other[-1]


def test_one_session_for_all_batch_sizes_and_for_equal_models(data, monkeypatch, tmp_path):
    made, original = [], cache.ExchangeSession

    def session(graph, **options):
        made.append(graph)
        return original(graph, **options)

    monkeypatch.setattr(cache, "ExchangeSession", session)
    copy = tuple(str(tmp_path / Path(file).name) for file in LENET_FILES)
    for old, new in zip(LENET_FILES, copy, strict=True):
        shutil.copy(old, new)
    evaluator = OnnxRuntimeEvaluator(data.inputs, labels=data.labels, max_drop=0.01, batch_size=128)
    first = evaluator.eval_model(*LENET_FILES, 3)
    assert evaluator.eval_model(*copy, 3) == first
    assert len(made) == 1
    net = NetParameter.FromString(Path(copy[1]).read_bytes())
    blob = next(layer for layer in net.layer if layer.name == "ip2").blobs[1]
    blob.data[0] = np.zeros(10, "<f4").tobytes()
    Path(copy[1]).write_bytes(net.SerializeToString())
    assert evaluator.eval_model(*copy, 3) != first
    assert len(made) == 2


def test_outputs_whose_size_depends_on_the_data(monkeypatch):
    """As a detection layer gives them: the numbers of two batches cannot be put together."""
    evaluator = OnnxRuntimeEvaluator(
        {"data": np.zeros((2, 1), np.float32)}, metric="output_error", max_error=1, batch_size=1
    )
    runs = [{"found": np.zeros((1, 1, count, 7), np.float32)} for count in (1, 3)]
    monkeypatch.setattr(
        evaluator, "run", lambda model, weights, batches: (run for run, _ in zip(runs, batches, strict=True))
    )
    with pytest.raises(EvaluatorError) as caught:
        evaluator.eval_model("m", "w", 2)
    assert str(caught.value) == (
        "these outputs have no fixed number of entries for each sample, so they cannot be compared: "
        "'found': (1, 1, 1, 7), (1, 1, 3, 7); choose blobs before them with outputs= (--outputs)"
    )


@pytest.mark.caffe
@pytest.mark.parametrize("runtime", ["onnxruntime", "caffe", "opencv"])
def test_every_runtime_gives_the_metric_of_real_caffe(runtime, data, quantized, scores, caffe_python):
    options = {"metric": "output_error", "max_error": 0.1, "batch_size": 128, "runtime": runtime}
    with BatchEvaluator(data.inputs, **options) as evaluator:
        runs = list(evaluator.run(*LENET_FILES, evaluator.calibration_batches(3)))
        assert evaluator.eval_model(*LENET_FILES, 3) == 0
        found = evaluator.eval_model(*quantized, 3)
    np.testing.assert_allclose(np.concatenate([run["prob"] for run in runs]), scores, rtol=1e-4, atol=1e-6)
    with Net(*quantized, python=caffe_python) as net:
        other = net.run(data.inputs)["prob"]
    assert found == pytest.approx(np.linalg.norm(other - scores) / np.linalg.norm(scores), rel=1e-4)


@pytest.mark.parametrize("runtime", ["onnxruntime", "opencv"])
def test_blobs_by_name_in_every_runtime(runtime, data):
    with BatchEvaluator(
        data.inputs, metric="output_error", max_error=1, outputs=("pool2", "ip2"), runtime=runtime
    ) as one:
        (run,) = one.run(*LENET_FILES, one.calibration_batches(1))
        assert {name: array.shape for name, array in run.items()} == {"pool2": (32, 50, 4, 4), "ip2": (32, 10)}
    with (
        BatchEvaluator(data.inputs, metric="output_error", max_error=1, outputs=("prb",), runtime=runtime) as one,
        pytest.raises(ModelError, match="'prb'"),
    ):
        one.eval_model(*LENET_FILES, 1)


def test_a_runtime_with_options():
    one = BatchEvaluator(IMAGES, metric="output_error", max_error=1, runtime=OnnxRuntime(threads=1, isolate=True))
    assert one.isolate
    assert pickle.loads(pickle.dumps(one)).runtime == one.runtime
    assert not CaffeEvaluator(IMAGES, metric="output_error", max_error=1).isolate
    with pytest.raises(
        ConfigError, match="runtime 'torch' is not known; known are onnxruntime, caffe, opencv, caffe2onnx"
    ):
        BatchEvaluator(IMAGES, metric="output_error", max_error=1, runtime="torch")
    for options in ({"threads": 0}, {"timeout": 3.0}, {"isolate": True, "memory_limit": 5}):
        with pytest.raises(ConfigError):
            OnnxRuntime(**options)


def test_what_journals_call_an_evaluator():
    """Names that journals of earlier versions hold, and one for each other runtime."""
    options = {"metric": "output_error", "max_error": 1}
    old = "7b0e4e91dc7ebcf24698121094d3d6a9"

    class Own(BatchEvaluator):
        """A class of the user's."""

    def known(kind, **more):
        return evaluator_identity(kind(IMAGES, **options, **more))

    assert known(OnnxRuntimeEvaluator)["evaluator"] == "nuqconv.evaluators.OnnxRuntimeEvaluator"
    assert known(CaffeEvaluator)["evaluator"] == "nuqconv.evaluators.CaffeEvaluator"
    assert known(CaffeEvaluator)["data version"].startswith(old)
    assert known(BatchEvaluator, runtime="caffe") == known(CaffeEvaluator)
    assert known(BatchEvaluator) == known(OnnxRuntimeEvaluator, threads=1)
    names = ("onnxruntime", "caffe", "opencv", "caffe2onnx")
    for kind in (BatchEvaluator, Own):
        assert len({str(known(kind, runtime=name)) for name in names}) == len(names)
