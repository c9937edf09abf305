"""A metric over samples that come batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array
from nuqconv.search.metrics.base import Answers, Metric, Outputs, Takes, Terms

__all__ = ["Tally"]


class Tally:
    """What a metric has seen so far: terms, no outputs.

    Args:
        metric: The metric.

    Attributes:
        metric: The metric.
        samples: How many samples it has seen.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.samples = 0
        self._parts: list[Terms] = []
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._rest: Answers | None = None

    def update(
        self, outputs: Outputs, truths: Any | None = None, reference: Outputs | None = None, *, count: int | None = None
    ) -> None:
        """Adds a batch.

        Args:
            outputs: Blob name -> array.
            truths: One entry for each sample; needed unless the metric's ``truth`` is NONE.
            reference: What `Metric.keep` made of the original net's outputs for the same samples; needed by a metric ``against_float``.
            count: Samples in the batch; by default that of the truths, else the first axis of the first output.

        Raises:
            EvaluatorError: Outputs or truths are missing, or are not what the metric takes.
        """
        if count is None:
            count = len(truths) if truths is not None else next(iter(outputs.values())).shape[0]
        if truths is not None and len(truths) != count:
            raise EvaluatorError(f"there are {len(truths)} labels for {count} samples")
        self._check(outputs, truths, reference)
        self._add(Answers(outputs, count, truths, reference or {}, self.samples))
        self.samples += count

    def merge(self, other: Tally) -> None:
        """Adds what another tally has seen, as if it had come after.

        Raises:
            EvaluatorError: It is of another metric, or this one ends within a group of samples.
        """
        if other.metric != self.metric:
            raise EvaluatorError(f"'{other.metric.text}' cannot be merged with '{self.metric.text}'")
        self._expect_whole()
        self._parts += other._parts
        self._rest = other._rest
        self.samples += other.samples

    @property
    def terms(self) -> Terms:
        """The terms of all units seen.

        Raises:
            EvaluatorError: Nothing was seen, or not all samples of a group.
        """
        self._expect_whole()
        if not self._parts:
            raise EvaluatorError(f"metric '{self.metric.text}' has seen no samples")
        self._parts = [Terms.joined(self._parts)]
        return self._parts[0]

    def value(self) -> float:
        """Returns the metric of what was seen.

        Raises:
            EvaluatorError: That is nothing, or holds nothing to measure.
        """
        return self.metric.value(self.terms)

    def _add(self, answers: Answers) -> None:
        whole: Answers | None = answers
        if self.metric.group > 1:
            whole, self._rest = _split(answers, self._rest, self.metric.group)
        if whole is not None:
            self._parts.append(self.metric.terms(whole))

    def _expect_whole(self) -> None:
        if self._rest is not None:
            raise EvaluatorError(
                f"metric '{self.metric.text}' judges {self.metric.group} samples at a time, and {self.samples} are no multiple of that"
            )

    def _check(self, outputs: Outputs, truths: Any | None, reference: Outputs | None) -> None:
        if truths is None and self.metric.truth.name != "NONE":
            raise EvaluatorError(f"metric '{self.metric.text}' needs labels: {self.metric.truth.value} of each sample")
        if reference is None and self.metric.against_float:
            raise EvaluatorError(f"metric '{self.metric.text}' needs the outputs of the original net")
        if self.metric.takes is Takes.FIXED:
            check_fixed(outputs, self._shapes)


def check_fixed(outputs: Outputs, seen: dict[str, tuple[int, ...]]) -> None:
    """Checks that the samples of each output have one shape in all batches.

    Args:
        outputs: The outputs of a batch.
        seen: Shapes of the batches before by name; those of new names are added.

    Raises:
        EvaluatorError: A shape differs.
    """
    uneven: Mapping[str, Array] = {
        name: array for name, array in outputs.items() if seen.setdefault(name, array.shape)[1:] != array.shape[1:]
    }
    if uneven:
        shapes = "; ".join(f"'{name}': {seen[name]}, {array.shape}" for name, array in uneven.items())
        raise EvaluatorError(
            f"these outputs have no fixed number of entries for each sample, so they cannot be compared: {shapes}; "
            "choose blobs before them with outputs= (--outputs)"
        )


def _split(answers: Answers, rest: Answers | None, group: int) -> tuple[Answers | None, Answers | None]:
    """Returns the whole groups of what was left before and came now, and what is left now."""
    outputs = {name: np.asarray(array) for name, array in answers.outputs.items()}
    short = [name for name, array in outputs.items() if array.shape[:1] != (answers.count,)]
    if short:
        raise EvaluatorError(f"expected {answers.count} samples in {', '.join(short)}, found {outputs[short[0]].shape}")
    truths, first = np.asarray(answers.truths), answers.first
    if rest is not None:
        outputs = {name: np.concatenate([rest.outputs[name], array]) for name, array in outputs.items()}
        truths, first = np.concatenate([rest.truths, truths]), rest.first
    count = len(truths)
    whole = count - count % group
    parts = [
        Answers(
            {name: array[part].copy() for name, array in outputs.items()},
            len(truths[part]),
            truths[part],
            first=first + part.start,
        )
        if part.start < part.stop
        else None
        for part in (slice(0, whole), slice(whole, count))
    ]
    return parts[0], parts[1]
