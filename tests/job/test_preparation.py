"""What is worked out before a search: the same from JSON, and predicted losses at the network's outputs."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from nuqconv.errors import FormatError
from nuqconv.formats import open_model
from nuqconv.job.calibration import calibrate
from nuqconv.job.job import read_job
from nuqconv.job.preparation import Preparation, prepare
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.runtimes.onnxruntime.session import OnnxSession
from tests.support.auto import Job, batches


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job")


def prepared(job, tmp_path, **options):
    found = read_job(open_model(job.files.model, job.files.weights).read(), job.config)
    folder = tmp_path / "calibration"
    folder.mkdir(exist_ok=True)
    calibration = calibrate(found.graph, found.values, batches=batches(), run_model=None, folder=folder)
    return found, prepare(found, calibration, **options)


def test_json_gives_the_same_preparation_back(job, tmp_path):
    _, made = prepared(job, tmp_path)
    text = made.to_json()
    again = Preparation.from_json(text)
    assert (again.space, again.source, again.notes) == (made.space, made.source, made.notes)
    assert dict(again.candidates.lossless) == dict(made.candidates.lossless)
    assert again.to_json() == text


@pytest.mark.parametrize(
    "edit",
    [
        lambda tree: tree.update(version=2),
        lambda tree: tree.update(calibration="sky"),
        lambda tree: tree.update(notes=[3]),
        lambda tree: tree.update(notes=None),
        lambda tree: tree.update(lossless=[]),
        lambda tree: tree.update(lossless={"conv1": "3"}),
        lambda tree: tree.update(layers=[]),
        lambda tree: tree.pop("layers"),
    ],
)
def test_damaged_json(job, tmp_path, edit):
    _, made = prepared(job, tmp_path)
    tree = json.loads(made.to_json())
    edit(tree)
    with pytest.raises(FormatError, match="stored"):
        Preparation.from_json(json.dumps(tree))


@pytest.mark.parametrize("text", ["", "[]", "3", "[" * 100000, '{"version": 1, "version": 1}'])
def test_what_is_no_json_of_a_preparation(text):
    with pytest.raises(FormatError, match="damaged"):
        Preparation.from_json(text)


def test_predicted_losses_are_those_measured_at_the_outputs(job, tmp_path):
    """The loss of a layer's strongest option, less the part of its input, is what onnxruntime shows with that layer alone changed."""
    found, made = prepared(job, tmp_path)
    _, local = prepared(job, tmp_path, measured_loss=False)
    data = np.concatenate([batch["data"] for batch in batches()])
    # What the Softmax at the end is made of says more than its few outputs.
    exact = OnnxSession(found.graph, outputs=["fc"]).run({"data": data})["fc"]
    factors = {}
    for layer, own in zip(made.space.layers, local.space.layers, strict=True):
        assert [option.layer_plan for option in layer.options] == [option.layer_plan for option in own.options]
        ratios = [a.loss / b.loss for a, b in zip(layer.options, own.options, strict=True)]
        assert ratios == pytest.approx([ratios[0]] * len(ratios))
        factors[layer.name] = ratios[0]
    weights = {}
    for name in ("conv1", "conv2", "fc"):
        plan = next(layer for layer in made.space.layers if layer.name == name).options[-1].layer_plan
        only = LayerPlan(Precision.NUQ, plan.codebook, plan.num_steps, None, plan.channel_wise, plan.weights)
        graph = found.quantizer.apply(Plan.of({name: only}))
        error = OnnxSession(graph, outputs=["fc"]).run({"data": data})["fc"] - exact
        weights[name] = float(np.square(error).sum() / np.square(exact).sum())
    order = sorted(weights, key=weights.get)
    predicted = {name: factors[name] * made.candidates.distortions[name] for name in weights}
    assert sorted(predicted, key=predicted.get) == order
    assert math.isclose(predicted["fc"], weights["fc"], rel_tol=0.05)


def test_steps_are_told(job, tmp_path):
    told = []
    prepared(job, tmp_path, on_step=lambda *step: told.append(step))
    assert ("predicting losses", 3, 3) in told
