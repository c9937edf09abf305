"""The original's manual flow under its own names."""

from __future__ import annotations

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

model, weights, config = sys.argv[1:]
amct.set_cpu_mode()
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


@pytest.mark.parametrize("definition", ["", "nuq_config { nuq_quantize { num_steps: 16 } }"])
def test_lenet_gets_the_files_of_nuqconv_quantize(tmp_path, definition):
    (tmp_path / "d.cfg").write_text(f"batch_num: 2 {definition}")
    config = tmp_path / "config.json"
    nuqconv.create_quant_config(config, LENET_MODEL, LENET_WEIGHTS, config_defination=tmp_path / "d.cfg")
    np.save(tmp_path / "data.npy", DATA)
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "nuqconv.cli", "run", "script.py", LENET_MODEL, LENET_WEIGHTS, config]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 0, ended.stderr
    result = nuqconv.quantize((LENET_MODEL, LENET_WEIGHTS), data={"data": DATA}, config=config, batch_size=8)
    files = result.save(tmp_path / "wanted" / "net", record=tmp_path / "wanted" / "record.txt")
    assert len(files.present()) == 8
    for path in files.present().values():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name
    assert any(layer.num_steps == 16 for layer in result.plan.values()) == bool(definition)


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
