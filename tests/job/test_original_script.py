"""A script that was written for the original product, with only its module name changed, and real Caffe as its user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from nuqconv.backends.caffe.record import read_record
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.frontends.caffe.weights import blob_array, read_weights
from nuqconv.job.codebooks import read_codebooks
from tests.support.auto import LENET, LENET_MODEL, LENET_WEIGHTS

pytestmark = pytest.mark.caffe

FILES = (
    "Lenet_deploy_model.prototxt",
    "Lenet_deploy_weights.caffemodel",
    "Lenet_fake_quant_model.prototxt",
    "Lenet_fake_quant_weights.caffemodel",
    "Lenet_nuq_codebooks.json",
    "Lenet_nuq_layer_record.txt",
    "Lenet_quant.json",
    "scale_offset_record.txt",
)

# How the user runs Caffe: by hand, in a process of its own.
BENCHMARK = """
import os, sys
os.environ["GLOG_minloglevel"] = "2"
import caffe, numpy as np
model, weights, batch_num = sys.argv[1], sys.argv[2], int(sys.argv[3])
data = np.load(r"{data}")
net = caffe.Net(model, weights, caffe.TEST)
net.blobs["data"].reshape(50, 1, 28, 28)
right = 0
for start in range(0, 50 * batch_num, 50):
    net.blobs["data"].data[...] = data["data"][start : start + 50] * data["scale"]
    scores = net.forward()["prob"]
    right += int((scores.argmax(axis=1) == data["label"][start : start + 50]).sum())
print(right / (50.0 * batch_num))
"""

SCRIPT = """
import os
import subprocess
import sys

import nuqconv as amct
from nuqconv.auto_nuq import AutoNuqEvaluatorBase

MODEL, WEIGHTS, CAFFE_PYTHON, BENCHMARK, STYLE = sys.argv[1:]


class Evaluation(object):
    def eval_model(self, model_file, weights_file, batch_num):
        command = [CAFFE_PYTHON, BENCHMARK, model_file, weights_file, str(batch_num)]
        return float(subprocess.check_output(command))

    def is_satisfied(self, original_metric, new_metric):
        # the loss of top1 acc need to be less than 1%
        if (original_metric - new_metric) * 100 < 1:
            return True
        return False


class AutoNuqEvaluator(Evaluation, AutoNuqEvaluatorBase):
    def __init__(self, evaluate_batch_num):
        super().__init__(self)
        self.evaluate_batch_num = evaluate_batch_num


class ManualEvaluator(Evaluation, amct.auto_nuq.AutoNuqEvaluatorBase):
    def __init__(self, evaluate_batch_num):
        self.evaluate_batch_num = evaluate_batch_num


def main():
    if not os.path.exists('./tmp'):
        os.makedirs('./tmp')
    config_file = os.path.join('./tmp', 'config.json')
    record_file = os.path.join('./results', 'scale_offset_record.txt')
    skip_layers = []
    batch_num = 2
    activation_offset = True
    amct.create_quant_config(config_file, MODEL, WEIGHTS, skip_layers, batch_num, activation_offset)
    evaluator = {'sample': AutoNuqEvaluator, 'manual': ManualEvaluator}[STYLE](10)
    return amct.auto_nuq(MODEL, WEIGHTS, evaluator, config_file, record_file, './results/Lenet')


if __name__ == '__main__':
    found = main()
    print(found.to_json())
"""


class Run:
    """One run of the script in a folder of its own."""

    def __init__(self, folder, caffe_python, style, hash_seed):
        self.folder = folder
        folder.mkdir()
        (folder / "script.py").write_text(SCRIPT)
        (folder / "benchmark.py").write_text(BENCHMARK.format(data=LENET / "test_set.npz"))
        self.caffe_python = caffe_python
        command = [sys.executable, "script.py", *map(str, (LENET_MODEL, LENET_WEIGHTS, caffe_python)), "benchmark.py"]
        done = subprocess.run(
            [*command, style],
            cwd=folder,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self.result = json.loads(done.stdout)
        self.results = folder / "results"
        self.nuq = {name: layer for name, layer in self.result["plan"]["layers"].items() if layer["precision"] == "nuq"}

    def accuracy(self, model, weights):
        command = [str(self.caffe_python), str(self.folder / "benchmark.py"), str(model), str(weights), "10"]
        return float(subprocess.check_output(command, timeout=600))


@pytest.fixture(scope="module")
def run(caffe_python, tmp_path_factory):
    return Run(tmp_path_factory.mktemp("script") / "sample", caffe_python, "sample", "0")


def test_all_files_are_there_and_nothing_else(run):
    assert sorted(path.name for path in run.results.iterdir()) == sorted([*FILES, "Lenet_trials.sqlite"])
    assert sorted(path.name for path in run.folder.iterdir()) == ["benchmark.py", "results", "script.py", "tmp"]
    assert sorted(run.result["files"].values()) == sorted(str(run.results / name) for name in FILES)


def test_calibration_ran_in_the_scripts_own_caffe(run):
    assert run.result["calibration"] == "caffe"
    assert run.result["notes"] == []
    layers = run.result["plan"]["layers"]
    # 100 images between 0 and 1 went through the sinks: a step of the input is about 1/255.
    assert layers["conv1"]["activation"]["offset"] == -128
    assert layers["conv1"]["activation"]["scale"] == pytest.approx(1 / 255, rel=0.3)


def test_the_written_model_meets_the_demand_when_evaluated_anew(run):
    original = run.accuracy(LENET_MODEL, LENET_WEIGHTS)
    again = run.accuracy(
        run.results / "Lenet_fake_quant_model.prototxt", run.results / "Lenet_fake_quant_weights.caffemodel"
    )
    assert original == run.result["original_metric"]
    assert again == run.result["metric"]
    assert (original - again) * 100 < 1


def test_nuq_layers_have_at_most_num_steps_weights(run):
    deploy = read_weights(run.results / "Lenet_deploy_weights.caffemodel").layers
    assert run.nuq
    for name, layer in run.nuq.items():
        weights = blob_array(deploy[name].blobs[0])
        assert weights.dtype == np.int8
        assert layer["num_steps"] in {16, 32}
        assert len(np.unique(weights)) <= layer["num_steps"]
        assert set(np.unique(weights)) <= set(layer["codebook"])


def test_the_records_say_what_the_plan_says(run):
    assert (run.results / "Lenet_nuq_layer_record.txt").read_text() == ";".join(run.nuq) + "\n"
    layers = run.result["plan"]["layers"]
    entries = {entry.key: entry.value for entry in read_record(run.results / "scale_offset_record.txt").record}
    assert list(entries) == list(layers) == ["conv1", "conv2", "ip1", "ip2"]
    outputs = {"conv1": 20, "conv2": 50, "ip1": 1, "ip2": 1}
    shapes = {"conv1": (1, 28, 28), "conv2": (20, 12, 12), "ip1": (50, 4, 4), "ip2": (500, 1, 1)}
    for name, entry in entries.items():
        assert not entry.cluster
        assert np.float32(entry.scale_d) == np.float32(layers[name]["activation"]["scale"])
        assert entry.offset_d == layers[name]["activation"]["offset"]
        assert len(entry.scale_w) == len(entry.offset_w) == len(entry.shift_bit) == outputs[name]
        assert (entry.channels, entry.height, entry.width) == shapes[name]


def test_the_codebooks_have_a_file_of_their_own(run):
    found = {name: book.levels for name, book in read_codebooks(run.results / "Lenet_nuq_codebooks.json").items()}
    assert found == {name: layer["codebook"] for name, layer in run.nuq.items()}


def test_the_information_file_describes_the_deploy_model(run):
    (graph,) = json.loads((run.results / "Lenet_quant.json").read_text())["graph"]
    operators = graph["op"]
    written = _layers(run.results / "Lenet_deploy_model.prototxt")
    assert [(op["name"], op["type"]) for op in operators] == [(layer.name, layer.type) for layer in written]
    assert [op["id"] for op in operators] == list(range(len(operators)))
    makers = {}
    for op, layer in zip(operators, written, strict=True):
        assert op["input"] == [f"{makers[bottom]}:0" for bottom in layer.bottom]
        makers.update(dict.fromkeys(layer.top, layer.name))
        assert len(op["output_desc"]) == len(layer.top)
    originals = {op["name"]: op["attr"][0]["value"]["list"].get("s", []) for op in operators}
    added = {layer.name for layer in written if layer.type in {"Quant", "DeQuant"}}
    own = {name: names for name, names in originals.items() if name not in added}
    assert [name for names in own.values() for name in names] == [layer.name for layer in _layers(LENET_MODEL)]
    # A layer's Quant and DeQuant stand for the same originals as the layer.
    assert {name: originals[name] for name in added} == {
        name: own[name.removesuffix("_dequant_layer").removesuffix("_0_quant_layer")] for name in added
    }


def _layers(path: Path):
    return text_format.Parse(path.read_text(), NetParameter()).layer


@pytest.mark.slow
def test_another_process_and_hash_seed_give_the_same_bytes(run, caffe_python, tmp_path):
    """The evaluator is the manual's, which never calls the base class; nothing that is written depends on it."""
    other = Run(tmp_path / "manual", caffe_python, "manual", "1")
    for name in FILES:
        assert (other.results / name).read_bytes() == (run.results / name).read_bytes(), name
    assert [trial["metric"] for trial in other.result["trials"]] == [trial["metric"] for trial in run.result["trials"]]
