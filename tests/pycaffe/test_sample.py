"""A script in the manner of the original's published sample: its evaluator has `import caffe` in it and runs in the script's own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nuqconv.backends.caffe.record import read_record
from nuqconv.frontends.caffe.weights import blob_array, read_weights
from tests.support.auto import LENET, LENET_MODEL, LENET_WEIGHTS

pytestmark = pytest.mark.caffe

EVALUATION = """
import os
os.environ["GLOG_minloglevel"] = "3"
import sys

import caffe
import numpy as np

BATCH = 40
FILE = np.load(r"{data}")
IMAGES, LABELS = FILE["data"], FILE["label"]


def get_batch(transformer, number):
    rows = range(number * BATCH, (number + 1) * BATCH)
    # Height, width, channels, from 0 to 255, as an image reader gives them.
    images = [IMAGES[row].transpose(1, 2, 0).astype(np.float32) for row in rows]
    return np.stack([transformer.preprocess("data", image) for image in images]), LABELS[rows.start : rows.stop]


def evaluate(model_file, weights_file, batch_num):
    caffe.set_mode_cpu()
    net = caffe.Net(model_file, weights_file, caffe.TEST)
    transformer = caffe.io.Transformer({{"data": net.blobs["data"].data.shape}})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_input_scale("data", float(FILE["scale"]))
    net.blobs["data"].reshape(BATCH, *net.blobs["data"].data.shape[1:])
    right, total = 0, 0.0
    for number in range(batch_num):
        images, labels = get_batch(transformer, number)
        net.blobs["data"].data[...] = images
        prob = net.forward()["prob"]
        right += int((prob.argmax(axis=1) == labels).sum())
        total += float(prob.max(axis=1).sum())
    # The probabilities too, so that the metric tells models apart.
    return right / float(BATCH * batch_num) + 1e-3 * total / (BATCH * batch_num)


if __name__ == "__main__":
    print(repr(evaluate(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
"""

SAMPLE = """
import os
import sys

import caffe
import nuqconv as amct
from evaluation import evaluate
from nuqconv.auto_nuq import AutoNuqEvaluatorBase

MODEL, WEIGHTS, OPTIONS = sys.argv[1], sys.argv[2], sys.argv[3:]


class AutoNuqEvaluator(AutoNuqEvaluatorBase):
    def __init__(self, evaluate_batch_num):
        super().__init__(self)
        self.evaluate_batch_num = evaluate_batch_num

    def eval_model(self, model_file, weights_file, batch_num):
        return evaluate(model_file, weights_file, batch_num)

    def is_satisfied(self, original_metric, new_metric):
        return (original_metric - new_metric) * 100 < 1


def main():
    if not os.path.exists("tmp"):
        os.makedirs("tmp")
    amct.create_quant_config(os.path.join("tmp", "config.json"), MODEL, WEIGHTS, [], 2, True)
    options = {"workers": 2} if "--workers" in OPTIONS else {}
    result = amct.auto_nuq(
        MODEL, WEIGHTS, AutoNuqEvaluator(10), os.path.join("tmp", "config.json"),
        os.path.join("results", "record.txt"), os.path.join("results", "Lenet"), progress=False, **options
    )
    print(result.to_json())


if __name__ == "__main__":
    main()
"""


class Run:
    """One run of the sample in a folder of its own."""

    def __init__(self, folder: Path, backend: str, *options: str) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "evaluation.py").write_text(EVALUATION.format(data=LENET / "test_set.npz"))
        (folder / "sample.py").write_text(SAMPLE)
        done = subprocess.run(
            [sys.executable, "-m", "nuqconv", "run", "sample.py", str(LENET_MODEL), str(LENET_WEIGHTS), *options],
            cwd=folder,
            env={**os.environ, "NUQCONV_PYCAFFE": backend},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        self.result = json.loads(done.stdout)
        self.results = folder / "results"

    def file(self, name: str) -> Path:
        return self.results / f"Lenet_{name}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("sample") / "ours", "onnxruntime")


def in_real_caffe(run, caffe_python, *files):
    """The metric that the same evaluator has in real pycaffe on its own Python."""
    command = [caffe_python, "evaluation.py", *map(str, files), "10"]
    done = subprocess.run(command, cwd=run.folder, capture_output=True, text=True, timeout=120, check=True)
    return float(done.stdout)


def test_the_metrics_are_real_caffes(run, caffe_python):
    original = in_real_caffe(run, caffe_python, LENET_MODEL, LENET_WEIGHTS)
    found = in_real_caffe(
        run, caffe_python, run.file("fake_quant_model.prototxt"), run.file("fake_quant_weights.caffemodel")
    )
    assert run.result["original_metric"] == pytest.approx(original, abs=1e-7)
    assert run.result["metric"] == pytest.approx(found, abs=1e-7)
    assert original - found < 0.01


def test_calibration_ran_through_sink_layers(run):
    assert run.result["calibration"] == "caffe"
    assert run.result["notes"] == []
    layers = run.result["plan"]["layers"]
    assert layers["conv1"]["activation"]["offset"] == -128
    # 80 images between 0 and 1 went through.
    assert layers["conv1"]["activation"]["scale"] == pytest.approx(1 / 255, rel=0.3)


def test_there_are_codebooks(run):
    precisions = {name: layer["precision"] for name, layer in run.result["plan"]["layers"].items()}
    assert set(precisions) == {"conv1", "conv2", "ip1", "ip2"}
    assert "nuq" in precisions.values()


@pytest.mark.slow
def test_real_caffe_in_the_child_finds_the_same(run, tmp_path, caffe_python):
    child = Run(tmp_path / "child", "caffe")
    assert child.result["original_metric"] == pytest.approx(run.result["original_metric"], abs=1e-7)
    assert child.result["metric"] == pytest.approx(run.result["metric"], abs=1e-7)
    assert child.result["calibration"] == "caffe"
    for name in ("Lenet_nuq_layer_record.txt", "Lenet_nuq_codebooks.json", "Lenet_quant.json"):
        assert (child.results / name).read_bytes() == run.results.joinpath(name).read_bytes()
    weights, expected = (read_weights(one.file("deploy_weights.caffemodel")).layers for one in (child, run))
    for name in ("conv1", "conv2", "ip1", "ip2"):
        assert np.array_equal(*(blob_array(layers[name].blobs[0]) for layers in (weights, expected)))
    # The steps of activations follow the last bits of what was measured, where Caffe and onnxruntime add in another order.
    records = (read_record(one.results / "record.txt").record for one in (child, run))
    for found, wanted in zip(*records, strict=True):
        assert found.value.scale_d == pytest.approx(wanted.value.scale_d, rel=1e-6)


@pytest.mark.slow
def test_workers_find_the_module_too(run, tmp_path):
    """Processes that are spawned import the script, and `caffe` with it."""
    workers = Run(tmp_path / "workers", "onnxruntime", "--workers")
    assert workers.result["metric"] == run.result["metric"]
    for path in run.results.iterdir():
        if not path.name.endswith(".sqlite"):
            assert (workers.results / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_scripts_own_arguments_are_its_own(tmp_path):
    (tmp_path / "script.py").write_text("import sys, caffe; print(sys.argv, caffe.__name__, __name__, sys.path[0])")
    command = [sys.executable, "-m", "nuqconv", "run", "script.py", "--help", "-v", "a b", "--", "-x"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = f"['script.py', '--help', '-v', 'a b', '--', '-x'] nuqconv.pycaffe __main__ {tmp_path}"
    assert done.stdout.strip() == found


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('no data')", 1, "no data"),
        ("raise ValueError('wrong')", 1, "ValueError: wrong"),
        ("import caffe; caffe.Net('none.prototxt', caffe.TEST)", 1, "script.py"),
        ("import caffe; caffe.SGDSolver('script.py')", 1, "training is left to real Caffe"),
    ],
)
def test_how_a_script_ends(tmp_path, text, code, words):
    (tmp_path / "script.py").write_text(text)
    command = [sys.executable, "-m", "nuqconv", "run", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert words in done.stderr


def test_no_such_script(tmp_path):
    command = [sys.executable, "-m", "nuqconv", "run", "none.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "none.py" in done.stderr


def test_logging_of_a_script_is_its_own(tmp_path):
    (tmp_path / "script.py").write_text(
        "import logging, sys; logging.basicConfig(level=logging.INFO, stream=sys.stdout, format='mine %(message)s'); logging.info('x')"
    )
    command = [sys.executable, "-m", "nuqconv", "run", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "mine x\n"
