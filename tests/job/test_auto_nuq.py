"""The whole job on a small net: what is written, what is left alone when it fails, and every way to steer it."""

import json
import time

import numpy as np
import pytest

import nuqconv
from nuqconv.backends.caffe.record import read_record
from nuqconv.errors import CalibrationError, EvaluatorError, SearchError
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir.ops import Opaque
from nuqconv.job.calibration import Source
from nuqconv.quantize.plan import Precision
from tests.support.auto import OUTPUTS, WEIGHT_ONLY_OUTPUTS, Job, Judge, batches, contents, error_evaluator
from tests.support.nets import Files, write_net


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job")


@pytest.fixture
def edit(job):
    """Changes the configuration."""

    def change(function):
        tree = json.loads(job.config.read_text())
        function(tree)
        job.config.write_text(json.dumps(tree))

    return change


def _error_of(job, result):
    evaluator = error_evaluator()
    evaluator.eval_model(str(job.files.model), str(job.files.weights), 2)
    return evaluator.eval_model(str(result.files.fake_quant_model), str(result.files.fake_quant_weights), 2)


def test_the_result_is_what_is_on_disk(job):
    evaluator = error_evaluator()
    result = job.run(evaluator)
    assert sorted(contents(job.out)) == list(OUTPUTS)
    assert result.original_metric == 0
    assert result.calibration is Source.ONNXRUNTIME
    assert result.folded == {"conv1": ("bn1", "scale1")}
    assert _error_of(job, result) == result.metric <= 0.05
    accepted = next(trial for trial in result.trials if trial.plan == result.plan)
    assert accepted.accepted
    assert accepted.metric == result.metric
    nuq = [name for name, layer in result.plan.items() if layer.precision is Precision.NUQ]
    assert result.files.nuq_layer_record.read_text() == ";".join(nuq) + "\n"
    assert nuq
    deploy = load_graph(result.files.deploy_model, result.files.deploy_weights)
    for name in nuq:
        weights = deploy.params[deploy.node[name].params[0]]
        assert weights.dtype == np.int8
        assert len(np.unique(weights)) <= result.plan[name].num_steps


def test_the_module_can_be_called_and_holds_the_function(job):
    nuqconv.auto_nuq.auto_nuq(
        str(job.files.model),
        str(job.files.weights),
        error_evaluator(),
        str(job.config),
        job.out / "record.txt",
        job.out / "net",
    )
    by_function = contents(job.out)
    job.run(error_evaluator())
    assert contents(job.out) == by_function


def test_a_second_run_overwrites_with_the_same_bytes(job):
    job.run(error_evaluator())
    first = contents(job.out)
    for name in OUTPUTS:
        (job.out / name).write_text("of an earlier run")
    job.run(error_evaluator())
    assert contents(job.out) == first


class Interrupted:
    """Fails at its n-th evaluation."""

    def __init__(self, number, error):
        self.left, self.error, self.inner = number, error, error_evaluator()
        self.calibration_batches = self.inner.calibration_batches
        self.is_satisfied = self.inner.is_satisfied

    def eval_model(self, model_file, weights_file, batch_num):
        self.left -= 1
        if not self.left:
            raise self.error
        return self.inner.eval_model(model_file, weights_file, batch_num)


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize(
    ("error", "raised"), [(RuntimeError("no more"), EvaluatorError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
@pytest.mark.parametrize("earlier", [True, False], ids=["after a run", "first"])
def test_a_run_that_breaks_off_leaves_everything_as_it_was(job, number, error, raised, earlier):
    if earlier:
        job.run(error_evaluator())
    before = contents(job.folder)
    with pytest.raises(raised) as caught:
        job.run(Interrupted(number, error))
    assert contents(job.folder) == before
    if raised is EvaluatorError:
        assert str(caught.value).startswith("trial " if number > 1 else "Interrupted.eval_model('")
        assert "Interrupted.eval_model('" in str(caught.value)
        assert str(caught.value).endswith("raised RuntimeError: no more")
        assert ("_fake_quant_model.prototxt" in str(caught.value)) == (number > 1)


def test_an_interrupt_during_calibration_in_the_evaluators_caffe(job):
    def metric(text):
        if "python_param" in text:
            raise KeyboardInterrupt
        return 0.0

    before = contents(job.folder)
    with pytest.raises(KeyboardInterrupt):
        job.run(Judge(metric))
    assert contents(job.folder) == before


@pytest.mark.parametrize("earlier", [True, False], ids=["after a run", "first"])
def test_nothing_is_accepted(job, earlier):
    if earlier:
        job.run(error_evaluator())
    before = contents(job.folder)
    with pytest.raises(SearchError) as caught:
        job.run(error_evaluator(max_error=1e-9))
    assert contents(job.folder) == before
    best = caught.value.best
    assert best.metric > 0
    assert not best.accepted
    text = str(caught.value)
    assert text.startswith("no plan with a quantized layer satisfies the evaluator: ")
    assert f"original metric 0, nearest was trial {best.number} ({best.step}), metric {best.metric:.6g}. " in text
    assert text.endswith("Loosen is_satisfied, or calibrate on more batches (batch_num)")


def _forbids(layer):
    """Accepts only models in which a layer is float."""
    return Judge(lambda text: -1.0 if f'"{layer}_dequant_layer"' in text else 0.0, lambda metric: metric == 0)


def test_a_layer_that_int8_harms_goes_back_to_float(job):
    result = job.run(_forbids("fc"), calibration_data=batches())
    assert result.reverted == ("fc",)
    assert result.notes == ("int8 was too coarse for these layers, which stay float: fc",)
    assert "fc" not in result.plan or result.plan["fc"].precision is Precision.FLOAT
    assert {layer.name: layer.precision for layer in result.layers} == {
        "conv1": Precision.NUQ,
        "conv2": Precision.NUQ,
        "fc": Precision.FLOAT,
    }
    original = load_graph(job.files.model, job.files.weights)
    for model, weights in (
        (result.files.fake_quant_model, result.files.fake_quant_weights),
        (result.files.deploy_model, result.files.deploy_weights),
    ):
        graph = load_graph(model, weights)
        assert all(np.array_equal(graph.params[name], original.params[name]) for name in ("fc/0", "fc/1"))
    assert [entry.key for entry in read_record(result.files.scale_offset_record).record] == ["conv1", "conv2", "pool"]


def test_one_evaluation_is_uniform_int8(job):
    result = job.run(error_evaluator(), max_evaluations=1)
    assert (result.evaluations, result.stopped_by) == (1, "max_evaluations")
    assert {layer.precision for layer in result.layers} == {Precision.INT8}
    assert result.sizes.bytes == result.sizes.int8_bytes == result.best.bytes
    assert result.notes[-1] == "no layer is compressed further than int8 at what was demanded"
    assert [note.partition(",")[0] for note in result.notes[:-1]] == ["calibrated on the evaluation data themselves"]
    assert result.files.nuq_layer_record.read_text() == "\n"


def test_the_budget_ends_before_anything_is_accepted(job):
    with pytest.raises(SearchError, match="the search was ended by max_evaluations, raise it") as caught:
        job.run(_forbids("fc"), calibration_data=batches(), max_evaluations=1)
    assert caught.value.best.metric == -1
    assert contents(job.out) == {}


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        ({"max_evaluations": 0}, "max_evaluations: expected a positive integer or None, found 0"),
        ({"timeout": -1.0}, "timeout: expected a positive number of seconds or None, found -1.0"),
    ],
)
def test_a_budget_that_is_none(job, budget, problem):
    with pytest.raises(SearchError) as caught:
        job.run(error_evaluator(), **budget)
    assert caught.value.problems == (problem,)
    assert contents(job.out) == {}


def test_the_time_is_over_after_the_evaluation_that_runs(job):
    def metric(text):
        if "_dequant_layer" in text:
            time.sleep(0.6)
        return 0.0

    result = job.run(Judge(metric), calibration_data=batches(), timeout=0.5)
    assert (result.evaluations, result.stopped_by) == (1, "timeout")
    assert result.seconds[0] > result.seconds[1] > 0.6


def test_no_time_at_all(job):
    with pytest.raises(SearchError, match="not one evaluation was finished; the search was ended by timeout") as caught:
        job.run(error_evaluator(), timeout=1e-9)
    assert caught.value.best is None
    assert contents(job.out) == {}


def test_weights_only_where_nothing_can_calibrate(job, caplog):
    def metric(text):
        if "python_param" in text:
            raise RuntimeError("Unknown layer type: Python")
        return 0.0

    job.run(error_evaluator())
    stale = {name: data for name, data in contents(job.out).items() if name not in WEIGHT_ONLY_OUTPUTS}
    for name in WEIGHT_ONLY_OUTPUTS:
        (job.out / name).unlink()
    caplog.clear()
    result = job.run(Judge(metric))
    assert result.calibration is Source.NONE
    assert (result.files.deploy_model, result.files.deploy_weights, result.files.scale_offset_record) == (None,) * 3
    found = contents(job.out)
    assert sorted(found) == list(OUTPUTS)
    assert {name: found[name] for name in stale} == stale
    note, about_files = result.notes
    assert note.startswith(
        "only weights are quantized, activations stay float: the evaluator could not run a model with"
    )
    assert note.endswith("raised RuntimeError: Unknown layer type: Python)")
    assert note in caplog.text
    left = ", ".join(str(job.out / name) for name in (*OUTPUTS[:2], OUTPUTS[-1]))
    assert about_files == f"these files of an earlier run do not belong to this weight-only result: {left}"
    assert about_files in caplog.text
    assert "_quant_layer" not in result.files.fake_quant_model.read_text()
    assert _error_of(job, result) > 0
    assert {layer.precision for layer in result.layers} == {Precision.NUQ}


def test_weights_only_writes_no_file_of_the_others(job):
    def metric(text):
        if "python_param" in text:
            raise RuntimeError("Unknown layer type: Python")
        return 0.0

    job.run(Judge(metric))
    assert sorted(contents(job.out)) == list(WEIGHT_ONLY_OUTPUTS)


def test_calibration_data_goes_before_the_evaluators(job):
    hooked = error_evaluator(calibration={"data": 100 * batches()[0]["data"]})
    result = job.run(hooked, calibration_data=batches())
    assert result.plan == job.run(error_evaluator()).plan
    judge = Judge()
    assert job.run(judge, calibration_data=iter(batches())).calibration is Source.ONNXRUNTIME
    assert not any("python_param" in text for text in judge.seen)


def test_calibration_batches_that_are_not_finite(job):
    data = batches()
    data[1]["data"][0, 0, 0, :2] = np.nan, np.inf
    with pytest.raises(CalibrationError) as caught:
        job.run(Judge(), calibration_data=data)
    assert caught.value.problems[0] == "blob 'data', input of 'conv1': 2 values are NaN or infinite"
    assert contents(job.out) == {}


def test_without_fusion_the_affine_layers_stay(job, edit):
    edit(lambda tree: tree.update(do_fusion=False))
    result = job.run(error_evaluator())
    assert result.folded == {}
    assert _error_of(job, result) == result.metric
    kinds = [node.op.kind for node in load_graph(result.files.deploy_model, result.files.deploy_weights).nodes]
    assert kinds.count("BatchNorm") == 1
    assert kinds.count("Scale") == 1


def test_a_layer_left_out_of_fusion(job, edit):
    edit(lambda tree: tree.update(skip_fusion_layers=["conv1"]))
    result = job.run(error_evaluator())
    assert result.folded == {}
    assert _error_of(job, result) == result.metric
    skipped = {entry.key: entry.value.skip_fusion for entry in read_record(result.files.scale_offset_record).record}
    assert skipped == {"conv1": True, "conv2": False, "pool": False, "fc": False}


@pytest.mark.parametrize("allowed", [True, False])
def test_activations_with_and_without_offsets(job, edit, allowed):
    edit(lambda tree: tree.update(activation_offset=allowed))
    result = job.run(error_evaluator())
    offsets = {entry.key: entry.value.offset_d for entry in read_record(result.files.scale_offset_record).record}
    # conv2 reads what a ReLU made: with an offset its range begins at 0.
    assert offsets["conv2"] == (-128 if allowed else 0)
    assert any(offsets.values()) == allowed


def test_layers_that_the_configuration_leaves_out_stay_float(job, edit):
    def change(tree):
        del tree["conv2"]
        tree["pool"]["quant_enable"] = False
        tree["fc"]["weight_quant_params"] = {"wts_algo": "arq_quantize", "channel_wise": False}

    edit(change)
    result = job.run(error_evaluator())
    assert list(result.plan) == ["conv1", "fc"]
    assert {layer.name: layer.precision for layer in result.layers} == {
        "conv1": Precision.NUQ,
        "conv2": Precision.FLOAT,
        "fc": Precision.INT8,
    }
    assert result.reverted == ()
    assert [entry.key for entry in read_record(result.files.scale_offset_record).record] == ["conv1", "fc"]


ODD = """layer {
  name: "odd"   # kept to the letter
  type: "Odd"
  bottom: "fc"
  top: "odd"
  odd_param { x: 1 }
}"""


def test_a_layer_that_nobody_knows_downstream(tmp_path, job):
    text = job.files.model.read_text().replace('layer { name: "prob"', ODD + '\nlayer { name: "prob"')
    model = tmp_path / "odd.prototxt"
    model.write_text(text.replace('bottom: "fc" top: "prob"', 'bottom: "odd" top: "prob"'))
    result = job.run(error_evaluator(outputs=("fc",), max_error=0.1), model=model)
    assert result.calibration is Source.ONNXRUNTIME
    assert any(layer.precision is Precision.NUQ for layer in result.layers)
    for written in (result.files.fake_quant_model, result.files.deploy_model):
        assert ODD in written.read_text()
    graph = load_graph(result.files.deploy_model, result.files.deploy_weights)
    assert isinstance(graph.node["odd"].op, Opaque)
    assert graph.outputs == ("prob",)


def test_a_layer_that_nobody_knows_upstream_leaves_calibration_to_the_evaluator(tmp_path, job):
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
layer { name: "odd" type: "Odd" bottom: "data" top: "odd" odd_param { x: 1 } }
layer { name: "fc" type: "InnerProduct" bottom: "odd" top: "fc" inner_product_param { num_output: 2 } }
"""
    files: Files = write_net(tmp_path, text, {"fc": [np.arange(64.0).reshape(2, 32) - 30, np.zeros(2)]})
    config = tmp_path / "odd.json"
    nuqconv.create_quant_config(config, files.model, files.weights)
    result = job.run(
        Judge(),
        model=files.model,
        weights=files.weights,
        config=config,
        calibration_data=[{"data": np.ones((1, 2, 4, 4))}],
    )
    assert result.calibration is Source.NONE
    assert result.notes[0] == (
        "only weights are quantized, activations stay float: onnxruntime cannot run what leads to the blobs odd; "
        "the evaluator ran the calibration model, but its Python layers saw no data"
    )
    assert sorted(contents(job.out)) == list(WEIGHT_ONLY_OUTPUTS)


@pytest.mark.parametrize("strategy", ["path", "prefix", "greedy", "exhaustive"])
def test_every_strategy_ends_with_an_accepted_plan(job, strategy):
    result = job.run(error_evaluator(), strategy=strategy, max_evaluations=None)
    assert _error_of(job, result) == result.metric <= 0.05


def test_an_unknown_strategy(job):
    with pytest.raises(SearchError, match="no search strategy 'clever'"):
        job.run(error_evaluator(), strategy="clever")


def test_few_layers_with_a_codebook(job):
    free = job.run(error_evaluator(0.5))
    few = job.run(error_evaluator(0.5), objective=nuqconv.SmallestBytes(max_layers=1))
    counts = [sum(layer.precision is Precision.NUQ for layer in result.layers) for result in (free, few)]
    assert counts[0] > counts[1] == 1
    assert few.sizes.bytes > free.sizes.bytes
    assert _error_of(job, few) == few.metric


def test_the_best_metric_at_a_size(job):
    """The smallest plan's size is met with a metric that is no worse; the journal of the first search is of use to the second."""
    smallest = job.run(error_evaluator(0.5))
    result = job.run(error_evaluator(0.5), objective=nuqconv.NearestMetric(smallest.sizes.bytes))
    assert result.sizes.bytes <= smallest.sizes.bytes
    assert result.metric <= smallest.metric
    assert _error_of(job, result) == result.metric
    assert result.best in result.pareto
    more = job.run(error_evaluator(0.5), objective=nuqconv.NearestMetric(1.5 * smallest.sizes.bytes))
    assert more.metric <= result.metric
    assert more.sizes.bytes <= 1.5 * smallest.sizes.bytes


def test_a_size_without_an_accepted_plan(job):
    size = job.run(error_evaluator(0.5)).sizes.bytes
    result = job.run(error_evaluator(1e-9), objective=nuqconv.NearestMetric(size))
    assert not result.best.accepted
    assert result.sizes.bytes <= size
    assert any("the evaluator accepts no plan" in note for note in result.notes)


@pytest.mark.parametrize(("size", "message"), [(1, "cannot be reached"), (1e9, "demand a smaller size")])
def test_sizes_that_make_no_sense(job, size, message):
    before = contents(job.out)
    with pytest.raises(SearchError, match=message):
        job.run(error_evaluator(), objective=nuqconv.NearestMetric(size))
    assert {name: data for name, data in contents(job.out).items() if not name.endswith("sqlite")} == before
