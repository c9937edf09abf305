"""Systems that are not Linux: no fcntl, no resource. All that can work does, and the rest is refused by name."""

from __future__ import annotations

import subprocess
import sys

HIDE = """
import importlib, pkgutil, sys
sys.modules["fcntl"] = sys.modules["resource"] = None
"""
IMPORT_ALL = """
import nuqconv
# These files are run by path, in the child itself.
children = ("nuqconv.runtimes.child.serve", "nuqconv.runtimes.caffe.worker", "nuqconv.runtimes.onnxruntime.isolated_worker")
found = [item.name for item in pkgutil.walk_packages(nuqconv.__path__, "nuqconv.")]
for name in found:
    if name not in children and not name.endswith("__main__"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            # What is not installed is another matter.
            assert "fcntl" not in str(error) and "resource" not in str(error), (name, error)
print(len(found), sum(name in sys.modules for name in found))
"""
WORK = """
import logging
import nuqconv
from nuqconv.errors import NuqconvError
model = ["examples/lenet/deploy.prototxt", "examples/lenet/lenet.caffemodel"]
print(len(nuqconv.convert(*model, sys.argv[1] + "/m.onnx").files))
from nuqconv.runtimes.onnxruntime.isolated import OnnxProcess
from nuqconv.parallel.pool import _check
for make in (OnnxProcess, lambda: OnnxProcess(memory_limit=2**40), lambda: _check(1, None, None, None, 0, 2**40)):
    try:
        make()
    except NuqconvError as error:
        print(type(error).__name__, str(error).replace(chr(10), " "))
"""


def run(code, *arguments):
    ended = subprocess.run(
        [sys.executable, "-c", HIDE + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_every_module_can_be_imported():
    found, imported = map(int, run(IMPORT_ALL)[0].split())
    # The children, two __main__, and what needs a package that is not installed.
    assert found - 12 < imported <= found
    assert found > 200


def test_what_does_not_work_is_refused_by_name(tmp_path):
    converted, child, limit, workers = run(WORK, tmp_path)
    assert converted == "1"
    assert child.startswith(
        "RuntimeMissingError runtimes in a child process (real Caffe, onnxruntime with isolate) need Linux"
    )
    for line in (limit, workers):
        assert line.startswith("ConfigError")
        assert "memory_limit: memory of a process can be limited on Linux only" in line
