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
from nuqconv.job.codebooks import read_codebooks
from nuqconv.search.journal import Journal
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
import argparse
import os
import sys


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model_file", required=True)
    parser.add_argument("--weights_file", required=True)
    parser.add_argument("--caffe_dir", required=True)
    parser.add_argument("--cpu", dest="cpu_mode", action="store_true")
    parser.add_argument("--gpu", dest="gpu_id", type=int, default=None)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--cfg_define", required=True)
    return parser.parse_args()


QUANT_ARGS = parse_args()
sys.path.insert(0, os.path.join(QUANT_ARGS.caffe_dir, "python"))

import caffe

import amct_caffe as amct
from amct_caffe.auto_nuq import AutoNuqEvaluatorBase
from evaluation import evaluate

TMP, RESULT = "./tmp", "./results"


class AutoNuqEvaluator(AutoNuqEvaluatorBase):
    def __init__(self, evaluate_batch_num):
        super().__init__(self)
        self.evaluate_batch_num = evaluate_batch_num

    def eval_model(self, model_file, weights_file, batch_num):
        return evaluate(model_file, weights_file, batch_num)

    def is_satisfied(self, original_metric, new_metric):
        if (original_metric - new_metric) * 100 < 1:
            return True
        return False


def main(args):
    for folder in (TMP, RESULT):
        if not os.access(folder, os.F_OK):
            os.makedirs(folder)
    if args.gpu_id is not None and not args.cpu_mode:
        caffe.set_mode_gpu()
        caffe.set_device(args.gpu_id)
        amct.set_gpu_mode()
    else:
        caffe.set_mode_cpu()
    config_json_file = os.path.join(TMP, "config.json")
    skip_layers = []
    batch_num = 2
    activation_offset = True
    amct.create_quant_config(
        config_json_file, args.model_file, args.weights_file, skip_layers, batch_num, activation_offset, args.cfg_define
    )
    scale_offset_record_file = os.path.join(TMP, "record.txt")
    result_path = os.path.join(RESULT, "Lenet")
    evaluator = AutoNuqEvaluator(args.iterations)
    %(call)s


if __name__ == "__main__":
    main(QUANT_ARGS)
"""
CALL = "amct.auto_nuq(args.model_file, args.weights_file, evaluator, config_json_file, scale_offset_record_file, result_path)"
# What the published script does not do: processes that evaluate.
CALL_WITH_WORKERS = CALL[:-1] + ", workers=2)"

# As published, with LeNet's layers; the path of the mapping file is that from the folder where the script is started.
DEFINITION = """
nuq_config {
    mapping_file : "../src/nuq_files/om_model.json"
    nuq_quantize : {
        num_steps : 16
        num_of_iteration : 0
    }
}
override_layer_types : {
    layer_type : "Pooling"
    calibration_config : {
        arq_quantize : {
            channel_wise : false
        }
    }
}
"""
NUQ = ("conv2", "ip1")


def operator(name, compressed):
    """An operator of the mapping file, as the device's tool dumps it from an offline model."""
    attributes = [
        {"key": "_fe_weight_compress", "value": {"b": compressed}},
        {
            "key": "_datadump_original_op_names",
            "value": {"list": {"s": [name, f"{name}_dequant_layer"], "val_type": 1}},
        },
    ]
    return {"name": name, "type": "Conv2D", "attr": attributes}


class Run:
    """One run of the sample in folders of its own, laid out as it is published."""

    def __init__(self, folder: Path, backend: str, *, python: str = sys.executable, workers: bool = False) -> None:
        self.folder = folder / "scripts"
        source = folder / "src"
        for path in (self.folder, source / "nuq_files", folder / "caffe" / "python"):
            path.mkdir(parents=True)
        (source / "evaluation.py").write_text(EVALUATION.format(data=LENET / "test_set.npz"))
        (source / "sample.py").write_text(SAMPLE % {"call": CALL_WITH_WORKERS if workers else CALL})
        mapped = [operator(name, name in NUQ) for name in ("conv1", "conv2", "ip1", "ip2", "pool2")]
        (source / "nuq_files" / "om_model.json").write_text(json.dumps({"graph": [{"name": "lenet", "op": mapped}]}))
        (source / "nuq_files" / "quant.cfg").write_text(DEFINITION)
        # With an average, whose input is quantized.
        text = LENET_MODEL.read_text()
        self.model = folder / "model.prototxt"
        before, after = text.split('name: "pool2"')
        self.model.write_text(f'{before}name: "pool2"{after.replace("pool: MAX", "pool: AVE", 1)}')
        arguments = {
            "model_file": self.model,
            "weights_file": LENET_WEIGHTS,
            "caffe_dir": folder / "caffe",
            "cfg_define": source / "nuq_files" / "quant.cfg",
        }
        options = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
        done = subprocess.run(
            [python, "-m", "nuqconv", "run", "../src/sample.py", *options, "--cpu"],
            cwd=self.folder,
            env={**os.environ, "NUQCONV_PYCAFFE": backend},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert "trial 1: int8 for all layers" in done.stderr
        self.results = self.folder / "results"
        self.record = self.folder / "tmp" / "record.txt"
        with Journal.read(self.results / "Lenet_trials.sqlite") as journal:
            self.result = json.loads(journal.fact("result"))

    def file(self, name: str) -> Path:
        return self.results / f"Lenet_{name}"

    def written(self) -> dict[str, bytes]:
        paths = [*self.results.iterdir(), self.record]
        return {path.name: path.read_bytes() for path in paths if path.suffix != ".sqlite"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("sample") / "ours", "onnxruntime")


def in_real_caffe(run, caffe_python, *files):
    """The metric that the same evaluator has in real pycaffe on its own Python."""
    command = [caffe_python, "../src/evaluation.py", *map(str, files), "10"]
    done = subprocess.run(command, cwd=run.folder, capture_output=True, text=True, timeout=120, check=True)
    return float(done.stdout)


def test_the_metrics_are_real_caffes(run, caffe_python):
    original = in_real_caffe(run, caffe_python, run.model, LENET_WEIGHTS)
    found = in_real_caffe(
        run, caffe_python, run.file("fake_quant_model.prototxt"), run.file("fake_quant_weights.caffemodel")
    )
    assert run.result["original_metric"] == pytest.approx(original, abs=1e-7)
    assert run.result["metric"] == pytest.approx(found, abs=1e-7)
    assert original - found < 0.01


def test_calibration_ran_through_sink_layers(run):
    assert run.result["calibration"] == "caffe"
    assert not [note for note in run.result["notes"] if "calibrat" in note or "weights" in note]
    layers = run.result["plan"]["layers"]
    assert layers["conv1"]["activation"]["offset"] == -128
    # 80 images between 0 and 1 went through.
    assert layers["conv1"]["activation"]["scale"] == pytest.approx(1 / 255, rel=0.3)


def test_the_mapping_file_says_which_layers_get_codebooks(run):
    forms = {name: layer["precision"] for name, layer in run.result["plan"]["layers"].items()}
    # An average may be quantized or not, what the evaluator demands allows both.
    assert forms.pop("pool2") in {"int8", "float"}
    assert forms == {"conv1": "int8", "conv2": "nuq", "ip1": "nuq", "ip2": "int8"}
    assert run.file("nuq_layer_record.txt").read_text() == "conv2;ip1\n"
    assert set(forms) <= {entry.key for entry in read_record(run.record).record} <= {*forms, "pool2"}
    config = json.loads((run.folder / "tmp" / "config.json").read_text())
    kinds = {name: config[name].get("weight_quant_params", {}).get("wts_algo") for name in (*forms, "pool2")}
    nuq = dict.fromkeys(NUQ, "nuq_quantize")
    assert kinds == {**dict.fromkeys(forms, "arq_quantize"), **nuq, "pool2": None}
    assert config["pool2"]["quant_enable"]
    assert list(read_codebooks(run.file("nuq_codebooks.json"))) == list(NUQ)


@pytest.mark.slow
def test_real_caffe_in_the_child_finds_the_same(run, tmp_path, caffe_python):
    del caffe_python
    child = Run(tmp_path / "child", "caffe")
    assert child.result["original_metric"] == pytest.approx(run.result["original_metric"], abs=1e-7)
    assert child.result["metric"] == pytest.approx(run.result["metric"], abs=1e-7)
    assert child.result["calibration"] == "caffe"
    found, wanted = child.written(), run.written()
    assert set(found) == set(wanted)
    for name in ("Lenet_nuq_layer_record.txt", "Lenet_nuq_codebooks.json", "Lenet_quant.json"):
        assert found[name] == wanted[name], name
    weights, expected = (read_weights(one.file("deploy_weights.caffemodel")).layers for one in (child, run))
    for name in ("conv1", "conv2", "ip1", "ip2"):
        assert np.array_equal(*(blob_array(layers[name].blobs[0]) for layers in (weights, expected)))
    # The steps of activations follow the last bits of what was measured, where Caffe and onnxruntime add in another order.
    for one, other in zip(*(read_record(each.record).record for each in (child, run)), strict=True):
        assert one.value.scale_d == pytest.approx(other.value.scale_d, rel=1e-6)
        assert one.value.offset_d == other.value.offset_d


@pytest.mark.slow
def test_workers_find_the_modules_too(run, tmp_path):
    """Processes that are spawned import the script, and `caffe` and `amct_caffe` with it."""
    workers = Run(tmp_path / "workers", "onnxruntime", workers=True)
    assert workers.result["metric"] == run.result["metric"]
    assert workers.written() == run.written()


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_other_pythons_write_the_same_files(run, tmp_path, version):
    """In environments `.venv-VERSION`, which `make pythons` makes; none of them has Caffe."""
    python = Path(__file__).parents[2] / f".venv-{version}" / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"there is no {python.parents[1].name}; `make pythons` makes it")
    other = Run(tmp_path / "other", "onnxruntime", python=str(python))
    assert other.result["metric"] == pytest.approx(run.result["metric"], abs=1e-7)
    found, wanted = other.written(), run.written()
    assert set(found) == set(wanted)
    for name in ("Lenet_nuq_layer_record.txt", "Lenet_nuq_codebooks.json", "Lenet_quant.json"):
        assert found[name] == wanted[name], name


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
