"""Squared error of layers' outputs at 16 and 32 steps, on images not used for calibration, next to kmeans1d with nearest assignment.

python benchmarks/layer_error.py [models ...]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import kmeans1d
import numpy as np
from numpy.typing import NDArray
from palettize import available, palettized
from rich.console import Console
from rich.table import Table

from cases import CASES, Case
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Array, Graph
from nuqconv.ir.ops import Deconvolution, InnerProduct, Weighted
from nuqconv.job.fitted_weights import gather_moments
from nuqconv.passes import fold_affine
from nuqconv.quantize.compensate import LayerSolution, WeightMethod, solve_layer
from nuqconv.quantize.moments import Moments
from nuqconv.quantize.weights import weight_scales

STEPS = (16, 32)
_LARGEST_SAMPLE = 200_000
_NOTHING = {"compensation": False, "refit_scales": False, "bias_correction": False, "importance": False}
METHODS = {
    "exact codebook": WeightMethod(**_NOTHING),
    "importance": WeightMethod(**{**_NOTHING, "importance": True}),
    "bias correction": WeightMethod(**{**_NOTHING, "bias_correction": True}),
    "all but refitted steps": WeightMethod(refit_scales=False),
    "all but compensation": WeightMethod(compensation=False),
    "all": WeightMethod(),
}


@dataclass(frozen=True)
class Row:
    """One model at one number of steps.

    Attributes:
        model: Its name.
        steps: Levels.
        layers: Layers with more distinct weights than levels.
        ratios: For each method the mean over the layers of its error by that of kmeans1d.
        seconds: For each method the time for all steps of all layers.
        coremltools: The same mean for coremltools' palettization with as many levels; None where it is not installed, or has no such number of bits.
    """

    model: str
    steps: int
    layers: int
    ratios: dict[str, float]
    seconds: dict[str, float]
    coremltools: float | None = None


def rows(names: list[str] | None = None) -> Iterator[Row]:
    """Measures the models named, or all."""
    for case in CASES:
        if not names or case.name in names:
            yield from _model(case)


def _model(case: Case) -> Iterator[Row]:
    graph = fold_affine(load_graph(*case.files())).graph
    layers = [
        node.name
        for node in graph.nodes
        if isinstance(node.op, Weighted)
        and graph.params[node.params[0]].size > 2 * max(STEPS)
        and (isinstance(node.op, InnerProduct) or not isinstance(node.op, Deconvolution) or node.op.group == 1)
    ]
    evaluation, _, calibration = case.data()
    calibrated = gather_moments(graph, layers, batches_of(calibration[: case.batch_num * case.batch_size], case))
    truth = dict(gather_moments(graph, layers, batches_of(evaluation[:1000], case)))
    errors: dict[tuple[str, int], list[float]] = {}
    seconds = dict.fromkeys(METHODS, 0.0)
    palettes: list[float] = []
    for name, moments in calibrated:
        base = {steps: _kmeans(graph, name, truth[name], steps) for steps in STEPS}
        if available():
            palettes.append(_palette(graph, name, truth[name]) / base[16])
        for method, options in METHODS.items():
            start = time.perf_counter()
            solutions = _solved(graph, name, moments, options)
            seconds[method] += time.perf_counter() - start
            for steps, solution in zip(STEPS, solutions, strict=True):
                error = output_error(graph, name, truth[name], solution)
                errors.setdefault((method, steps), []).append(error / base[steps])
    for steps in STEPS:
        ratios = {method: float(np.mean(errors[method, steps])) for method in METHODS}
        palette = float(np.mean(palettes)) if palettes and steps == 16 else None
        yield Row(case.name, steps, len(layers), ratios, seconds, palette)


def batches_of(images: Array, case: Case) -> list[dict[str, Array]]:
    return [{"data": images[start : start + case.batch_size]} for start in range(0, len(images), case.batch_size)]


def layer_of(graph: Graph, name: str) -> tuple[Weighted, Array, Array | None, Array]:
    node = graph.node[name]
    if not isinstance(node.op, Weighted):
        raise TypeError(name)
    weights = graph.params[node.params[0]]
    bias = graph.params[node.params[1]] if len(node.params) > 1 else None
    axis = node.op.scale_axis()
    return node.op, weights, bias, weight_scales(weights, axis)


def _solved(graph: Graph, name: str, moments: Moments, method: WeightMethod) -> list[LayerSolution]:
    op, weights, bias, scales = layer_of(graph, name)
    return solve_layer(op, weights, bias, scales, moments, STEPS, method)


def _spread(scales: Array, matrix: Array) -> NDArray[np.float64]:
    flat = np.broadcast_to(scales.astype(np.float64), matrix.shape[0] * matrix.shape[1])
    return flat.reshape(*matrix.shape[:2], 1)


def _kmeans(graph: Graph, name: str, truth: Moments, steps: int) -> float:
    """Optimal k-means of the weights in steps of their channel, levels not rounded, nearest assignment."""
    op, weights, _, scales = layer_of(graph, name)
    matrix = op.to_matrix(weights).astype(np.float64)
    real = matrix / _spread(scales, matrix)
    sample = real.reshape(-1)[:: max(1, real.size // _LARGEST_SAMPLE)]
    levels = np.unique(kmeans1d.cluster(sample, steps)[1])
    nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, real)]
    return float(truth.output_error(matrix - nearest * _spread(scales, matrix)).sum())


def _palette(graph: Graph, name: str, truth: Moments) -> float:
    op, weights, _, _ = layer_of(graph, name)
    difference = op.to_matrix(weights).astype(np.float64) - op.to_matrix(palettized(weights))
    return float(truth.output_error(difference).sum())


def output_error(graph: Graph, name: str, truth: Moments, solution: LayerSolution) -> float:
    op, weights, bias, _ = layer_of(graph, name)
    matrix = op.to_matrix(weights).astype(np.float64)
    difference = matrix - op.to_matrix(solution.weights) * _spread(solution.scales, matrix)
    shift = None
    if bias is not None and solution.bias is not None:
        shift = (bias - solution.bias).reshape(matrix.shape[:2])
    return float(truth.output_error(difference, shift).sum())


def measure(console: Console, names: list[str] | None = None) -> list[Row]:
    """Prints the table and returns its rows."""
    found = list(rows(names))
    table = Table(title="squared error of layers' outputs, kmeans1d with nearest assignment = 1, mean over layers")
    for heading in ("model", "steps", "layers", *METHODS, "coremltools", "seconds"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in found:
        ratios = [f"{row.ratios[method]:.3f}" for method in METHODS]
        palette = "" if row.coremltools is None else f"{row.coremltools:.3f}"
        table.add_row(row.model, str(row.steps), str(row.layers), *ratios, palette, f"{row.seconds['all']:.0f}")
    console.print(table)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    measure(Console(width=160), parser.parse_args().models)
