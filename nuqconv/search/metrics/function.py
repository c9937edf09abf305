"""A user's function as a metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array
from nuqconv.search.metrics.base import Outputs
from nuqconv.search.metrics.tally import check_fixed

__all__ = ["FunctionTally", "MetricFunction"]

MetricFunction = Callable[[Mapping[str, Array], Any], float]
"""Takes the outputs of all samples (blob name -> (samples, ...)) and their labels, and returns a number."""


class FunctionTally:
    """What a function is given: the outputs of all samples, which need memory for all of them.

    Args:
        function: The function.

    Attributes:
        samples: How many samples were seen.
    """

    def __init__(self, function: MetricFunction) -> None:
        self.samples = 0
        self._function = function
        self._outputs: list[Outputs] = []
        self._truths: list[Any] = []
        self._shapes: dict[str, tuple[int, ...]] = {}

    def update(
        self, outputs: Outputs, truths: Any | None = None, reference: Outputs | None = None, *, count: int | None = None
    ) -> None:
        """Adds a batch; see `Tally.update`."""
        del reference
        check_fixed(outputs, self._shapes)
        # A runtime may use its arrays again for the next batch.
        self._outputs.append({name: np.array(array) for name, array in outputs.items()})
        self._truths.append(truths)
        self.samples += len(next(iter(outputs.values()))) if count is None else count

    def value(self) -> float:
        """Returns what the function says.

        Raises:
            EvaluatorError: Nothing was seen.
        """
        if not self._outputs:
            raise EvaluatorError("the metric has seen no samples")
        joined = {name: np.concatenate([part[name] for part in self._outputs]) for name in self._outputs[0]}
        return float(self._function(joined, _joined(self._truths)))


def _joined(truths: list[Any]) -> Any:
    """Returns the labels of all samples: an array where they are arrays, else a tuple; without labels an empty array."""
    if any(part is None for part in truths):
        return np.zeros(0, np.int64)
    if all(isinstance(part, np.ndarray) for part in truths):
        return np.concatenate(truths)
    return tuple(truth for part in truths for truth in part)
