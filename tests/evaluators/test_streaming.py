"""Evaluators over data sets that are read batch by batch, with the metrics of the table."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nuqconv import OnnxRuntimeEvaluator
from nuqconv.data import Batch, DataSet
from nuqconv.errors import EvaluatorError
from nuqconv.evaluators.fitting import check_outputs
from nuqconv.evaluators.identity import evaluator_identity
from nuqconv.evaluators.reference import Reference
from nuqconv.frontends.caffe import load_graph
from nuqconv.search.metrics import Boxes, parse_metric
from tests.support.nets import conv_net, write_net


class Drawn(DataSet):
    """Pictures of the small net that are made when they are read; what is read is counted."""

    def __init__(self, count, labels=True):
        self.count, self.labels, self.read = count, labels, 0

    def __len__(self):
        return self.count

    def batches(self, batch_size, limit=None):
        end = min(self.count, limit or self.count)
        for start in range(0, end, batch_size):
            places = range(start, min(start + batch_size, end))
            self.read += len(places)
            arrays = [np.random.default_rng(place).normal(size=(3, 12, 12)) for place in places]
            labels = np.arange(places.start, places.stop) % 5 if self.labels else None
            yield Batch({"data": np.float32(arrays)}, labels, tuple(f"picture {place}" for place in places))

    def digest(self):
        return f"{self.count} drawn"

    def describe(self):
        return f"{self.count} drawn pictures"

    def arrays(self):
        (batch,) = self.batches(self.count)
        return batch.inputs, batch.labels


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Two nets with other weights."""
    folder = tmp_path_factory.mktemp("nets")
    return [tuple(map(str, vars(conv_net(folder, seed, f"net{seed}")).values())) for seed in (0, 1)]


def values(evaluator, nets):
    with evaluator:
        return [evaluator.eval_model(*files, evaluator.evaluate_batch_num) for files in nets]


@pytest.mark.parametrize(
    ("metric", "limit"),
    [
        ("top1", "max_drop"),
        ("top2", "max_drop"),
        ("agreement", "max_drop"),
        ("cosine", "max_drop"),
        ("output_error", "max_error"),
    ],
)
def test_a_data_set_gives_what_arrays_give(nets, metric, limit):
    inputs, labels = Drawn(30).arrays()
    options = {"metric": metric, limit: 0.1}
    expected = values(OnnxRuntimeEvaluator(inputs, labels=labels, **options), nets)
    assert expected[0] != expected[1]
    for batch_size in (4, 7, 30):
        found = values(OnnxRuntimeEvaluator(Drawn(30), batch_size=batch_size, **options), nets)
        assert found == pytest.approx(expected, rel=1e-6)


def test_only_the_batches_that_are_asked_for_are_read(nets):
    data = Drawn(30)
    evaluator = OnnxRuntimeEvaluator(data, max_drop=0.1, batch_size=4)
    before = data.read
    evaluator.eval_model(*nets[0], 2)
    # The names and the shapes of the inputs cost a sample each at the most.
    assert data.read - before <= 8 + 2
    assert [len(batch["data"]) for batch in evaluator.calibration_batches(3)] == [4, 4, 4]
    assert evaluator.evaluate_batch_num == 8


def test_memory_does_not_grow_with_the_number_of_samples(nets):
    """Beyond what the metric keeps: 16 bytes of a sample for top-1, its 5 outputs and 16 bytes for the error."""

    def peak(count, metric, limit):
        evaluator = OnnxRuntimeEvaluator(Drawn(count), metric=metric, batch_size=32, **{limit: 0.1})
        values(evaluator, nets)
        gc.collect()
        tracemalloc.start()
        values(evaluator, nets)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    for metric, limit, each in (("top1", "max_drop", 64), ("output_error", "max_error", 128)):
        few, many = (peak(count, metric, limit) for count in (64, 2048))
        assert many - few < 2048 * each < 2048 * 3 * 12 * 12 * 4


def test_the_identity_is_that_of_the_data_and_of_the_metric():
    def version(data, **options):
        return evaluator_identity(OnnxRuntimeEvaluator(data, **{"max_drop": 0.1, **options}))["data version"]

    assert version(Drawn(30)) == version(Drawn(30)) == version(Drawn(30), max_drop=0.2)
    others = [version(Drawn(31)), version(Drawn(30), metric="top2"), version(Drawn(30), batch_size=4)]
    assert len({version(Drawn(30)), *others}) == 4


def test_boxes_are_part_of_the_identity():
    inputs = {"data": np.zeros((2, 3, 4, 4), np.float32)}

    def version(*corners):
        labels = [Boxes([1], [[0, 0, 1, corner]]) for corner in corners]
        return OnnxRuntimeEvaluator(inputs, labels=labels, metric="voc_map", max_drop=0.1).data_version

    assert version(1, 0.5) == version(1, 0.5) != version(1, 0.6)


def test_labels_that_are_missing_or_given_twice():
    with pytest.raises(EvaluatorError, match="metric 'top1' needs labels: the number of its class of each sample"):
        OnnxRuntimeEvaluator(Drawn(4, labels=False), max_drop=0.1)
    with pytest.raises(EvaluatorError, match="labels= goes with data in memory"):
        OnnxRuntimeEvaluator(Drawn(4), labels=np.zeros(4), max_drop=0.1)


@pytest.mark.parametrize("labels", [np.array([0.5, 1.5, 2.5]), np.arange(6).reshape(3, 2), ["a", "b", "c"]])
def test_a_function_is_given_the_labels_as_they_are(nets, labels):
    seen = []

    def metric(outputs, given):
        seen.append(given)
        return len(outputs["prob"])

    inputs = {"data": np.zeros((3, 3, 12, 12), np.float32)}
    evaluator = OnnxRuntimeEvaluator(inputs, labels=labels, metric=metric, max_drop=1, batch_size=2)
    assert values(evaluator, nets[:1]) == [3]
    assert np.array_equal(seen[0], labels)
    assert type(seen[0]) is (np.ndarray if isinstance(labels, np.ndarray) else tuple)


def test_the_first_model_is_the_original_for_all_threads_and_copies(nets):
    with OnnxRuntimeEvaluator(Drawn(24), metric="agreement", max_drop=0.1, batch_size=8) as evaluator:
        assert evaluator.eval_model(*nets[0], 3) == 1
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda files: evaluator.eval_model(*files, 3), [nets[1], nets[0]] * 3))
        assert found[0] < 1
        assert found == found[:2] * 3
        assert found[1] == 1
        copy = pickle.loads(pickle.dumps(evaluator))
    with copy:
        assert copy.eval_model(*nets[1], 3) == found[0]


def test_how_sure_a_metric_is(nets):
    with OnnxRuntimeEvaluator(Drawn(40), max_drop=0.1, batch_size=8) as evaluator:
        assert evaluator.metric_interval(*nets[1], 5) is None
        first = evaluator.eval_model(*nets[0], 5)
        found = evaluator.metric_interval(*nets[1], 5)
        assert found.estimate == evaluator.eval_model(*nets[1], 5) - first
        assert found.low <= found.estimate <= found.high
        assert found.units == 40
        assert evaluator.tells_interval
    assert not OnnxRuntimeEvaluator(Drawn(4), metric=len, max_drop=1).tells_interval


@pytest.mark.parametrize("most", [0, 100, 1 << 20])
def test_what_is_kept_of_the_original(most, tmp_path, monkeypatch):
    """In memory, in a file, and some of both; arrays without entries too."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    random = np.random.default_rng(0)
    batches = [{"a": random.normal(size=(2, 3)).astype(np.float32), "b": np.zeros((number, 7))} for number in range(4)]
    reference = Reference(most)
    for batch in batches:
        reference.append(batch)
    assert (reference._file is None) == (most == 1 << 20)
    for copy in (reference, pickle.loads(pickle.dumps(reference))):
        assert len(copy) == 4
        for number in (2, 0, 3, 1):
            for name, array in batches[number].items():
                assert copy[number][name].tobytes() == array.tobytes()
                assert (copy[number][name].shape, copy[number][name].dtype) == (array.shape, array.dtype)
    # Nothing is left to be removed, whatever ends the process.
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(EvaluatorError, match=r"cannot be kept in .*missing: .*set TMPDIR to a folder with room"):
        Reference(0).append({"a": np.zeros(4)})


DETECTOR = """
name: "detector"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "mbox" type: "Convolution" bottom: "data" top: "mbox" convolution_param { num_output: 4 kernel_size: 8 } }
layer { name: "loc" type: "Flatten" bottom: "mbox" top: "loc" }
layer { name: "score" type: "Convolution" bottom: "data" top: "score" convolution_param { num_output: 3 kernel_size: 8 } }
layer { name: "shaped" type: "Reshape" bottom: "score" top: "shaped" reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "soft" type: "Softmax" bottom: "shaped" top: "soft" softmax_param { axis: 2 } }
layer { name: "conf" type: "Flatten" bottom: "soft" top: "conf" }
layer { name: "prior" type: "PriorBox" bottom: "mbox" bottom: "data" top: "prior" prior_box_param { min_size: 6 variance: 0.1 } }
layer { name: "found" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "found"
  detection_output_param { num_classes: 3 background_label_id: 0 nms_param { nms_threshold: 0.45 } confidence_threshold: 0.2 } }
"""


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    random = np.random.default_rng(3)
    weights = {
        "mbox": [random.normal(size=(4, 3, 8, 8)) / 14, np.zeros(4)],
        "score": [random.normal(size=(3, 3, 8, 8)) / 7, np.zeros(3)],
    }
    files = write_net(tmp_path_factory.mktemp("detector"), DETECTOR, weights)
    return str(files.model), str(files.weights)


def test_outputs_of_open_length_are_refused_before_anything_is_run(detector):
    data = Drawn(8)
    evaluator = OnnxRuntimeEvaluator(data, metric="output_error", max_error=0.1, batch_size=2)
    read = data.read
    with pytest.raises(EvaluatorError) as caught:
        evaluator.eval_model(*detector, 4)
    assert data.read - read <= 2
    message, *problems = str(caught.value).splitlines()
    assert message == (
        "metric 'output_error' takes outputs with a fixed number of entries for each sample, which these are not; take 'loc', 'conf' "
        "with outputs= (--outputs), or judge the boxes by detections, voc_map, coco_ap"
    )
    assert problems == [
        f"  - 'found': {detector[0]}:11: layer 'found' (DetectionOutput): how many detections it lists depends on the weights"
    ]


def test_which_outputs_a_metric_takes(detector, nets):
    graph, plain = load_graph(*detector), load_graph(*nets[0])
    for metric in ("detections", "voc_map", "coco_ap:iou=0.5"):
        check_outputs(parse_metric(metric), graph)
        with pytest.raises(EvaluatorError, match="'loc' is something else: choose 'found' with outputs="):
            check_outputs(parse_metric(metric), graph, ["loc"])
        with pytest.raises(EvaluatorError, match="'prob' is something else: the net has no such layer"):
            check_outputs(parse_metric(metric), plain)
    check_outputs(parse_metric("output_error"), graph, ["loc", "conf"])
    # A name that only a runtime may know is left to it.
    check_outputs(parse_metric("top1"), plain, ["elsewhere"])
    with pytest.raises(EvaluatorError, match="metric 'top1' needs one output, the net has loc, conf; choose one"):
        check_outputs(parse_metric("top1"), graph, ["loc", "conf"])


def test_boxes_of_a_net_against_its_own(detector, tmp_path):
    """The same weights find the same; with noise on them some boxes are others. Every batch has another number of boxes."""
    evaluator = OnnxRuntimeEvaluator(
        {"data": np.random.default_rng(1).normal(size=(24, 3, 8, 8))}, metric="detections", max_drop=0.5, batch_size=3
    )
    with evaluator:
        shapes = {run["found"].shape for run in evaluator.run(*detector, evaluator.calibration_batches(8))}
        assert len(shapes) > 1
        assert evaluator.eval_model(*detector, 8) == 1
        random = np.random.default_rng(3)
        weights = {
            "mbox": [random.normal(size=(4, 3, 8, 8)) / 14, np.zeros(4)],
            "score": [random.normal(size=(3, 3, 8, 8)) / 7, np.zeros(3)],
        }
        weights["score"][0] += np.random.default_rng(4).normal(size=(3, 3, 8, 8)) / 20
        files = write_net(tmp_path, DETECTOR, weights)
        found = evaluator.eval_model(str(files.model), str(files.weights), 8)
        assert 0.5 < found < 1
        assert evaluator.metric_interval(str(files.model), str(files.weights), 8).estimate == found - 1
