"""Small Caffe nets with random weights, written by the schema alone (no reader or writer under test takes part)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuqconv.frontends.caffe.schema import NetParameter


@dataclass(frozen=True)
class Files:
    """A model on disk."""

    model: Path
    weights: Path


def blob_into(message, array) -> None:
    """Fills a BlobProto with float32 numbers."""
    array = np.asarray(array, "<f4")
    message.shape.dim.extend(array.shape)
    message.data.append(array.tobytes())


def write_net(folder: Path, text: str, weights: Mapping[str, Sequence[np.ndarray]], stem: str = "net") -> Files:
    """Writes a prototxt and a caffemodel with the given blobs for each layer."""
    net = NetParameter(name=stem)
    for name, arrays in weights.items():
        layer = net.layer.add(name=name)
        for array in arrays:
            blob_into(layer.blobs.add(), array)
    if not weights:
        net.layer.add(name="none")
    files = Files(folder / f"{stem}.prototxt", folder / f"{stem}.caffemodel")
    files.model.write_text(text)
    files.weights.write_bytes(net.SerializeToString())
    return files


def conv_net(folder: Path, seed: int = 0, stem: str = "net") -> Files:
    """A net that has most of what folding and quantizing meet: conv + BatchNorm + Scale, a residual, AVE pooling, InnerProduct."""
    rng = np.random.default_rng(seed)
    text = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 12 dim: 12 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 bias_term: false } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "conv1" bottom: "conv2" top: "sum" }
layer { name: "relu2" type: "ReLU" bottom: "sum" top: "sum" relu_param { negative_slope: 0.1 } }
layer { name: "pool" type: "Pooling" bottom: "sum" top: "pool" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
    weights = {
        "conv1": [rng.normal(size=(8, 3, 3, 3))],
        "bn1": [rng.normal(size=8) * 2, rng.uniform(0.5, 4, 8) * 2, np.array([2.0])],
        "scale1": [rng.normal(size=8), rng.normal(size=8)],
        "conv2": [rng.normal(size=(8, 8, 3, 3)) / 6, rng.normal(size=8)],
        "fc": [rng.normal(size=(5, 8 * 36)) / 10, rng.normal(size=5)],
    }
    return write_net(folder, text, weights, stem)
