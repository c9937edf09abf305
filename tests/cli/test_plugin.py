"""``--plugin`` imports a module that registers layer types."""

import subprocess
import sys

from tests.support.nets import write_net

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "double" type: "Doubler" bottom: "data" top: "out" doubler_param { factor: 2 } }
"""
PLUGIN = """
import nuqconv

@nuqconv.register_layer("Doubler", fields={"factor": 1.0})
def doubler(layer, onnx):
    return onnx.add("Mul", onnx.inputs[0], onnx.constant(layer.param["factor"]))
"""


def _convert(folder, *options):
    command = [sys.executable, "-m", "nuqconv", *options, "convert", "net.prototxt", "net.caffemodel", "net.onnx"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


def test_a_module_of_the_working_directory(tmp_path):
    write_net(tmp_path, NET, {})
    (tmp_path / "doubler_plugin.py").write_text(PLUGIN)
    without = _convert(tmp_path)
    assert without.returncode == 2
    assert "double" in without.stderr
    done = _convert(tmp_path, "--plugin", "doubler_plugin")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "net.onnx").is_file()


def test_a_module_that_fails(tmp_path):
    write_net(tmp_path, NET, {})
    (tmp_path / "broken_plugin.py").write_text("1 / 0\n")
    for name, reason in (
        ("broken_plugin", "ZeroDivisionError: division by zero"),
        ("missing_plugin", "ModuleNotFoundError"),
    ):
        failed = _convert(tmp_path, "--plugin", name)
        assert failed.returncode == 2
        assert f"--plugin {name}: importing the module raised {reason}" in " ".join(failed.stderr.split())
        assert "Traceback" not in failed.stderr
