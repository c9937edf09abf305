"""Time and error of the exact codebooks against scikit-learn's KMeans and kmeans1d, layer by layer, in one run.

Ours: histogram, the best codebooks of every size from 1 to 32, and the assignment at 16 and 32 levels. The others cluster the same
int8 weights at 16 and at 32 levels, KMeans as float32 of shape (n, 1) with ``n_init=1, random_state=0`` and its other defaults. Their
centroids are rounded to integers before the errors are compared, as a deploy model needs integers.

    python benchmarks/codebooks.py                          synthetic weights in the shapes of ResNet-50-1by2
    python benchmarks/codebooks.py --weights layers.npz     one array for each layer; floats are quantized first
    python benchmarks/codebooks.py --layers 8 --json out.json
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import kmeans1d
import numpy as np
import sklearn
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from nuqconv.quantize.codebook import assign, histogram, optimal_codebooks
from nuqconv.quantize.weights import quantize_weights, weight_scales

__all__ = ["Timing", "main"]

STEPS = (16, 32)


@dataclass(frozen=True)
class Timing:
    """Seconds and squared errors (in integer steps, at 16 and 32 levels together) of one layer or of all."""

    name: str
    weights: int
    ours: float
    sklearn: float
    kmeans1d: float
    ours_error: float
    sklearn_error: float
    kmeans1d_error: float

    @property
    def sklearn_ratio(self) -> float:
        """How many times as long KMeans takes."""
        return self.sklearn / self.ours

    @property
    def kmeans1d_ratio(self) -> float:
        """How many times as long kmeans1d takes."""
        return self.kmeans1d / self.ours


def resnet_50_1by2() -> dict[str, tuple[int, ...]]:
    """Returns the weight shapes of ResNet-50 with half the channels and two outputs."""
    shapes: dict[str, tuple[int, ...]] = {"conv_1": (64, 3, 7, 7)}
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 32 << stage
        for block in range(blocks):
            name = f"conv_stage{stage}_block{block}"
            if block == 0:
                shapes[f"{name}_proj_shortcut"] = (4 * width, inputs, 1, 1)
            shapes[f"{name}_branch2a"] = (width, inputs, 1, 1)
            shapes[f"{name}_branch2b"] = (width, width, 3, 3)
            shapes[f"{name}_branch2c"] = (4 * width, width, 1, 1)
            inputs = 4 * width
    shapes["fc"] = (2, inputs)
    return shapes


def load(path: Path | None) -> dict[str, NDArray[np.int8]]:
    """Returns the int8 weights of each layer, from a file of arrays or synthetic (Laplace, about as peaked as trained weights)."""
    if path is None:
        rng = np.random.default_rng(0)
        arrays: dict[str, NDArray[np.generic]] = {
            name: rng.laplace(size=shape).astype(np.float32) for name, shape in resnet_50_1by2().items()
        }
    else:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    return {name: quantized(array) for name, array in arrays.items()}


def quantized(weights: NDArray[np.generic]) -> NDArray[np.int8]:
    if weights.dtype == np.int8:
        return weights.astype(np.int8)
    floats = weights.astype(np.float32)
    axis = 0 if floats.ndim == 4 else None
    return quantize_weights(floats, weight_scales(floats, axis), axis)


def timed(work: Callable[[], list[NDArray[np.int8]]]) -> tuple[float, list[NDArray[np.int8]]]:
    start = time.perf_counter()
    results = work()
    return time.perf_counter() - start, results


def ours(q: NDArray[np.int8]) -> list[NDArray[np.int8]]:
    curve = optimal_codebooks(histogram(q), max_steps=max(STEPS))
    return [assign(q, curve.codebook(k)) for k in STEPS]


def by_sklearn(q: NDArray[np.int8]) -> list[NDArray[np.int8]]:
    points = q.reshape(-1, 1).astype(np.float32)
    found = []
    for k in STEPS:
        model = KMeans(n_clusters=min(k, len(points)), n_init=1, random_state=0).fit(points)
        found.append(np.rint(model.cluster_centers_[model.labels_, 0]).astype(np.int8))
    return found


def by_kmeans1d(q: NDArray[np.int8]) -> list[NDArray[np.int8]]:
    points = q.reshape(-1).astype(np.float64)
    found = []
    for k in STEPS:
        clusters, centroids = kmeans1d.cluster(points, min(k, len(points)))
        found.append(np.rint(np.array(centroids)[np.array(clusters)]).astype(np.int8))
    return found


def error(q: NDArray[np.int8], results: list[NDArray[np.int8]]) -> float:
    flat = q.reshape(-1).astype(np.float64)
    return sum(float(np.square(result.reshape(-1) - flat).sum()) for result in results)


def measure(name: str, q: NDArray[np.int8]) -> Timing:
    timings = [timed(lambda solve=solve: solve(q)) for solve in (ours, by_sklearn, by_kmeans1d)]  # type: ignore[misc]
    return Timing(name, q.size, *(seconds for seconds, _ in timings), *(error(q, results) for _, results in timings))


def total(timings: list[Timing]) -> Timing:
    sums = [sum(getattr(timing, item.name) for timing in timings) for item in fields(Timing)[1:]]
    return Timing("all", *sums)


def show(timings: list[Timing], console: Console) -> None:
    table = Table(title="Codebooks of 16 and 32 levels: seconds, and squared error over the exact optimum")
    for heading in (
        "layer",
        "weights",
        "ours s",
        "KMeans s",
        "KMeans / ours",
        "error",
        "kmeans1d s",
        "kmeans1d / ours",
        "error",
    ):
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for timing in timings:
        if timing.name == "all":
            table.add_section()
        least = timing.ours_error or 1.0
        table.add_row(
            timing.name,
            f"{timing.weights:,}",
            f"{timing.ours:.4f}",
            f"{timing.sklearn:.3f}",
            f"{timing.sklearn_ratio:.0f}x",
            f"{timing.sklearn_error / least - 1:+.1%}",
            f"{timing.kmeans1d:.3f}",
            f"{timing.kmeans1d_ratio:.0f}x",
            f"{timing.kmeans1d_error / least - 1:+.1%}",
        )
    console.print(table)


def report(timings: list[Timing]) -> dict[str, object]:
    def row(timing: Timing) -> dict[str, object]:
        return {**asdict(timing), "sklearn_ratio": timing.sklearn_ratio, "kmeans1d_ratio": timing.kmeans1d_ratio}

    versions = {"python": platform.python_version(), "numpy": np.__version__, "scikit-learn": sklearn.__version__}
    return {
        "steps": STEPS,
        "versions": versions,
        "total": row(timings[-1]),
        "layers": [row(timing) for timing in timings[:-1]],
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, metavar="FILE.npz", help="arrays to cluster, one for each layer")
    parser.add_argument("--layers", type=int, metavar="N", help="measure only N layers, evenly spread; default all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    options = parser.parse_args(arguments)
    if options.layers is not None and options.layers < 1:
        parser.error("--layers must be at least 1")
    layers = list(load(options.weights).items())
    if options.layers is not None and options.layers < len(layers):
        layers = [layers[i] for i in np.linspace(0, len(layers) - 1, options.layers).round().astype(int)]

    # A layer with fewer distinct levels than clusters is fine here, and the first call of each solver pays for imports and threads.
    warnings.simplefilter("ignore", ConvergenceWarning)
    measure("warm-up", np.arange(-128, 128, dtype=np.int16).astype(np.int8))
    console = Console()
    timings = [measure(name, q) for name, q in track(layers, "Clustering", console=console, transient=True)]
    timings.append(total(timings))
    show(timings, console)
    if options.json is not None:
        options.json.write_text(json.dumps(report(timings), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
