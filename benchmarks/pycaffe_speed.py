"""Forward passes of a published ResNet-50 through pycaffe's face, beside real pycaffe in its own interpreter.

Both take turns, so that what else the machine does meets both; the shortest time of each counts, and the median.

    PYTHONPATH=tools python benchmarks/pycaffe_speed.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from nuqconv import pycaffe
from nuqconv.runtimes.caffe import require_caffe
from photos import EVALUATION, photos
from real_models import model_files
from soak import pycaffe_forwards

ROUNDS = 40
BATCHES = (1, 8)

# What a user's script does in each pass, in real pycaffe; a line on standard input asks for one.
_REAL = """
import os, sys, time
os.environ["GLOG_minloglevel"] = "3"
import caffe, numpy as np
model, weights, size, file = sys.argv[1:]
net = caffe.Net(model, weights, caffe.TEST)
net.blobs["data"].reshape(int(size), 3, 224, 224)
net.reshape()
data = np.load(file)
for line in sys.stdin:
    begun = time.perf_counter()
    net.blobs["data"].data[...] = data
    found = net.forward()["prob"]
    print(time.perf_counter() - begun, *found[0], flush=True)
"""


def _real(size: int, file: str) -> subprocess.Popen[str]:
    command = [require_caffe().python, "-c", _REAL, *map(str, model_files("nsfw")), str(size), file]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ
    )


def _compare(size: int, data: np.ndarray, file: str) -> dict[str, float]:
    net = pycaffe.Net(*model_files("nsfw"), pycaffe.TEST)
    net.blobs["data"].reshape(size, 3, 224, 224)
    times: dict[str, list[float]] = {"pycaffe": [], "nuqconv": []}
    with _real(size, file) as real:
        if real.stdin is None or real.stdout is None:
            raise RuntimeError("no pipes")
        for number in range(ROUNDS + 1):
            print("pass", file=real.stdin, flush=True)
            seconds, *expected = map(float, real.stdout.readline().split())
            begun = time.perf_counter()
            net.blobs["data"].data[...] = data
            found = net.forward()["prob"]
            mine = time.perf_counter() - begun
            np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)
            # The first pass of each sets things up.
            if number:
                times["pycaffe"].append(seconds)
                times["nuqconv"].append(mine)
        real.stdin.close()
    best = {name: min(found) for name, found in times.items()}
    middle = {name: statistics.median(found) for name, found in times.items()}
    return {
        "batch": size,
        "pycaffe_seconds": best["pycaffe"],
        "nuqconv_seconds": best["nuqconv"],
        "ratio": best["pycaffe"] / best["nuqconv"],
        "ratio_of_medians": middle["pycaffe"] / middle["nuqconv"],
    }


def measure(console: Console, forwards: int = 10_000) -> dict[str, object]:
    """Measures speed and memory, and returns the figures."""
    found: list[dict[str, float]] = []
    mean = np.array([104, 117, 123], np.float32).reshape(1, 3, 1, 1)
    images = photos(EVALUATION, 224, max(BATCHES))[:, ::-1] - mean
    for size in BATCHES:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "images.npy"
            np.save(file, images[:size])
            row = _compare(size, images[:size], str(file))
        console.print(
            f"nsfw, batch of {size}: real pycaffe {row['pycaffe_seconds'] * 1e3:.1f} ms, nuqconv.pycaffe {row['nuqconv_seconds'] * 1e3:.1f} ms: "
            f"[bold]{row['ratio']:.1f} times as fast[/] ({row['ratio_of_medians']:.1f} by the medians)",
            soft_wrap=True,
        )
        found.append(row)
    soak = pycaffe_forwards(forwards)
    console.print(str(soak), soft_wrap=True)
    return {"speed": found, "forwards": soak.count, "bytes_a_pass": soak.slope(soak.resident)}


if __name__ == "__main__":
    measure(Console(), *map(int, sys.argv[1:]))
