"""A package that is called as caffe2onnx is and names its values as it does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nuqconv.runtimes.caffe2onnx import VARIABLE

FAKE = """
import argparse, sys
parser = argparse.ArgumentParser()
for name in ("--prototxt", "--caffemodel", "--onnx"):
    parser.add_argument(name)
given = parser.parse_args()
import nuqconv.backends.onnx as backend, nuqconv, onnx
if "fail" in given.prototxt:
    sys.exit("it does not know this layer")
graph = nuqconv.load(given.prototxt, given.caffemodel)
model = backend.to_onnx(graph)
names = {node.outputs[0]: node.name for node in graph.nodes}
for node in model.graph.node:
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
for item in (*model.graph.output, *model.graph.value_info):
    item.name = names.get(item.name, item.name)
model.graph.input[0].name = "data_input"
for node in model.graph.node:
    node.input[:] = ["data_input" if name == "data" else name for name in node.input]
onnx.save(model, given.onnx)
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the package into a folder, and makes nuqconv use it."""
    package = folder / "caffe2onnx"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "convert.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv(VARIABLE, sys.executable)
