"""Train this folder's net on Fashion-MNIST with real Caffe, and write the weights and the pictures beside it.

Run it under a Python that has Caffe (3.7 to 3.9), with one thread so that the sums are always taken in the same order::

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 ../../.venv-caffe/bin/python train.py

The images come from the Debian package ``dataset-fashion-mnist`` or from the same four files elsewhere (``--data``).

The net for training is made from deploy.prototxt. Its BatchNorm layers become the Python layer `BatchStatistics` of this file, since the
BatchNorm of the Caffe on PyPI normalizes with its stored statistics also while it trains.
"""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path
from typing import Any, ClassVar

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import fashion_mnist
import numpy as np

# isort: split
# Behind the module that keeps Caffe quiet.
import caffe
from caffe.proto import caffe_pb2
from google.protobuf import text_format

SHIFT = 2
EPSILON = 1e-5
TEST_IMAGES = 1000
CALIBRATION_IMAGES = 128

SOLVER = """net: "{net}" type: "SGD" base_lr: 0.1 momentum: 0.9 weight_decay: 0.0005 lr_policy: "poly" power: 1 max_iter: {iterations}
display: 0 snapshot: 0 snapshot_after_train: false random_seed: {seed} solver_mode: CPU
"""


class BatchStatistics(caffe.Layer):
    """Normalizes each channel with the mean and the variance of the batch, and keeps a running mean of both for the net that is written."""

    KEPT: ClassVar[dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]] = {}
    SHARE = 0.02

    def setup(self, bottom: Any, top: Any) -> None:
        """Begins with the statistics of a normalized blob."""
        channels = bottom[0].data.shape[1]
        self.KEPT[self.param_str] = np.zeros(channels), np.ones(channels)

    def reshape(self, bottom: Any, top: Any) -> None:
        """Gives the top the bottom's shape."""
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom: Any, top: Any) -> None:
        """Normalizes."""
        values = bottom[0].data
        self.count = values.size // values.shape[1]
        mean = values.mean(axis=(0, 2, 3))
        centred = values - mean[:, None, None]
        variance = np.einsum("nchw,nchw->c", centred, centred) / self.count
        self.inverse = 1 / np.sqrt(variance + EPSILON)
        self.normalized = centred * self.inverse[:, None, None]
        top[0].data[...] = self.normalized
        kept_mean, kept_variance = self.KEPT[self.param_str]
        kept_mean += self.SHARE * (mean - kept_mean)
        kept_variance += self.SHARE * (variance * self.count / (self.count - 1) - kept_variance)

    def backward(self, top: Any, propagate_down: Any, bottom: Any) -> None:
        """Ioffe and Szegedy, "Batch Normalization" (2015), section 3."""
        given = top[0].diff
        along = np.einsum("nchw,nchw->c", given, self.normalized) / self.count
        change = given - given.mean(axis=(0, 2, 3))[:, None, None] - self.normalized * along[:, None, None]
        bottom[0].diff[...] = change * self.inverse[:, None, None]


def training_net(deploy: Path) -> str:
    """Return the net for training: fillers, statistics of the batch, a label and a loss."""
    net = caffe_pb2.NetParameter()
    text_format.Merge(deploy.read_text(encoding="utf-8"), net)
    net.input_shape[0].dim[0] = fashion_mnist.BATCH
    net.input.append("label")
    net.input_shape.add().dim.append(fashion_mnist.BATCH)
    for layer in net.layer:
        if layer.type == "Convolution":
            layer.convolution_param.weight_filler.type = "msra"
            # The gradient of the next layer needs the values before and after it, so it does not work in place.
            layer.top[0] = f"{layer.name}/raw"
        elif layer.type == "InnerProduct":
            layer.inner_product_param.weight_filler.type = "xavier"
        elif layer.type == "BatchNorm":
            layer.ClearField("batch_norm_param")
            layer.type = "Python"
            layer.python_param.module = Path(__file__).stem
            layer.python_param.layer = "BatchStatistics"
            layer.python_param.param_str = layer.name
            layer.bottom[0] = layer.name.replace("/bn", "/raw")
            layer.top[0] = layer.name
        elif layer.type == "Scale":
            layer.bottom[0] = layer.name.replace("/scale", "/bn")
            for _ in range(2):
                layer.param.add().decay_mult = 0
        elif layer.type == "Softmax":
            layer.type = "SoftmaxWithLoss"
            layer.bottom.append("label")
            layer.name = layer.top[0] = "loss"
    return text_format.MessageToString(net)


def trained(deploy: Path, solver: Any) -> Any:
    """Return the net to be used, with the weights of the trained one and the statistics that its layers kept."""
    # This file is imported a second time by Caffe, under its own name.
    kept = sys.modules[Path(__file__).stem].BatchStatistics.KEPT
    net = caffe.Net(str(deploy), caffe.TEST)
    for name, blobs in net.params.items():
        found = (*kept[name], np.ones(1)) if name in kept else [blob.data for blob in solver.net.params[name]]
        for blob, values in zip(blobs, found):
            blob.data[...] = values
    return net


def png(image: np.ndarray[Any, Any]) -> bytes:
    """Return a grey picture as a PNG file; Caffe's environment need not have a library for pictures."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def write_pictures(folder: Path, name: str, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
    """Write a folder of pictures and the list of them with their classes."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (image, label) in enumerate(zip(images, labels)):
        path = f"{name}/{number:04d}.png"
        (folder / path).write_bytes(png(image[0]))
        lines.append(f"{path} {label}\n")
    (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Train, measure and write ``mobilenet.caffemodel`` and the pictures."""
    wanted = fashion_mnist.arguments(
        "Train a small MobileNet on Fashion-MNIST with real Caffe.", iterations=8000, out=HERE
    )
    # Caffe imports the layer of this file by its name.
    sys.path.insert(0, str(HERE))

    images, labels = fashion_mnist.read_set(wanted.data, "train")
    test_images, test_labels = fashion_mnist.read_set(wanted.data, "t10k")
    write_pictures(wanted.out, "test", test_images[:TEST_IMAGES], test_labels[:TEST_IMAGES])
    write_pictures(wanted.out, "calibration", images[:CALIBRATION_IMAGES], labels[:CALIBRATION_IMAGES])

    deploy, net = HERE / "deploy.prototxt", wanted.out / "training.prototxt"
    net.write_text(training_net(deploy), encoding="utf-8")
    solver_file = net.with_suffix(".solver.prototxt")
    text = SOLVER.format(net=net, iterations=wanted.iterations, seed=fashion_mnist.SEED)
    solver_file.write_text(text, encoding="utf-8")
    solver = fashion_mnist.train(solver_file, fashion_mnist.batches(images, labels, wanted.iterations, SHIFT))
    for path in (net, solver_file):
        path.unlink()
    result = trained(deploy, solver)
    result.save(str(wanted.out / "mobilenet.caffemodel"))
    fashion_mnist.say_accuracy(result, test_images, test_labels, TEST_IMAGES, "pictures in test")


if __name__ == "__main__":
    main()
