"""Small nets and helpers that the tests of the Caffe runtime share."""

from __future__ import annotations

from pathlib import Path

CONV_NET = """
name: "conv"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 5 dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 3 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "power" type: "Power" bottom: "conv" top: "power" power_param { scale: 2 shift: 1 } }
"""

TWO_INPUTS = """
name: "sum"
input: "left" input_shape { dim: 2 dim: 3 }
input: "right" input_shape { dim: 2 dim: 3 }
layer { name: "sum" type: "Eltwise" bottom: "left" bottom: "right" top: "sum" }
"""

PYTHON_NET = """
name: "python"
input: "data" input_shape {{ dim: 1 dim: 4 }}
layer {{ name: "user" type: "Python" bottom: "data" top: "user" python_param {{ module: "{module}" layer: "User" param_str: "{param}" }} }}
"""

PYTHON_LAYER = """
import caffe
{imports}

class User(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data + 1
        {body}

    def backward(self, top, propagate_down, bottom):
        pass
"""


def write(folder: Path, text: str, name: str = "net.prototxt") -> Path:
    """Write a net and return its path."""
    path = folder / name
    path.write_text(text)
    return path


def write_python_net(folder: Path, body: str, imports: str = "import os, sys, time", param: str = "") -> Path:
    """Write a net with one Python layer that adds one and then runs ``body``; its module lies beside it."""
    (folder / "user_layer.py").write_text(PYTHON_LAYER.format(imports=imports, body=body))
    return write(folder, PYTHON_NET.format(module="user_layer", param=param))


def open_descriptors() -> int:
    """Number of descriptors that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
