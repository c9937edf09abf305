"""What a search is calibrated on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nuqconv.data import DataSet
from nuqconv.evaluators import BatchEvaluator
from nuqconv.evaluators.identity import batches_digest
from nuqconv.evaluators.inputs import named_for
from nuqconv.formats.source import ModelFiles
from nuqconv.ir import Array

__all__ = ["GivenBatches", "calibration_digest"]

_BATCH = 32


def calibration_digest(evaluator: object) -> str | None:
    """Returns a hash of the data that a ready-made evaluator calibrates on, where these are not those that it judges by."""
    if not isinstance(evaluator, BatchEvaluator) or evaluator.calibration is evaluator.data:
        return None
    return evaluator.calibration.digest()


class GivenBatches:
    """Batches to calibrate on that are given beside the evaluator.

    Args:
        data: Batches (blob name -> array), or a `DataSet`, which is read when it is needed.
        model: The model that they are for.
        batch_num: Batches of a data set that are wanted.
        evaluator: Its batch size is taken for a data set.
    """

    def __init__(
        self, data: Sequence[Mapping[str, Array]] | DataSet, model: ModelFiles, batch_num: int, evaluator: object
    ) -> None:
        self._data = named_for(data, model.inputs()) if isinstance(data, DataSet) else data
        self._size = int(getattr(evaluator, "batch_size", _BATCH))
        self._batch_num = batch_num

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        if isinstance(self._data, DataSet):
            return (batch.inputs for batch in self._data.batches(self._size, self._size * self._batch_num))
        return iter(self._data)

    @property
    def wanted(self) -> int | None:
        """Batches that are asked for; None where all that are given are taken."""
        return self._batch_num if isinstance(self._data, DataSet) else None

    def digest(self) -> str:
        """Returns a hash of the batches."""
        return self._data.digest() if isinstance(self._data, DataSet) else batches_digest(self._data)
