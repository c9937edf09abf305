"""`accuracy_based_auto_calibration`: int8 or float for each layer, by an evaluator of the original's kind."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from nuqconv import compat, pycaffe
from nuqconv.errors import CalibrationError, ConfigError, EvaluatorError
from nuqconv.job.calibration import Source
from tests.support.auto import LENET, LENET_MODEL, LENET_WEIGHTS
from tests.support.nets import conv_net

SCRIPT = """
import os
import sys

import amct_caffe as amct
import caffe
import numpy as np
from amct_caffe.common.auto_calibration import AutoCalibrationEvaluatorBase

MODEL, WEIGHTS, DATA = sys.argv[1:]
FILE = np.load(DATA)


def run(model_file, weights_file, batches):
    net = caffe.Net(model_file, weights_file, caffe.TEST)
    net.blobs["data"].reshape(32, 1, 28, 28)
    found = []
    for number in range(batches):
        net.blobs["data"].data[...] = FILE["data"][32 * number : 32 * number + 32] * FILE["scale"]
        found.append(net.forward()["prob"].copy())
    return np.concatenate(found)


class ModelEvaluator(AutoCalibrationEvaluatorBase):
    def __init__(self, target_loss, batch_num):
        super().__init__()
        self.target_loss = target_loss
        self.batch_num = batch_num

    def calibration(self, model_file, weights_file):
        run(model_file, weights_file, self.batch_num)

    def evaluate(self, model_file, weights_file):
        right = run(model_file, weights_file, 8).argmax(axis=1) == FILE["label"][: 8 * 32]
        return float(right.mean())

    def metric_eval(self, original_metric, new_metric):
        loss = original_metric - new_metric
        if loss * 100 < self.target_loss:
            return True, loss
        return False, loss


amct.create_quant_config("config.json", MODEL, WEIGHTS, [], 2)
amct.accuracy_based_auto_calibration(
    MODEL, WEIGHTS, ModelEvaluator(1.0, 2), "config.json", os.path.join("out", "record.txt"), os.path.join("out", "lenet")
)
"""


def test_the_originals_script(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "nuqconv", "run", "script.py", LENET_MODEL, LENET_WEIGHTS, LENET / "test_set.npz"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 0, ended.stderr[-3000:]
    layers = json.loads((tmp_path / "config.json").read_text())
    assert layers["conv1"]["weight_quant_params"]["wts_algo"] == "arq_quantize"
    text = (tmp_path / "out" / "record.txt").read_text()
    assert [name for name in ("conv1", "conv2", "ip1", "ip2") if f'key: "{name}"' in text] == [
        "conv1",
        "conv2",
        "ip1",
        "ip2",
    ]
    assert (tmp_path / "out" / "lenet_nuq_layer_record.txt").read_text() == "\n"
    assert (tmp_path / "out" / "lenet_deploy_weights.caffemodel").is_file()


class Evaluator(compat.AutoCalibrationEvaluatorBase):
    """Refuses models in which one of some layers is quantized, and runs calibration in `nuqconv.pycaffe`."""

    def __init__(self, *refused: str, fails: str = "") -> None:
        self.refused = refused
        self.fails = fails
        self.calibrated = 0

    def calibration(self, model_file, weights_file):
        if self.fails:
            raise RuntimeError(self.fails)
        net = pycaffe.Net(model_file, weights_file, pycaffe.TEST)
        for seed in range(2):
            net.blobs["data"].data[...] = np.random.default_rng(seed).normal(size=net.blobs["data"].data.shape)
            net.forward()
            self.calibrated += 1

    def evaluate(self, model_file, weights_file):
        text = open(model_file).read()  # noqa: PTH123, SIM115
        return -float(sum(f'"{name}_dequant_layer"' in text for name in self.refused))

    def metric_eval(self, original_metric, new_metric):
        return new_metric >= original_metric, original_metric - new_metric


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "caffe", pycaffe)
    files = conv_net(tmp_path)
    config = tmp_path / "config.json"
    compat.create_quant_config(config, files.model, files.weights, batch_num=2)

    def run(evaluator, **options):
        return compat.accuracy_based_auto_calibration(
            files.model, files.weights, evaluator, config, tmp_path / "r.txt", tmp_path / "o" / "net", **options
        )

    return run


@pytest.mark.parametrize("refused", [(), ("conv2",), ("conv1", "fc")])
def test_what_is_refused_stays_float_and_all_else_is_int8(job, refused):
    evaluator = Evaluator(*refused)
    result = job(evaluator)
    assert evaluator.calibrated == 2
    assert result.calibration is Source.CAFFE
    quantized = {name for name, layer in result.plan.items() if layer.activation is not None}
    assert quantized == {"conv1", "conv2", "pool", "fc"} - set(refused)
    assert {layer.precision.value for layer in result.layers} <= {"int8", "float"}
    assert not any("no layer is compressed" in note for note in result.notes)
    assert all(path.is_file() for path in result.files.present().values())


def test_fewer_batches_than_the_configuration_says_is_a_note(job, tmp_path):
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "batch_num": 5}))
    assert job(Evaluator()).notes[0] == "calibrated on 2 batches, fewer than the 5 asked for"


def test_what_fails(job):
    with pytest.raises(CalibrationError, match=r"int8 layers need the ranges of activations: .*no such picture"):
        job(Evaluator(fails="no such picture"))
    with pytest.raises(EvaluatorError) as caught:
        job(object())
    assert [problem.split("(")[0] for problem in caught.value.problems] == ["calibration", "evaluate", "metric_eval"]
    with pytest.raises(ConfigError, match="strategy must be 'BinarySearch', found 'Greedy'"):
        job(Evaluator(), strategy="Greedy")
    with pytest.raises(ConfigError, match="sensitivity must be 'CosineSimilarity'"):
        job(Evaluator(), sensitivity=object())


def test_another_evaluator_is_another_search(job):
    job(Evaluator())
    assert "evaluations are taken from" in job(Evaluator()).notes[-1]
    with pytest.raises(Exception, match="evaluator"):
        job(Evaluator("conv1"))
