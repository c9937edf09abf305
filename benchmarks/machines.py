"""What 1 to 64 workers save, in simulated time: the default search of networks whose evaluations take 10 s to 10 min.

The search is the real one; only time is simulated. Each model is written by the main process and sent through one network link, one after the
other, and then evaluated by the first worker that is free. Evaluations take a random time about the mean (log-normal, 20 %). As in a search,
verdicts are told in the order of the proposals.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from parallel import simulated
from rich.console import Console
from rich.table import Table

from nuqconv.search import PathStrategy, Verdict

SECONDS = (10, 60, 600)
WORKERS = (1, 4, 16, 64)
NETWORKS = 3
WRITE = 0.3
"""Seconds in which the main process writes a model."""
SEND = 0.2
"""Seconds for which a model occupies the network: 25 MB at 1 Gbit/s."""


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        seconds: Simulated seconds to the end.
        reached: Simulated seconds to the first accepted plan that is as small as the one to be reached, infinite if there is none.
        evaluations: Evaluations made.
        bytes: Size that was found.
    """

    seconds: float
    reached: float
    evaluations: int
    bytes: float


def run(seed: int, workers: int, seconds: float, goal: float = 0.0) -> Run:
    """Searches one network.

    Args:
        seed: Of the network and of the times.
        workers: How many evaluate at the same time.
        seconds: Mean time of an evaluation.
        goal: Bytes that count as reached.
    """
    space, damage, limit = simulated(seed)
    rng = np.random.default_rng(seed)
    strategy = PathStrategy(space)
    free, queue, ends = [0.0] * workers, deque(), {}
    now = link = reached = 0.0
    best, reached = float("inf"), float("inf")
    while True:
        while len(queue) < workers:
            proposals = strategy.propose(workers - len(queue))
            for proposal in proposals:
                plan = space.plan(proposal.levels)
                if plan not in ends:
                    link = max(link, now) + WRITE + SEND
                    begin = max(link, heapq.heappop(free))
                    ends[plan] = begin + seconds * float(rng.lognormal(0, 0.2))
                    heapq.heappush(free, ends[plan])
                queue.append((proposal, plan))
            if not proposals:
                break
        if not queue:
            return Run(now, reached, len(ends), best)
        proposal, plan = queue.popleft()
        now = max(now, ends[plan])
        metric = damage(plan)
        accepted, size = metric <= limit, space.size(proposal.levels)
        if accepted and size < best:
            best = size
            if size <= goal and reached == float("inf"):
                reached = now
        strategy.tell(proposal, Verdict(metric, accepted))


def rows(seconds: Sequence[float] = SECONDS, workers: Sequence[int] = WORKERS) -> list[tuple[float, int, Run, float]]:
    """Returns for each time and number of workers the means over the networks, and how many times as fast the same size was reached."""
    found = []
    for mean in seconds:
        alone = [run(seed, 1, mean) for seed in range(NETWORKS)]
        for count in workers:
            # Within a thousandth: which of two plans of nearly one size is found first is chance.
            runs = [run(seed, count, mean, goal.bytes * 1.001) for seed, goal in enumerate(alone)]
            base = [run(seed, 1, mean, goal.bytes * 1.001).reached for seed, goal in enumerate(alone)]
            # A search that ended a little larger counts with its whole time.
            times = [min(item.reached, item.seconds) for item in runs]
            means = [float(np.mean(part)) for part in ([r.seconds for r in runs], times, [r.evaluations for r in runs])]
            larger = float(np.mean([item.bytes / goal.bytes for item, goal in zip(runs, alone, strict=True)]))
            found.append(
                (mean, count, Run(means[0], means[1], round(means[2]), larger), float(np.mean(base)) / means[1])
            )
    return found


def measure(console: Console) -> None:
    """Prints the table."""
    table = Table(title=f"Means of {NETWORKS} simulated networks of 40 layers")
    for column in (
        "an evaluation takes",
        "workers",
        "same result after",
        "times as fast",
        "search ends after",
        "evaluations",
        "size",
    ):
        table.add_column(column, justify="right")
    for mean, count, item, faster in rows():
        shown = [f"{value / 60:.1f} min" for value in (item.reached, item.seconds)]
        table.add_row(
            f"{mean:g} s",
            str(count),
            shown[0],
            f"{faster:.1f}",
            shown[1],
            str(item.evaluations),
            f"{100 * item.bytes:.1f} %",
        )
    console.print(table)


if __name__ == "__main__":
    measure(Console())
