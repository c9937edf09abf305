"""Losses at each layer's own output against losses at the network's: how well each ranks plans, and what the search makes of it.

python benchmarks/prediction.py [--models nsfw ...] [--plans 40] [--images N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from cases import CASES, Case
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Array, Graph
from nuqconv.job.calibration import measure_in_onnxruntime
from nuqconv.job.candidates import STEPS, Candidates, LayerRequest, activation_quants, find_candidates
from nuqconv.job.fitted_weights import solve_layers
from nuqconv.job.sensitivity import measure_responses, network_losses
from nuqconv.passes import fold_affine
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.capability import capabilities
from nuqconv.quantize.compensate import WeightMethod
from nuqconv.quantize.plan import LayerPlan, Plan
from nuqconv.runtimes.onnxruntime.cache import LoadedModel, load
from nuqconv.search import FLOAT_LEVEL, SearchSpace, run_search
from nuqconv.search.metrics import output_error, top1

BUDGETS = (4, 12, 32)
"""Evaluations after which sizes are compared."""


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        model: Its name.
        layers: Layers that were measured.
        samples: Samples that they were measured on.
        seconds: How long that took.
        evaluation: Seconds that one evaluation of a plan takes, in the same runtime with as many threads.
        images: Images of an evaluation.
        rank: Spearman's correlation of predicted losses and true output errors of random plans: local, network.
        bytes: For each budget the smallest size that was accepted: local, network; 0 where none was.
    """

    model: str
    layers: int
    samples: int
    seconds: float
    evaluation: float
    images: int
    rank: tuple[float, float]
    bytes: dict[int, tuple[float, float]]


class _Judge:
    """Evaluates plans on a case's evaluation images, each plan once."""

    def __init__(self, case: Case, graph: Graph, images: int | None, threads: int) -> None:
        samples, labels, self.calibration = case.data()
        self._case, self._threads = case, threads
        self._samples = samples[:images]
        self._labels = None if labels is None else labels[:images]
        self.quantizer = Quantizer(graph)
        self._model: LoadedModel | None = None
        self._reference = self._run(graph)
        self._known: dict[Plan, tuple[float, float]] = {}
        self.images = len(self._samples)
        self.seconds: list[float] = []
        self.original = self._metric(self._reference)

    def error(self, plan: Plan) -> float:
        """The relative L2 error of the outputs, the largest of several."""
        return self._judge(plan)[0]

    def metric(self, plan: Plan) -> float:
        """The case's metric."""
        return self._judge(plan)[1]

    def satisfied(self, metric: float) -> bool:
        """The case's demand."""
        if self._labels is None:
            return metric <= self._case.demand
        return metric >= self.original - self._case.demand - 1e-12

    def _judge(self, plan: Plan) -> tuple[float, float]:
        if plan not in self._known:
            start = time.perf_counter()
            found = self._run(self.quantizer.apply(plan))
            self.seconds.append(time.perf_counter() - start)
            self._known[plan] = (self._error(found), self._metric(found))
        return self._known[plan]

    def _run(self, graph: Graph) -> dict[str, Array]:
        model = None if self._model is None else self._model.of(graph)
        self._model = load(graph, self._case.outputs, threads=self._threads) if model is None else model
        size = self._case.batch_size
        runs = [
            self._model.run({"data": np.ascontiguousarray(self._samples[start : start + size])})
            for start in range(0, len(self._samples), size)
        ]
        return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}

    def _error(self, found: dict[str, Array]) -> float:
        return max(output_error(array, self._reference[name]) for name, array in found.items())

    def _metric(self, found: dict[str, Array]) -> float:
        if self._labels is None:
            return self._error(found)
        (scores,) = found.values()
        return top1(scores, self._labels)


def rows(
    models: Sequence[str] | None = None, *, plans: int = 40, images: int | None = None, threads: int = 1
) -> list[Row]:
    """Measures models of `CASES`.

    Args:
        models: Their names, by default all.
        plans: Number of random plans that are ranked.
        images: Most images for an evaluation, by default all that a case has.
        threads: Threads of onnxruntime, for the measurement and the evaluations alike.
    """
    return [_row(case, plans, images, threads) for case in CASES if models is None or case.name in models]


def table(found: Sequence[Row]) -> str:
    """Returns the rows as a table in Markdown."""
    lines = [
        "| model | layers | samples | measuring, s | one evaluation, s (images) | rank of plans, local | network |"
        + "".join(f" bytes after {budget}, local | network |" for budget in BUDGETS),
        "|" + "---|" * (7 + 2 * len(BUDGETS)),
    ]
    for row in found:
        sizes = "".join(
            " | ".join(("", *(f"{size:,.0f}" if size else "none" for size in row.bytes[budget]))) for budget in BUDGETS
        )
        lines.append(
            f"| {row.model} | {row.layers} | {row.samples} | {row.seconds:.1f} | {row.evaluation:.1f} ({row.images}) "
            f"| {row.rank[0]:.2f} | {row.rank[1]:.2f}{sizes} |"
        )
    return "\n".join(lines)


def _row(case: Case, plans: int, images: int | None, threads: int) -> Row:
    graph = fold_affine(load_graph(*case.files())).graph
    judge = _Judge(case, graph, images, threads)
    size = case.batch_size
    inputs = judge.calibration[: size * case.batch_num]
    batches = [{"data": np.ascontiguousarray(inputs[start : start + size])} for start in range(0, len(inputs), size)]
    quantizer = judge.quantizer
    candidates = _candidates(quantizer, batches)
    local = candidates.space
    strongest = {
        layer.name: _dequantized(quantizer, layer.name, layer.options[-1].layer_plan)
        for layer in local.layers
        if layer.name in candidates.distortions
    }
    start = time.perf_counter()
    measured = measure_responses(graph, strongest, batches, outputs=case.outputs, threads=threads)
    seconds = time.perf_counter() - start
    network = network_losses(local, measured, candidates.distortions)
    states = _random_states(local, plans)
    truth = [judge.error(local.plan(levels)) for levels in states]
    spaces = (local, network)
    ranks = [_spearman([space.loss(levels) for levels in states], truth) for space in spaces]
    sizes = [_sizes(space, judge) for space in spaces]
    return Row(
        case.name,
        len(measured.divergences),
        measured.samples,
        seconds,
        float(np.median(judge.seconds)),
        judge.images,
        (ranks[0], ranks[1]),
        {budget: (sizes[0][budget], sizes[1][budget]) for budget in BUDGETS},
    )


def _candidates(quantizer: Quantizer, batches: Sequence[dict[str, Array]]) -> Candidates:
    graph = quantizer.graph
    requests = [LayerRequest(item.name, STEPS if item.nuq else ()) for item in capabilities(graph) if item.int8]
    values = list(dict.fromkeys(graph.node[request.name].inputs[0] for request in requests))
    histograms = measure_in_onnxruntime(graph, values, batches)
    activations = activation_quants(quantizer, requests, histograms, with_offset=True)
    solutions = solve_layers(quantizer, requests, activations, batches, method=WeightMethod())
    return find_candidates(quantizer, requests, activations, histograms, solutions)


def _dequantized(quantizer: Quantizer, name: str, plan: LayerPlan) -> NDArray[np.float32]:
    axis = getattr(quantizer.graph.node[name].op, "weight_output_axis", 0)
    return quantizer.layer_integers(name, plan).as_floats(axis)


def _random_states(space: SearchSpace, count: int) -> list[tuple[int, ...]]:
    """Mixed plans: each draws the shares of float, int8 and the codebooks first, then a form for each layer."""
    rng = np.random.default_rng(7)
    states = []
    for number in range(count):
        shares = rng.dirichlet((0.7, 0.7, 0.7, 0.7) if number % 2 else (0.05, 1, 1, 1))
        drawn = rng.choice(4, len(space), p=shares) + FLOAT_LEVEL
        states.append(
            tuple(min(int(level), len(layer.options) - 1) for level, layer in zip(drawn, space.layers, strict=True))
        )
    return states


def _spearman(left: Sequence[float], right: Sequence[float]) -> float:
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (left, right)]
    return float(np.corrcoef(*ranks)[0, 1])


def _sizes(space: SearchSpace, judge: _Judge) -> dict[int, float]:
    found = run_search(
        space,
        evaluate=judge.metric,
        satisfied=judge.satisfied,
        original=judge.original,
        max_evaluations=max(BUDGETS),
    )
    return {
        budget: min((trial.bytes for trial in found.trials[:budget] if trial.accepted), default=0.0)
        for budget in BUDGETS
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", help="names of cases, by default all")
    parser.add_argument("--plans", type=int, default=40, help="random plans to rank")
    parser.add_argument("--images", type=int, help="most images for an evaluation")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    found = rows(args.models, plans=args.plans, images=args.images, threads=args.threads)
    Console().print(table(found), soft_wrap=True, markup=False, highlight=False)


if __name__ == "__main__":
    main()
