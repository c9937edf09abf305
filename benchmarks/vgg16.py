"""Time and memory of the preparation of VGG-16, whose fc6 has 103 million weights.

    python benchmarks/vgg16.py [--images 8] [--share 1] [--rows 64]

The weights are random, in the layers of the published prototxt (553 MB); ``--share n`` divides all channels by n. Everything is calibrated on one
batch of random images: ranges, integers at 16 and 32 levels, predicted losses. The measured process does nothing else, and its largest resident
memory is its ``VmHWM``, with Python and its packages. The solver before decision D38 would take half an hour for the whole net, so it takes some
rows of fc6 only, in the same run as the present one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import earlier_solver
import numpy as np
from rich.console import Console
from rich.table import Table

from nuqconv.formats import ReadOptions, open_model
from nuqconv.ir.ops import InnerProduct
from nuqconv.job.asked import given_config
from nuqconv.job.calibration import calibrate
from nuqconv.job.forms import Forms
from nuqconv.job.job import float_graph, make_job
from nuqconv.job.preparation import prepare
from nuqconv.quantize.compensate import WeightMethod, solve_layer
from nuqconv.quantize.moments import Moments, MomentSum
from nuqconv.quantize.weights import weight_scales
from resnet50 import NetWriter

STEPS = (16, 32)
_THREADS = "OPENBLAS_NUM_THREADS"
_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
_DENSE = (("fc6", 4096), ("fc7", 4096), ("fc8", 1000))


def write_vgg16(folder: Path, share: int = 1, seed: int = 0) -> tuple[Path, Path]:
    """Writes VGG-16's two files with random weights and returns their paths.

    Args:
        folder: Where to.
        share: Channels are divided by it.
        seed: Of the weights.
    """
    net = NetWriter("VGG-16", seed)
    blob, channels = "data", 3
    for stage, (count, width) in enumerate(_STAGES, 1):
        for number in range(1, count + 1):
            name, outputs = f"conv{stage}_{number}", width // share
            filters = net.rng.standard_normal((outputs, channels, 3, 3), np.float32) * np.sqrt(2 / (channels * 9))
            param = f"convolution_param {{ num_output: {outputs} kernel_size: 3 pad: 1 }}"
            net.layer(name, "Convolution", [blob], name, param, filters, net.rng.standard_normal(outputs) * 0.1)
            net.relu(f"relu{stage}_{number}", name)
            blob, channels = name, outputs
        net.layer(
            f"pool{stage}", "Pooling", [blob], f"pool{stage}", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
        )
        blob = f"pool{stage}"
    inputs = channels * 49
    for name, width in _DENSE:
        outputs = max(10, width // share)
        weights = net.rng.standard_normal((outputs, inputs), np.float32) * np.float32(np.sqrt(2 / inputs))
        param = f"inner_product_param {{ num_output: {outputs} }}"
        net.layer(name, "InnerProduct", [blob], name, param, weights, net.rng.standard_normal(outputs) * 0.1)
        if name != "fc8":
            net.relu(f"relu{name[-1]}", name)
        blob, inputs = name, outputs
    net.layer("prob", "Softmax", [blob], "prob")
    return net.write(folder)


def prepare_model(files: tuple[Path, Path], images: int) -> dict[str, Any]:
    """Prepares a search of a model in this process, and returns what that took."""
    start, wall = time.process_time(), time.perf_counter()
    source = open_model(files).read(ReadOptions({}))
    graph = float_graph(source)
    config = given_config(None, graph, batch_num=1)
    job = make_job(source, config, Forms.CODEBOOKS.requests(config, graph, files[0].name), files[0].name)
    batch = np.random.default_rng(1).standard_normal((images, 3, 224, 224), np.float32)
    marks: dict[str, float] = {}

    def on_step(name: str, done: int, total: int) -> None:
        marks[name] = peak_memory()
        text = f"{name} {done}/{total} {time.process_time() - start:.1f} s {peak_memory() / 1e6:.0f} MB"
        print(text, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        calibration = calibrate(job.graph, job.values, batches=[{"data": batch}], run_model=None, folder=Path(folder))
    marks["calibration"] = peak_memory()
    found = prepare(job, calibration, method=WeightMethod(), on_step=on_step)
    return {
        "seconds": time.process_time() - start,
        "wall": time.perf_counter() - wall,
        "peak": peak_memory(),
        "marks": marks,
        "digest": hashlib.sha256("".join([found.to_json(), *found.digests()]).encode()).hexdigest(),
        "integers": hashlib.sha256("".join(found.digests()).encode()).hexdigest(),
    }


def against_earlier(rows: int, images: int) -> tuple[float, float, float]:
    """Solves some rows of a layer of fc6's columns with both solvers; returns their processor times and the errors' ratio at 16 levels."""
    rng = np.random.default_rng(2)
    columns = 512 * 49
    op = InnerProduct(rows)
    weights = rng.standard_normal((rows, columns), np.float32) * np.float32(np.sqrt(2 / columns))
    bias = rng.standard_normal(rows).astype(np.float32) * 0.1
    total = MomentSum(1, columns)
    total.update(np.maximum(rng.standard_normal((images, 1, columns), np.float32), 0))
    few = total.moments()
    given = (op, weights, bias, weight_scales(weights, None))
    start = time.process_time()
    now = solve_layer(*given, few, STEPS, WeightMethod())
    middle = time.process_time()
    before = earlier_solver.solve_layer(*given, Moments(few.count, few.mean, few.covariance), STEPS, WeightMethod())
    return middle - start, time.process_time() - middle, now[0].error / before[0].error


def peak_memory() -> int:
    """Returns the largest resident memory of this process so far, in bytes; ``getrusage`` would count what its parent held when it was forked."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


def measure(images: int, share: int) -> dict[str, Any]:
    """Prepares VGG-16 in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        files = write_vgg16(Path(name), share)
        size = files[1].stat().st_size
        command = [sys.executable, __file__, "--prepare", name, "--images", str(images)]
        run = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, _THREADS: "1"})
    return {"model": size, **json.loads(run.stdout)}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--share", type=int, default=1)
    parser.add_argument(
        "--rows", type=int, default=64, help="of fc6 that both solvers take; 0 leaves the earlier one out"
    )
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare is not None:
        (model,), (weights,) = (options.prepare.glob(f"*.{end}") for end in ("prototxt", "caffemodel"))
        print(json.dumps(prepare_model((model, weights), options.images)))
        return
    if _THREADS not in os.environ:
        # numpy has been imported, and reads this at its import only.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, _THREADS: "1"})
    found = measure(options.images, options.share)
    table = Table(title=f"preparation of VGG-16 with {options.images} images in one batch")
    for heading in ("model MB", "processor s", "largest MB", "more than the model MB"):
        table.add_column(heading, justify="right")
    size, peak = found["model"], found["peak"]
    table.add_row(f"{size / 1e6:.0f}", f"{found['seconds']:.0f}", f"{peak / 1e6:.0f}", f"{(peak - size) / 1e6:.0f}")
    console = Console(width=120)
    console.print(table)
    if options.rows:
        now, before, error = against_earlier(options.rows, options.images)
        table = Table(title=f"{options.rows} rows of fc6, next to the solver before decision D38")
        for heading in ("processor s", "before", "ratio", "error by that before"):
            table.add_column(heading, justify="right")
        table.add_row(f"{now:.1f}", f"{before:.1f}", f"{now / before:.3f}", f"{error:.3f}")
        console.print(table)


if __name__ == "__main__":
    main()
