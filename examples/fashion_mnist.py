"""What the examples' training scripts have in common: the data set, the batches, Caffe's solver and what it has learned.

It runs under a Python that has Caffe (3.7 to 3.9). The images come from the Debian package ``dataset-fashion-mnist`` or from the same four files
elsewhere.
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

SCALE = 1.0 / 256.0
SEED = 20170825
BATCH = 64
_TOLD = 500


def arguments(description: str, *, iterations: int, out: Path) -> argparse.Namespace:
    """Return what the command line says; ``data`` and ``out`` are whole paths."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"), help="folder of the data"
    )
    parser.add_argument("--iterations", type=int, default=iterations)
    parser.add_argument("--out", type=Path, default=out, help="folder to write to")
    found = parser.parse_args()
    found.data, found.out = found.data.resolve(), found.out.resolve()
    return found


def _read_idx(path: Path) -> np.ndarray[Any, Any]:
    """Read one file of the MNIST family: a big-endian header of the shape, then bytes."""
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_set(folder: Path, prefix: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Read the images of one part of the data set as (N, 1, 28, 28) bytes, and their labels."""
    images = _read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = _read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    return images[:, np.newaxis], labels


def batches(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], count: int, shift: int = 0) -> Any:
    """Yield shuffled batches, each image mirrored with probability one half and moved by up to ``shift`` pixels."""
    rng = np.random.RandomState(SEED)
    size = images.shape[-1]
    order = np.empty(0, np.int64)
    for _ in range(count):
        if len(order) < BATCH:
            order = rng.permutation(len(images))
        chosen, order = order[:BATCH], order[BATCH:]
        batch = images[chosen]
        mirrored = rng.random_sample(BATCH) < 0.5
        batch[mirrored] = batch[mirrored][..., ::-1]
        if shift:
            wide = np.pad(batch, ((0, 0), (0, 0), (shift, shift), (shift, shift)), "constant")
            moves = rng.randint(0, 2 * shift + 1, (BATCH, 2))
            batch = np.stack([image[:, y : y + size, x : x + size] for image, (y, x) in zip(wide, moves)])
        yield batch.astype(np.float32) * np.float32(SCALE), labels[chosen]


def train(solver_file: Path, taken: Any) -> Any:
    """Run Caffe's solver over batches of blobs ``data`` and ``label``; return it."""
    caffe.set_mode_cpu()
    caffe.set_random_seed(SEED)
    solver = caffe.get_solver(str(solver_file))
    running = 0.0
    for iteration, (batch, labels) in enumerate(taken, 1):
        solver.net.blobs["data"].data[...] = batch
        solver.net.blobs["label"].data[...] = labels
        solver.step(1)
        running += float(solver.net.blobs["loss"].data)
        if iteration % _TOLD == 0:
            print(f"iteration {iteration}: mean loss of the last {_TOLD} {running / _TOLD:.4f}", flush=True)
            running = 0.0
    return solver


def _accuracy(net: Any, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    """Share of the images whose most probable class is the right one."""
    right = 0
    for start in range(0, len(images), 100):
        batch = images[start : start + 100].astype(np.float32) * np.float32(SCALE)
        net.blobs["data"].reshape(*batch.shape)
        net.blobs["data"].data[...] = batch
        right += int(np.sum(net.forward()["prob"].argmax(axis=1) == labels[start : start + 100]))
    return right / len(images)


def say_accuracy(net: Any, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], kept: int, where: str) -> None:
    """Print how often a net is right on all images, and on the first that are kept."""
    print(f"accuracy on all {len(images)} test images: {_accuracy(net, images, labels):.4f}")
    print(f"accuracy on the {kept} {where}: {_accuracy(net, images[:kept], labels[:kept]):.4f}")
