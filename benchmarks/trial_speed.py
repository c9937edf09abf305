"""What one trial of a search costs: a fake_quant model written, and evaluated in onnxruntime and in real Caffe.

Every round takes a plan of its own, so that weights differ from the last round's as they do in a search. Both runtimes evaluate the same files
on the same batches; onnxruntime with two threads, Caffe as it comes (without settings for its BLAS from the environment). Times are medians.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from cases import CASES
from nuqconv.backends.caffe import CaffeWriter, write_caffe
from nuqconv.evaluators import CaffeEvaluator, OnnxRuntimeEvaluator
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Array
from nuqconv.job.calibration import measure_in_onnxruntime
from nuqconv.passes import fold_affine
from nuqconv.quantize.activation import ifmr
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.capability import capabilities
from nuqconv.quantize.codebook import histogram, optimal_codebooks
from nuqconv.quantize.plan import LayerPlan, Plan, Precision

IMAGES = 32
BATCH = 8
ROUNDS = 5
THREADS = 2
CHANGED = 8
"""Layers whose codebook differs from one round to the next."""

_BLAS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "GOTO_NUM_THREADS")

Outputs = Mapping[str, Array]


@dataclass(frozen=True)
class TrialSpeed:
    """One row of the table.

    Attributes:
        step: What was measured.
        seconds: Median of the rounds.
        fastest: The fastest round.
    """

    step: str
    seconds: float
    fastest: float


@dataclass(frozen=True)
class TrialSpeeds:
    """All that was measured.

    Attributes:
        rows: The steps of a trial.
        ratio: Time of an evaluation in real Caffe over that in onnxruntime.
        difference: Largest difference of the outputs, relative to the largest output.
    """

    rows: tuple[TrialSpeed, ...]
    ratio: float
    difference: float


def measure(console: Console, *, model: str = "nsfw", rounds: int = ROUNDS) -> TrialSpeeds:
    """Measures the trials of one model and prints the table."""
    case = next(case for case in CASES if case.name == model)
    samples, _, calibration = case.data()
    inputs = {"data": samples[:IMAGES]}
    quantizer = Quantizer(fold_affine(load_graph(*case.files())).graph)
    plans = _plans(quantizer, calibration[:BATCH], rounds + 1)
    options = {"metric": "output_error", "max_error": 1.0, "batch_size": BATCH}
    times: dict[str, list[float]] = {}
    differences = []
    with (
        tempfile.TemporaryDirectory() as name,
        _without_blas_settings(),
        CaffeEvaluator(inputs, **options) as caffe,
        OnnxRuntimeEvaluator(inputs, threads=THREADS, **options) as onnxruntime,
    ):
        files = str(Path(name) / "m.prototxt"), str(Path(name) / "m.caffemodel")
        writer = CaffeWriter()
        for number, plan in enumerate(plans):
            took, outputs = _round(quantizer, plan, files, writer, caffe, onnxruntime)
            differences.append(_difference(*outputs))
            # The first round starts the child and loads the net; a search does that once.
            for step, seconds in took.items() if number else ():
                times.setdefault(step, []).append(seconds)
    rows = tuple(TrialSpeed(step, statistics.median(found), min(found)) for step, found in times.items())
    by_step = {row.step: row.seconds for row in rows}
    found = TrialSpeeds(rows, by_step["evaluate in real Caffe"] / by_step["evaluate in onnxruntime"], max(differences))
    _print(console, model, found)
    return found


def _round(
    quantizer: Quantizer,
    plan: Plan,
    files: tuple[str, str],
    writer: CaffeWriter,
    caffe: CaffeEvaluator,
    onnxruntime: OnnxRuntimeEvaluator,
) -> tuple[dict[str, float], list[Outputs]]:
    graph = quantizer.apply(plan)
    took = {
        "write all layers": _timed(lambda: write_caffe(graph, *files)),
        "write what changed": _timed(lambda: writer.write(graph, *files)),
    }
    outputs: list[Outputs] = []
    for step, evaluator in (("evaluate in onnxruntime", onnxruntime), ("evaluate in real Caffe", caffe)):
        start = time.perf_counter()
        batches = evaluator.calibration_batches(-(-IMAGES // BATCH))
        runs = list(evaluator.run(*files, batches))
        took[step] = time.perf_counter() - start
        outputs.append({name: np.concatenate([run[name] for run in runs]) for name in runs[0]})
    return took, outputs


def _plans(quantizer: Quantizer, calibration: Array, count: int) -> list[Plan]:
    """Every layer quantized, NUQ of 16 levels where possible; some layers of 32 in turn."""
    graph = quantizer.graph
    can = [item for item in capabilities(graph) if item.int8]
    values = list(dict.fromkeys(graph.node[item.name].inputs[0] for item in can))
    ranges = measure_in_onnxruntime(graph, values, [{"data": calibration}])
    quants = {value: ifmr(found, with_offset=True) for value, found in ranges.items()}
    options: dict[str, list[LayerPlan]] = {}
    for item in can:
        activation = quants[graph.node[item.name].inputs[0]]
        options[item.name] = [LayerPlan(Precision.INT8, activation=activation)]
        if item.nuq:
            curve = optimal_codebooks(histogram(quantizer.integers(item.name, activation).weights))
            options[item.name] = [
                LayerPlan(Precision.NUQ, codebook=curve.codebook(steps), num_steps=steps, activation=activation)
                for steps in (16, 32)
            ]
    names = [name for name, choices in options.items() if len(choices) > 1]
    plans = []
    for number in range(count):
        other = {names[(number * CHANGED + place) % len(names)] for place in range(CHANGED)}
        plans.append(Plan.of({name: choices[name in other] for name, choices in options.items()}))
    return plans


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _difference(one: Outputs, other: Outputs) -> float:
    return max(
        float(np.abs(array - other[name]).max() / max(float(np.abs(other[name]).max()), 1e-30))
        for name, array in one.items()
    )


class _without_blas_settings:  # noqa: N801  (read as a phrase)
    """Takes what would slow Caffe's BLAS down, or hold it to one thread, out of the environment of children."""

    def __enter__(self) -> None:
        self._kept = {name: os.environ.pop(name) for name in _BLAS if name in os.environ}

    def __exit__(self, *_: object) -> None:
        os.environ.update(self._kept)


def _print(console: Console, model: str, found: TrialSpeeds) -> None:
    table = Table(title=f"one trial on {model}: {IMAGES} images, batches of {BATCH}, {CHANGED} layers changed")
    table.add_column("step")
    table.add_column("median ms", justify="right")
    table.add_column("fastest ms", justify="right")
    for row in found.rows:
        table.add_row(row.step, f"{1e3 * row.seconds:.0f}", f"{1e3 * row.fastest:.0f}")
    console.print(table)
    console.print(
        f"real Caffe takes [bold]{found.ratio:.1f}[/] times as long as onnxruntime with {THREADS} threads; "
        f"largest relative difference of the outputs {found.difference:.1e}",
        soft_wrap=True,
    )


if __name__ == "__main__":
    measure(Console())
