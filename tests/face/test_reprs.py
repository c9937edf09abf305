"""What a shell prints of a result is one line that says what matters."""

from __future__ import annotations

import pytest

import nuqconv
from nuqconv.job.preparation import Preparation
from nuqconv.quantize.plan import Plan
from nuqconv.search.journal import Journal
from tests.job.test_earlier_journal import EARLIER
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, Job, error_evaluator


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return Job(tmp_path_factory.mktemp("job")).run(error_evaluator(), max_evaluations=2)


def test_a_graph():
    graph = nuqconv.load(LENET_MODEL, LENET_WEIGHTS)
    assert repr(graph) == "<Graph 'LeNet': 8 nodes, 431,080 parameters, inputs data 1x1x28x28, outputs prob>"


def test_a_search(result):
    sizes, count = result.sizes, len(result.layers)
    text = repr(result)
    assert text.startswith(
        f"<NuqResult metric {result.metric:.6g} of 0, {sizes.bytes:,} of {sizes.float_bytes:,} bytes, {count} layers"
    )
    assert text.endswith(" 2 trials (max_evaluations)>")
    assert repr(result.best).startswith(f"<Trial {result.best.number}, {result.best.step}: metric ")
    assert repr(result.plan).startswith(f"<Plan of {len(result.plan)} layers: ")
    assert len(repr(result.trials)) < 500


def test_a_plan_and_a_space():
    plan = Plan.from_json((EARLIER / "plan.json").read_text())
    assert repr(plan) == "<Plan of 4 layers: 1 nuq, 2 int8, 1 float>"
    with Journal.read(EARLIER / "net_trials.sqlite") as journal:
        space = Preparation.from_json(journal.space_text).space
    assert repr(space) == f"<SearchSpace of 4 layers, 128 states, {space.float_bytes:,.0f} bytes in float>"
    assert repr(space.layers[0]) == "<LayerSpace 'conv1': int8, 32 levels, 16 levels or float>"


def test_a_conversion_and_a_comparison(tmp_path):
    target = tmp_path / "lenet.onnx"
    conversion = nuqconv.convert(LENET_MODEL, LENET_WEIGHTS, target)
    assert repr(conversion) == (
        f"<Conversion to lenet.onnx (ONNX, opset {conversion.opset}): 8 layers, 431,080 parameters, {target.stat().st_size:,} bytes>"
    )
    report = nuqconv.compare((LENET_MODEL, LENET_WEIGHTS), target, runtimes=("onnxruntime", "onnxruntime"))
    assert repr(report) == f"<CompareReport {report.sides[0]} and {report.sides[1]}: {len(report.blobs)} blobs agree>"
    assert len(repr(report)) < 400
