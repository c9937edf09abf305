"""The search strategies next to each other: sizes at the same demand and evaluations used; and what the default plans on large simulated networks.

On each real model the outputs' error is demanded to be at most a part of the way between that of uniform int8 and that of the strongest plan, so
that neither is the answer. Every strategy searches the same space, with the same losses and the same integers. Greedy is greedy revert as NNCF
describes it, prefix is the binary search that AMCT describes; exhaustive runs where the space is small.

python benchmarks/strategies.py [--models nsfw ...]
"""

from __future__ import annotations

import argparse
import gc
import logging
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from cases import CASES, Case
from nuqconv.api import create_quant_config
from nuqconv.errors import SearchError
from nuqconv.formats import open_model
from nuqconv.ir import Array
from nuqconv.job.calibration import calibrate
from nuqconv.job.job import Job, read_job
from nuqconv.job.preparation import prepare
from nuqconv.quantize.compensate import WeightMethod
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.runtimes.onnxruntime.cache import LoadedModel, load
from nuqconv.search import LayerSpace, Option, SearchOutcome, SearchSpace, run_search
from nuqconv.search.metrics import output_error
from nuqconv.search.strategies import STRATEGIES, make_strategy

PARTS = (0.15, 0.4, 0.7)
"""Demands: how far from the error of int8 to that of the strongest plan."""

IMAGES = 16
SMALL = 300
"""Most states of a space for the exhaustive search."""

SIMULATED = (8, 64, 512)
SEEDS = 10
NEAR = 1.02


@dataclass(frozen=True)
class Row:
    """One strategy on one model at one demand.

    Attributes:
        model: The model.
        demand: The largest error of the outputs that is accepted.
        strategy: Its name.
        bytes: The smallest accepted size, or infinite.
        evaluations: Evaluations until the strategy ended.
        until: The evaluation that brought the size.
        overtaken: The evaluation with which the default strategy was no larger than that; 0 if it never was.
    """

    model: str
    demand: float
    strategy: str
    bytes: float
    evaluations: int
    until: int
    overtaken: int


@dataclass(frozen=True)
class Planned:
    """The default strategy on simulated networks of one size.

    Attributes:
        layers: Layers.
        moves: Steps of the path.
        near: Median of the evaluations to the first accepted plan within 2 % of the best that 200 evaluations find, and the most.
        slowest: The slowest proposal of all in milliseconds of processor time, and the median; collecting the garbage of the searches
            counts, that of what imports have made does not.
    """

    layers: int
    moves: int
    near: tuple[float, int]
    slowest: tuple[float, float]


class _Judge:
    """Evaluates plans of a job on its evaluation images in onnxruntime, each once."""

    def __init__(self, job: Job, case: Case) -> None:
        samples = case.data()[0][:IMAGES]
        size = case.batch_size
        self._batches = [
            {"data": np.ascontiguousarray(samples[start : start + size])} for start in range(0, len(samples), size)
        ]
        self._job, self._case = job, case
        self._model: LoadedModel | None = None
        self._reference = self._run(load(job.graph, case.outputs))
        self._known: dict[Plan, float] = {}

    def error(self, plan: Plan) -> float:
        """The relative L2 error of the outputs, the largest of several."""
        if plan not in self._known:
            graph = self._job.quantizer.apply(plan)
            model = None if self._model is None else self._model.of(graph)
            self._model = load(graph, self._case.outputs) if model is None else model
            found = self._run(self._model)
            self._known[plan] = max(output_error(array, self._reference[name]) for name, array in found.items())
        return self._known[plan]

    def _run(self, model: LoadedModel) -> dict[str, Array]:
        runs = [model.run(batch) for batch in self._batches]
        return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}


def rows(models: Sequence[str] | None = None) -> Iterator[Row]:
    """Compares the strategies on the models named, or all."""
    for case in CASES:
        if models is None or case.name in models:
            yield from _model(case)


def _model(case: Case) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "config.json"
        create_quant_config(config, *case.files(), batch_num=case.batch_num)
        job = read_job(open_model(case.files()).read(), config)
        inputs = case.data()[2][: case.batch_num * case.batch_size]
        batches = [
            {"data": np.ascontiguousarray(inputs[start : start + case.batch_size])}
            for start in range(0, len(inputs), case.batch_size)
        ]
        calibration = calibrate(job.graph, job.values, batches=batches, run_model=None, folder=Path(name))
        space = prepare(job, calibration, method=WeightMethod()).space
    judge = _Judge(job, case)
    int8, strongest = (judge.error(space.plan(state)) for state in (space.uniform(), space.smallest()))
    small = space.state_count <= SMALL
    for part in PARTS:
        demand = int8 + part * (strongest - int8)
        names = [name for name in STRATEGIES if name != "exhaustive" or small]
        outcomes = {name: _search(name, space, judge, demand) for name in names}
        own = outcomes["path"]
        for name, found in outcomes.items():
            if found is None:
                yield Row(case.name, demand, name, math.inf, 0, 0, 1)
                continue
            overtaken = 0 if own is None else first_within(own, found.best.bytes) % (own.evaluations + 1)
            yield Row(case.name, demand, name, found.best.bytes, found.evaluations, found.best.number, overtaken)


def _search(strategy: str, space: SearchSpace, judge: _Judge, demand: float) -> SearchOutcome | None:
    try:
        return run_search(
            space,
            evaluate=judge.error,
            satisfied=lambda metric: metric <= demand,
            original=0.0,
            strategy=make_strategy(strategy, space),
            max_evaluations=32 if strategy == "path" else None,
        )
    except SearchError:
        return None


def first_within(found: SearchOutcome, size: float) -> int:
    """Returns the number of the first accepted trial that is no larger than a size, or one more than all trials."""
    return next(
        (trial.number for trial in found.trials if trial.accepted and trial.bytes <= size), found.evaluations + 1
    )


def simulated(layers: int) -> Planned:
    """Runs the default strategy on networks whose layers really do damage that differs from the prediction by a random factor."""
    near, times, moves = [], [], 0
    # What imports have made is not the planner's: collecting it takes longer than a proposal.
    gc.collect()
    gc.freeze()
    for seed in range(SEEDS):
        space, damage = _network(seed, layers)
        low, high = (sum(item[level] for item in damage) for level in (0, -1))
        limit = low + (high - low) * np.random.default_rng(seed).uniform(0.1, 0.6)
        lookup = [
            {option.layer_plan: cost for option, cost in zip(layer.options, item, strict=True)}
            for layer, item in zip(space.layers, damage, strict=True)
        ]

        def evaluate(plan: Plan, lookup: list[dict[LayerPlan, float]] = lookup) -> float:
            return sum(item.get(layer, 0.0) for item, layer in zip(lookup, plan.values(), strict=True))

        strategy = make_strategy("path", space)
        propose = strategy.propose

        def timed(limit: int, propose=propose) -> object:  # type: ignore[no-untyped-def]
            start = time.process_time()
            found = propose(limit)
            times.append(1e3 * (time.process_time() - start))
            return found

        strategy.propose = timed  # type: ignore[method-assign, assignment]
        found = run_search(
            space,
            evaluate=evaluate,
            satisfied=lambda metric, limit=limit: metric <= limit,  # type: ignore[misc]
            original=0.0,
            strategy=strategy,
            max_evaluations=200,
        )
        near.append(first_within(found, NEAR * found.best.bytes))
        moves = len(space.path())
    return Planned(layers, moves, (statistics.median(near), max(near)), (max(times), statistics.median(times)))


def _network(seed: int, count: int) -> tuple[SearchSpace, list[list[float]]]:
    rng = np.random.default_rng(seed)
    layers, damage = [], []
    for index in range(count):
        weights, int8 = int(10 ** rng.uniform(2.5, 6)), 10 ** rng.uniform(-5, -3)
        middle = int8 * rng.uniform(1, 8)
        losses = (int8, middle, middle * rng.uniform(2, 5))
        forms = (
            Option(LayerPlan(Precision.INT8), float(weights), losses[0]),
            Option(LayerPlan(Precision.NUQ, tuple(range(32)), 32), weights * 5 / 8 + 32.0, losses[1]),
            Option(LayerPlan(Precision.NUQ, tuple(range(16)), 16), weights / 2 + 16.0, losses[2]),
        )
        layers.append(LayerSpace(f"l{index}", forms, 4.0 * weights))
        damage.append([loss * float(np.exp(rng.normal(0, 0.3))) for loss in losses])
    return SearchSpace(tuple(layers)), damage


def print_rows(console: Console, found: Sequence[Row]) -> None:
    """Prints sizes and evaluations, and for each model and demand the ratios to the other strategies."""
    table = Table(title="strategies at the same demand")
    for heading in ("model", "demand", "strategy", "bytes", "to path", "found at", "evaluations", "path no larger at"):
        table.add_column(heading, justify="left" if heading in ("model", "strategy") else "right")
    own = {(row.model, row.demand): row.bytes for row in found if row.strategy == "path"}
    for row in found:
        ratio = row.bytes / own[row.model, row.demand]
        size = f"{row.bytes:,.0f}" if math.isfinite(row.bytes) else "none"
        table.add_row(
            row.model,
            f"{row.demand:.4g}",
            row.strategy,
            size,
            f"{ratio:.4f}",
            *map(str, (row.until, row.evaluations, row.overtaken or "never")),
        )
    console.print(table)


def print_planned(console: Console, found: Sequence[Planned]) -> None:
    """Prints evaluations and times by number of layers."""
    table = Table(title=f"simulated networks, {SEEDS} of each size")
    for heading in (
        "layers",
        "moves",
        "to within 2 %, median",
        "most",
        "log2(moves) + 4",
        "slowest proposal ms",
        "median ms",
    ):
        table.add_column(heading, justify="right")
    for row in found:
        bound = math.ceil(math.log2(row.moves)) + 4
        near, slow = row.near, row.slowest
        table.add_row(
            *(str(row.layers), str(row.moves), f"{near[0]:g}", str(near[1]), str(bound)),
            f"{slow[0]:.1f}",
            f"{slow[1]:.1f}",
        )
    console.print(table)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", help="names of cases, by default all")
    logging.getLogger("nuqconv").setLevel(logging.ERROR)
    console = Console(width=110)
    print_planned(console, [simulated(layers) for layers in SIMULATED])
    print_rows(console, list(rows(parser.parse_args().models)))


if __name__ == "__main__":
    main()
