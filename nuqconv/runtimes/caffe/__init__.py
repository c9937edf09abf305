"""Real Caffe, run in a child process under whichever interpreter has it.

``Net`` is like pycaffe's; ``CaffeProcess`` is the child in which nets live; ``find_caffe`` and ``require_caffe`` look for an interpreter.
"""

from __future__ import annotations

from nuqconv.runtimes.caffe.interpreters import CaffeInstall
from nuqconv.runtimes.caffe.locate import find_caffe, require_caffe
from nuqconv.runtimes.caffe.net import Blob, Layer, Net, Param
from nuqconv.runtimes.caffe.process import CaffeProcess, CaffeVersions

__all__ = [
    "Blob",
    "CaffeInstall",
    "CaffeProcess",
    "CaffeVersions",
    "Layer",
    "Net",
    "Param",
    "find_caffe",
    "require_caffe",
]
