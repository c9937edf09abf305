"""Codebooks of any size: what a search may try, what is written, and that 255 levels are another thing than int8."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import ConfigError, JournalError
from nuqconv.job.about import Budget
from nuqconv.job.choice import checked_levels, parse_levels
from nuqconv.job.forms import Forms
from nuqconv.quantize.plan import Precision
from nuqconv.runtimes.caffe import Net
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, Job, error_evaluator, lenet_data

QUIET = nuqconv.SearchOptions(nuqconv.PrepareOptions(progress=False))
FEW = replace(QUIET, budget=Budget(4, None, None))


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job")


def test_fewer_levels_make_a_smaller_file_at_the_same_demand(tmp_path, caffe_process):
    data = lenet_data(500)
    found = {}
    for levels in (None, (4, 32, 8, 16)):
        found[levels] = nuqconv.auto(
            (LENET_MODEL, LENET_WEIGHTS),
            data=dict(data.inputs),
            labels=data.labels,
            max_drop=0.02,
            levels=levels,
            save=tmp_path / str(len(found)) / "net",
            onnx=True,
            options=FEW,
        )
    plain, result = found.values()
    assert result.best.accepted
    assert result.sizes.bytes < 0.6 * plain.sizes.bytes
    assert result.files.nuq_onnx.stat().st_size < 0.6 * plain.files.nuq_onnx.stat().st_size
    assert {layer.num_steps for layer in result.plan.values() if layer.precision is Precision.NUQ} <= {32, 16, 8, 4}
    files = result.files
    with Net(files.fake_quant_model, files.fake_quant_weights, process=caffe_process) as judge:
        guess = judge.run({"data": data.inputs["data"]})["prob"].argmax(1)
    assert np.mean(guess == data.labels) == pytest.approx(result.metric)
    report = nuqconv.evaluate([files.nuq_onnx], data=dict(data.inputs), labels=data.labels)
    assert report.sides[0].value == result.metric
    assert (files.deploy_model, plain.files.deploy_model is None) == (None, False)
    (note,) = (note for note in result.notes if "no deploy model" in note)
    assert "its readers know 16 and 32 levels only" in note


def test_the_configuration_says_which_layers_and_the_levels_go_before_num_steps(job, tmp_path):
    tree = json.loads(job.config.read_text())
    tree["conv1"]["weight_quant_params"] = {"wts_algo": "arq_quantize"}
    tree["conv2"]["weight_quant_params"]["num_steps"] = 32
    config = tmp_path / "config.json"
    config.write_text(json.dumps(tree))
    found = job.run(error_evaluator(5.0), config=config, levels=[8, 64])
    assert {name: layer.num_steps for name, layer in found.plan.items()} == {
        "conv1": None,
        "conv2": 8,
        "pool": None,
        "fc": 8,
    }


def test_files_of_an_earlier_run_are_named(job):
    job.run(error_evaluator(5.0))
    found = job.run(error_evaluator(5.0), levels=(8,))
    stale = f"these files of an earlier run do not belong to this result: {job.out / 'net_deploy_model.prototxt'}"
    assert any(note.startswith(stale) for note in found.notes)


def test_a_journal_is_of_its_levels(job):
    journal = job.folder / "trials.sqlite"
    first = job.run(error_evaluator(5.0), levels=(64, 8), journal=journal)
    again = job.run(error_evaluator(5.0), levels=[8, 64], journal=journal)
    assert again.plan == first.plan
    with pytest.raises(JournalError) as caught:
        job.run(error_evaluator(5.0), journal=journal)
    assert caught.value.problems == ("levels: in the journal '64, 8', now not there",)


@pytest.mark.parametrize("levels", [255, 256])
def test_as_many_levels_as_int8_has_are_another_thing_than_int8(job, levels):
    """Int8 is fitted; a codebook that holds all levels of the nearest integers changes nothing of them."""
    data = {"data": np.random.default_rng(1).normal(size=(16, 3, 12, 12)).astype(np.float32)}
    net = (job.files.model, job.files.weights)
    options = nuqconv.PrepareOptions(progress=False)
    book, int8 = (
        nuqconv.quantize(net, {"fc": form, "*": "float"}, data=data, options=options) for form in (levels, "int8")
    )
    assert book.plan["fc"].num_steps == levels
    assert (book.plan["fc"].precision, int8.plan["fc"].precision) == (Precision.NUQ, Precision.INT8)
    assert (book.plan["fc"].weights, int8.plan["fc"].weights is None) == (None, False)
    weights = book.model.job.quantizer.layer_integers("fc", book.plan["fc"]).weights
    assert book.plan["fc"].codebook == tuple(np.unique(weights).tolist())
    # In a search int8 is as small, and there is nothing to gain.
    found = job.run(error_evaluator(5.0), levels=(levels,))
    assert {layer.precision for layer in found.plan.values()} <= {Precision.INT8, Precision.NUQ}
    assert all(len(layer.codebook) <= 128 for layer in found.plan.values() if layer.codebook)
    assert found.sizes.bytes <= found.sizes.int8_bytes


def test_levels_that_are_none(job):
    assert parse_levels("8, 64,4") == (64, 8, 4)
    assert checked_levels([2, 256]) == (256, 2)
    with pytest.raises(ConfigError, match="different numbers from 2 to 256") as caught:
        parse_levels("8,1,257,x,8,")
    assert caught.value.problems == ("found 1", "found 257", "found 'x'", "found ''", "8 is named twice")
    for levels in ((), (True,), (16.0,), ("16",)):
        with pytest.raises(ConfigError, match="different numbers"):
            checked_levels(levels)
    job.refused(ConfigError, levels=(1, 16))
    with pytest.raises(ConfigError, match="leave them out"):
        replace(QUIET, levels=(16,), forms=Forms.INT8).check()
