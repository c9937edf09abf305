"""What more workers save: one and the same search whose evaluator only sleeps, with one worker process and with several.

The network is simulated: what each layer really damages differs from what the search predicts by a random factor. Seconds include the start of
the workers. Two strategies run: the default one, which may have to wait for a verdict before it knows what to try next, and a list of plans that
is known from the start, which shows what the workers themselves cost.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from nuqconv.parallel import PlanPool
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.search import (
    AutoNuqEvaluatorBase,
    LayerSpace,
    Option,
    Proposal,
    SearchOutcome,
    SearchSpace,
    Strategy,
    Verdict,
    run_search,
)

LAYERS = 40
SECONDS = 0.5
WORKERS = (1, 2)
SEED = 5
_STEPS = (None, 32, 16)


@dataclass(frozen=True)
class Row:
    """One search.

    Attributes:
        strategy: ``default`` or ``list``.
        workers: Worker processes.
        evaluations: Evaluations made.
        seconds: Seconds of the search, the start of its workers included.
        bytes: Size that was found.
        speedup: Seconds with one worker divided by these.
    """

    strategy: str
    workers: int
    evaluations: int
    seconds: float
    bytes: float
    speedup: float


class Sleeper(AutoNuqEvaluatorBase):
    """Sleeps, and adds up what the layers of a plan really damage.

    Args:
        damage: Damage of each layer by its number of steps; "None" is int8.
        limit: Largest damage that satisfies.
        seconds: How long an evaluation takes.
    """

    def __init__(self, damage: dict[str, dict[str, float]], limit: float, seconds: float) -> None:
        super().__init__()
        self.damage, self.limit, self.seconds = damage, limit, seconds

    def eval_model(self, model_file: str, weights_file: str, batch_num: int) -> float:  # noqa: ARG002
        """Returns the damage of the plan in the file."""
        time.sleep(self.seconds)
        return self.damage_of(json.loads(Path(model_file).read_text())["layers"])

    def damage_of(self, layers: Mapping[str, Any]) -> float:
        """Returns the damage of a plan, as its JSON has its layers."""
        return math.fsum(
            self.damage[name][str(layer["num_steps"])]
            for name, layer in layers.items()
            if layer["precision"] != Precision.FLOAT.value
        )

    def is_satisfied(self, original_metric: float, new_metric: float) -> bool:
        """Returns whether the damage is within the limit."""
        return new_metric <= original_metric + self.limit


class _List:
    """Proposes each layer alone in its strongest form."""

    def __init__(self, space: SearchSpace) -> None:
        self._left = [
            Proposal(tuple(2 * (index == place) for index in range(len(space))), f"layer {place}")
            for place in range(len(space))
        ]

    def propose(self, limit: int) -> Sequence[Proposal]:
        taken, self._left = self._left[:limit], self._left[limit:]
        return taken

    def tell(self, proposal: Proposal, verdict: Verdict) -> None:
        pass

    def remaining(self) -> int:
        return len(self._left)


def simulated(seed: int) -> tuple[SearchSpace, Callable[[Plan], float], float]:
    """Returns a network's space, what a plan really damages, and the largest damage that satisfies.

    Args:
        seed: Of the network.
    """
    space, evaluator = _simulated(0.0, seed)
    return space, lambda plan: evaluator.damage_of(json.loads(plan.to_json())["layers"]), evaluator.limit


def _simulated(seconds: float, seed: int = SEED) -> tuple[SearchSpace, Sleeper]:
    rng = np.random.default_rng(seed)
    layers, damage = [], {}
    for index in range(LAYERS):
        weights = int(10 ** rng.uniform(2.5, 6))
        losses = 10 ** rng.uniform(-5, -3) * np.cumprod([1.0, rng.uniform(1, 8), rng.uniform(2, 5)])
        sizes = (float(weights), math.ceil(weights * 5 / 8) + 32.0, math.ceil(weights / 2) + 16.0)
        plans = (
            LayerPlan(Precision.INT8),
            *(LayerPlan(Precision.NUQ, tuple(range(steps)), steps) for steps in _STEPS if steps),
        )
        options = tuple(Option(plan, size, float(loss)) for plan, size, loss in zip(plans, sizes, losses, strict=True))
        layers.append(LayerSpace(f"layer{index}", options, 4.0 * weights))
        real = losses * np.exp(rng.normal(0, 0.3, 3))
        damage[f"layer{index}"] = {str(steps): float(loss) for steps, loss in zip(_STEPS, real, strict=True)}
    low, high = (math.fsum(item[str(steps)] for item in damage.values()) for steps in (None, 16))
    return SearchSpace(tuple(layers)), Sleeper(damage, low + 0.3 * (high - low), seconds)


def _write(plan: Plan, folder: Path) -> tuple[Path, Path]:
    model, weights = folder / "plan.prototxt", folder / "plan.caffemodel"
    model.write_text(plan.to_json())
    weights.write_bytes(b"")
    return model, weights


def rows(workers: Sequence[int] = WORKERS, seconds: float = SECONDS) -> list[Row]:
    """Run the searches.

    Args:
        workers: Numbers of worker processes; the first is what the others are compared with.
        seconds: How long an evaluation sleeps.
    """
    found: list[Row] = []
    space, evaluator = _simulated(seconds)
    for name in ("default", "list"):
        base = 0.0
        for count in workers:
            start = time.monotonic()
            outcome = _search(space, evaluator, count, _List(space) if name == "list" else None)
            took = time.monotonic() - start
            base = base or took
            found.append(Row(name, count, outcome.evaluations, took, outcome.best.bytes, base / took))
    return found


def _search(space: SearchSpace, evaluator: Sleeper, workers: int, strategy: Strategy | None) -> SearchOutcome:
    with PlanPool(evaluator, _write, 1, workers=workers) as pool:
        return run_search(
            space,
            submit=pool.submit,
            parallel=pool.parallel,
            satisfied=lambda metric: evaluator.is_satisfied(0.0, metric),
            original=0.0,
            strategy=strategy,
        )


def measure(console: Console) -> list[Row]:
    """Run the searches and print the table."""
    found = rows()
    table = Table(title=f"{LAYERS} simulated layers, an evaluation sleeps {SECONDS} s")
    for column in ("strategy", "workers", "evaluations", "seconds", "bytes", "times as fast"):
        table.add_column(column, justify="left" if column == "strategy" else "right")
    for row in found:
        table.add_row(
            row.strategy,
            str(row.workers),
            str(row.evaluations),
            f"{row.seconds:.1f}",
            f"{row.bytes:,.0f}",
            f"{row.speedup:.2f}",
        )
    console.print(table)
    return found


if __name__ == "__main__":
    measure(Console())
