"""Processor time of the solver that chooses integers, and the errors of its layers, next to the solver before it, in one run.

    python benchmarks/solver.py [lenet nsfw mobilenet_ssd resnet50 ...] [--every 4]    takes 12 minutes

``--every n`` takes each n-th layer. ResNet-50 has random weights and 16 random images, so its errors are those on the calibration images. Times
are those of the process (`time.process_time`) with one thread for matrix products.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import earlier_solver
import numpy as np
from layer_error import STEPS, batches_of, layer_of, output_error
from rich.console import Console
from rich.table import Table

from cases import CASES
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Array, Graph
from nuqconv.ir.ops import Weighted
from nuqconv.job.fitted_weights import gather_moments
from nuqconv.passes import fold_affine
from nuqconv.quantize.compensate import UNIFORM, WeightMethod, solve_layer
from resnet50 import write_resnet50

_FEW = 64
_THREADS = "OPENBLAS_NUM_THREADS"
_RESNET = "resnet50"


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        model: Its name.
        layers: Layers that were solved, of one group and with more than 64 weights.
        seconds: Processor time of all layers: now, before, and now with int8 besides, which was not fitted before.
        ratios: For each number of levels the mean over layers of the error by that of the solver before, on images not used for calibration
            where there are some.
        largest: For each number of levels the largest of these ratios.
    """

    model: str
    layers: int
    seconds: tuple[float, float, float]
    ratios: tuple[float, ...]
    largest: tuple[float, ...]


def _images(name: str, folder: Path) -> tuple[Graph, list[dict[str, Array]], list[dict[str, Array]] | None]:
    if name == _RESNET:
        graph = fold_affine(load_graph(*write_resnet50(folder))).graph
        images = np.random.default_rng(0).standard_normal((16, 3, 224, 224)).astype(np.float32)
        return graph, [{"data": images[:8]}, {"data": images[8:]}], None
    (case,) = (case for case in CASES if case.name == name)
    evaluation, _, calibration = case.data()
    graph = fold_affine(load_graph(*case.files())).graph
    return (
        graph,
        batches_of(calibration[: case.batch_num * case.batch_size], case),
        batches_of(evaluation[:1000], case),
    )


def measure(name: str, every: int = 1) -> Row:
    """Measures a model of `CASES`, or ResNet-50."""
    with tempfile.TemporaryDirectory() as folder:
        graph, calibration, evaluation = _images(name, Path(folder))
    layers = [node.name for node in graph.nodes if _counts(graph, node.name)][::every]
    truth = {} if evaluation is None else dict(gather_moments(graph, layers, evaluation))
    seconds, ratios = [0.0, 0.0, 0.0], []
    for layer, moments in gather_moments(graph, layers, calibration):
        op, weights, bias, scales = layer_of(graph, layer)
        start = time.process_time()
        now = solve_layer(op, weights, bias, scales, moments, STEPS, WeightMethod())
        middle = time.process_time()
        before = earlier_solver.solve_layer(op, weights, bias, scales, moments, STEPS, WeightMethod())
        end = time.process_time()
        solve_layer(op, weights, bias, scales, moments, (UNIFORM, *STEPS), WeightMethod())
        for number, taken in enumerate((middle - start, end - middle, time.process_time() - end)):
            seconds[number] += taken
        judge = truth.get(layer, moments)
        pairs = zip(now, before, strict=True)
        ratios.append([output_error(graph, layer, judge, a) / output_error(graph, layer, judge, b) for a, b in pairs])
    found = np.array(ratios)
    return Row(
        name, len(layers), (seconds[0], seconds[1], seconds[2]), tuple(found.mean(axis=0)), tuple(found.max(axis=0))
    )


def _counts(graph: Graph, name: str) -> bool:
    node = graph.node[name]
    return isinstance(node.op, Weighted) and node.op.groups == 1 and graph.params[node.params[0]].size > _FEW


def rows(names: list[str], every: int) -> Iterator[Row]:
    """Measures models one after the other."""
    for name in names:
        yield measure(name, every)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="by default lenet, nsfw, mobilenet_ssd, resnet50")
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    if _THREADS not in os.environ:
        # numpy has been imported, and reads this at its import only.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, _THREADS: "1"})
    table = Table(title="solver of layers at 16 and 32 levels, next to the solver before")
    for heading in (
        "model",
        "layers",
        "processor s",
        "before",
        "ratio",
        "with int8",
        "error 16",
        "error 32",
        "most 16",
        "most 32",
    ):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in rows(options.models or ["lenet", "nsfw", "mobilenet_ssd", _RESNET], options.every):
        now, before, whole = row.seconds
        numbers = [f"{value:.3f}" for value in (now / before, whole / before, *row.ratios, *row.largest)]
        table.add_row(row.model, str(row.layers), f"{now:.2f}", f"{before:.2f}", *numbers)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
