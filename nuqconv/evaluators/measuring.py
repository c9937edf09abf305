"""A model's outputs and the samples' truths, brought to a metric batch by batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from nuqconv.data.base import Batch
from nuqconv.errors import EvaluatorError
from nuqconv.evaluators.reference import Reference
from nuqconv.ir import Array
from nuqconv.search.metrics import FunctionTally, Outputs, Tally

__all__ = ["measure", "run_full"]

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


def run_full(
    run: Callable[[Mapping[str, Array]], Outputs], batches: Iterable[Mapping[str, Array]], size: int | None
) -> Iterator[Outputs]:
    """Yields the outputs of each batch; to a model with a batch of its own the last one is given filled up with its last sample.

    Args:
        run: Runs one batch.
        batches: The inputs.
        size: The model's own batch; None if it takes any.

    Raises:
        EvaluatorError: An output is not one for each sample, so that it cannot be told what is of the samples that fill up.
    """
    for batch in batches:
        count = min((len(array) for array in batch.values()), default=0)
        if size is None or not 0 < count < size:
            yield run(batch)
            continue
        fill = np.minimum(np.arange(size), count - 1)
        found = run({name: np.asarray(array)[fill] for name, array in batch.items()})
        wrong = [name for name, array in found.items() if np.shape(array)[:1] != (size,)]
        if wrong:
            raise EvaluatorError(
                f"the model takes batches of {size}, and the last one has {count} samples: its outputs {', '.join(wrong)} are not one for "
                f"each sample, so the number of samples must be a multiple of {size}"
            )
        yield {name: array[:count] for name, array in found.items()}
