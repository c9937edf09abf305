"""Train this folder's LeNet on Fashion-MNIST with real Caffe and write the weights and the data sets beside it.

Run it under a Python that has Caffe (3.7 to 3.9), with one thread so that the sums are always taken in the same order::

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 ../../.venv-caffe/bin/python train.py

The images come from the Debian package ``dataset-fashion-mnist`` or from the same four files elsewhere (``--data``).
"""

from __future__ import annotations

import argparse
import gzip
import os
from pathlib import Path
from typing import Any

# Caffe logs every layer of every net at start; set before the import, which is when glog reads it.
os.environ.setdefault("GLOG_minloglevel", "2")

import caffe
import numpy as np

HERE = Path(__file__).resolve().parent
SCALE = 1.0 / 256.0
SEED = 20170825
BATCH = 64
TEST_IMAGES = 2500
CALIBRATION_IMAGES = 256


def read_idx(path: Path) -> np.ndarray[Any, Any]:
    """Read one file of the MNIST family: a big-endian header of the shape, then bytes."""
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_set(folder: Path, prefix: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Read the images of one part of the data set as (N, 1, 28, 28) bytes, and their labels."""
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    return images[:, np.newaxis], labels


def train(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], iterations: int) -> Any:
    """Run Caffe's SGD over shuffled batches, each image mirrored with probability one half; return the solver."""
    rng = np.random.RandomState(SEED)
    caffe.set_random_seed(SEED)
    solver = caffe.get_solver("solver.prototxt")
    order = np.empty(0, np.int64)
    running = 0.0
    for iteration in range(1, iterations + 1):
        if len(order) < BATCH:
            order = rng.permutation(len(images))
        chosen, order = order[:BATCH], order[BATCH:]
        batch = images[chosen].astype(np.float32) * np.float32(SCALE)
        mirrored = rng.random_sample(BATCH) < 0.5
        batch[mirrored] = batch[mirrored][..., ::-1]
        solver.net.blobs["data"].data[...] = batch
        solver.net.blobs["label"].data[...] = labels[chosen]
        solver.step(1)
        running += float(solver.net.blobs["loss"].data)
        if iteration % 500 == 0:
            print(f"iteration {iteration}: mean loss of the last 500 {running / 500:.4f}", flush=True)
            running = 0.0
    return solver


def accuracy(net: Any, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    """Share of the images whose most probable class is the right one."""
    right = 0
    for start in range(0, len(images), 100):
        batch = images[start : start + 100].astype(np.float32) * np.float32(SCALE)
        net.blobs["data"].reshape(*batch.shape)
        net.blobs["data"].data[...] = batch
        right += int(np.sum(net.forward()["prob"].argmax(axis=1) == labels[start : start + 100]))
    return right / len(images)


def main() -> None:
    """Train, measure and write ``lenet.caffemodel``, ``test_set.npz`` and ``calibration.npz``."""
    parser = argparse.ArgumentParser(description="Train LeNet on Fashion-MNIST with real Caffe.")
    parser.add_argument(
        "--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"), help="folder of the data"
    )
    parser.add_argument("--iterations", type=int, default=15000)
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    arguments = parser.parse_args()
    data, out = arguments.data.resolve(), arguments.out.resolve()
    # The solver file names its net relative to the working directory.
    os.chdir(str(HERE))

    images, labels = read_set(data, "train")
    test_images, test_labels = read_set(data, "t10k")
    scale = np.float32(SCALE)
    np.savez_compressed(
        str(out / "test_set.npz"), data=test_images[:TEST_IMAGES], label=test_labels[:TEST_IMAGES], scale=scale
    )
    np.savez_compressed(str(out / "calibration.npz"), data=images[:CALIBRATION_IMAGES], scale=scale)

    caffe.set_mode_cpu()
    solver = train(images, labels, arguments.iterations)
    deploy = caffe.Net("deploy.prototxt", caffe.TEST)
    deploy.share_with(solver.net)
    deploy.save(str(out / "lenet.caffemodel"))
    print(f"accuracy on all {len(test_images)} test images: {accuracy(deploy, test_images, test_labels):.4f}")
    kept = accuracy(deploy, test_images[:TEST_IMAGES], test_labels[:TEST_IMAGES])
    print(f"accuracy on the {TEST_IMAGES} of test_set.npz: {kept:.4f}")


if __name__ == "__main__":
    main()
