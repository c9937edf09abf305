"""A model's outputs and the samples' truths, brought to a metric batch by batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from nuqconv.data.base import Batch
from nuqconv.evaluators.reference import Reference
from nuqconv.ir import Array
from nuqconv.search.metrics import FunctionTally, Outputs, Tally

__all__ = ["measure"]

Run = Callable[[Iterator[Mapping[str, Array]]], Iterable[Outputs]]
"""Takes inputs batch by batch and gives the outputs of each."""


T = TypeVar("T", Tally, FunctionTally)


def measure(
    tally: T,
    run: Run,
    batches: Iterable[Batch],
    *,
    reference: Reference | None = None,
    fill: bool = False,
) -> T:
    """Runs a model over samples and tells a metric of its outputs; no more than a batch of them is held.

    Args:
        tally: What the outputs are reported to.
        run: Runs the model.
        batches: The samples.
        reference: What the metric needs of the original model's outputs, for a metric against them.
        fill: Whether this is the original model, whose outputs go to ``reference``.

    Returns:
        The tally.
    """
    waiting: deque[Batch] = deque()

    def inputs() -> Iterator[Mapping[str, Array]]:
        for batch in batches:
            waiting.append(batch)
            yield batch.inputs

    for number, outputs in enumerate(run(inputs())):
        batch = waiting.popleft()
        kept: Outputs | None = None
        if reference is not None:
            if fill and isinstance(tally, Tally):
                reference.append(tally.metric.keep(outputs, len(batch)))
            kept = reference[number]
        tally.update(outputs, batch.labels, kept, count=len(batch))
    return tally
