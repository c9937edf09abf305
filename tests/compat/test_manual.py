"""The original's manual flow under its own names."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import nuqconv
from nuqconv import compat
from nuqconv.errors import CalibrationError, ConfigError
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, lenet_data

SCRIPT = """
import sys
import caffe
import numpy as np
import amct_caffe as amct
from amct_caffe.auto_nuq import AutoNuqEvaluatorBase

model, weights, *definition = sys.argv[1:]
config = "config.json"
amct.set_cpu_mode()
amct.create_quant_config(config, model, weights, [], 2, True, *definition)
graph = amct.init(config, model, weights, "out/record.txt")
amct.quantize_model(graph, "modified.prototxt", "modified.caffemodel")
net = caffe.Net("modified.prototxt", "modified.caffemodel", caffe.TEST)
data = np.load("data.npy")
for batch in (data[:8], data[8:]):
    net.blobs["data"].reshape(*batch.shape)
    net.blobs["data"].data[...] = batch
    net.forward()
amct.save_model(graph, "Both", "out/net")
"""
DATA = lenet_data(16).inputs["data"]


def nuqconv_run(folder, *arguments):
    command = [sys.executable, "-m", "nuqconv", *map(str, arguments)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("definition", [None, "nuq_config { nuq_quantize { num_steps: 16 } }"])
def test_lenet_gets_the_files_of_nuqconv_quantize(tmp_path, definition):
    """Uniform int8, and 16 levels."""
    np.save(tmp_path / "data.npy", DATA)
    np.savez(tmp_path / "data.npz", data=DATA)
    (tmp_path / "script.py").write_text(SCRIPT)
    if definition:
        (tmp_path / "d.cfg").write_text(definition)
    nuqconv_run(tmp_path, "run", "script.py", LENET_MODEL, LENET_WEIGHTS, *(["d.cfg"] if definition else []))
    how = ["--config", "config.json"] if definition else ["--batch-num", 2]
    wanted = tmp_path / "wanted"
    arguments = [
        "--data",
        "data.npz",
        *how,
        "--batch-size",
        8,
        "--save",
        wanted / "net",
        "--record",
        wanted / "record.txt",
    ]
    nuqconv_run(tmp_path, "quantize", LENET_MODEL, LENET_WEIGHTS, *arguments)
    names = sorted(path.name for path in wanted.iterdir())
    assert len(names) == 8
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (wanted / name).read_bytes(), name
    nuq = (wanted / "net_nuq_layer_record.txt").read_text().strip()
    assert nuq == ("conv1;conv2;ip1;ip2" if definition else "")


@pytest.fixture
def graph(tmp_path):
    nuqconv.create_quant_config(tmp_path / "c.json", LENET_MODEL, LENET_WEIGHTS, batch_num=2)
    return compat.init(tmp_path / "c.json", LENET_MODEL, LENET_WEIGHTS, tmp_path / "record.txt")


def test_what_was_not_run(graph, tmp_path):
    with pytest.raises(CalibrationError, match="call quantize_model first"):
        compat.save_model(graph, "Both", tmp_path / "net")
    compat.quantize_model(graph, tmp_path / "m.prototxt", tmp_path / "m.caffemodel")
    with pytest.raises(CalibrationError, match="was run 0 times, the configuration's batch_num is 2"):
        compat.save_model(graph, "Both", tmp_path / "net")
    with pytest.raises(ConfigError, match="save_type must be 'Fakequant', 'Deploy', 'Both', found 'both'"):
        compat.save_model(graph, "both", tmp_path / "net")


def test_create_quant_config_of_an_onnx_model_needs_no_weights(tmp_path):
    nuqconv.save(nuqconv.load(LENET_MODEL, LENET_WEIGHTS), tmp_path / "m.onnx")
    for module, algorithm in ((nuqconv, "nuq_quantize"), (compat, "arq_quantize")):
        module.create_quant_config(config_file=tmp_path / "c.json", model_file=str(tmp_path / "m.onnx"))
        found = json.loads((tmp_path / "c.json").read_text())
        layers = {
            name: item["weight_quant_params"]["wts_algo"] for name, item in found.items() if isinstance(item, dict)
        }
        assert layers == dict.fromkeys(("conv1", "conv2", "ip1", "ip2"), algorithm)
    with pytest.raises(ConfigError, match="caffemodel"):
        compat.create_quant_config(config_file=tmp_path / "c.json", model_file=LENET_MODEL)


def test_defaults_are_the_originals(tmp_path):
    """A script that names no number of batches runs its model once; elsewhere 8 batches calibrate (decision D37)."""
    for module, batches in ((compat, 1), (nuqconv, 8)):
        module.create_quant_config(tmp_path / "c.json", LENET_MODEL, LENET_WEIGHTS)
        assert json.loads((tmp_path / "c.json").read_text())["batch_num"] == batches
