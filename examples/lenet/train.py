"""Train this folder's LeNet on Fashion-MNIST with real Caffe and write the weights and the data sets beside it.

Run it under a Python that has Caffe (3.7 to 3.9), with one thread so that the sums are always taken in the same order::

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 ../../.venv-caffe/bin/python train.py

The images come from the Debian package ``dataset-fashion-mnist`` or from the same four files elsewhere (``--data``).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import fashion_mnist
import numpy as np

# isort: split
# Behind the module that keeps Caffe quiet.
import caffe

TEST_IMAGES = 2500
CALIBRATION_IMAGES = 256


def main() -> None:
    """Train, measure and write ``lenet.caffemodel``, ``test_set.npz`` and ``calibration.npz``."""
    wanted = fashion_mnist.arguments("Train LeNet on Fashion-MNIST with real Caffe.", iterations=15000, out=HERE)
    # The solver file names its net relative to the working directory.
    os.chdir(str(HERE))

    images, labels = fashion_mnist.read_set(wanted.data, "train")
    test_images, test_labels = fashion_mnist.read_set(wanted.data, "t10k")
    scale = np.float32(fashion_mnist.SCALE)
    np.savez_compressed(
        str(wanted.out / "test_set.npz"), data=test_images[:TEST_IMAGES], label=test_labels[:TEST_IMAGES], scale=scale
    )
    np.savez_compressed(str(wanted.out / "calibration.npz"), data=images[:CALIBRATION_IMAGES], scale=scale)

    solver = fashion_mnist.train(Path("solver.prototxt"), fashion_mnist.batches(images, labels, wanted.iterations))
    deploy = caffe.Net("deploy.prototxt", caffe.TEST)
    deploy.share_with(solver.net)
    deploy.save(str(wanted.out / "lenet.caffemodel"))
    fashion_mnist.say_accuracy(deploy, test_images, test_labels, TEST_IMAGES, "of test_set.npz")


if __name__ == "__main__":
    main()
