"""What a run tells of itself: what it was asked for when it begins, and where its result hurts when it has ended."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from nuqconv.comparison.layer_errors import LayerErrors, measure_layer_errors
from nuqconv.comparison.quantized import pair_layers
from nuqconv.errors import NuqconvError
from nuqconv.files.digest import file_digest
from nuqconv.ir import Array, Graph
from nuqconv.job.about import About, Budget, command_line, now, objective_words, versions
from nuqconv.job.calibration import Calibration, in_own_batches
from nuqconv.job.evaluation import Original
from nuqconv.job.job import Job
from nuqconv.job.parts import numbers_of_a_sample
from nuqconv.job.preparation import OnStep
from nuqconv.quantize.plan import Plan
from nuqconv.search.evaluator import CheckedEvaluator
from nuqconv.search.objective import Objective

__all__ = ["SAMPLES", "CalibrationInputs", "describe_run", "errors_of"]

_LOG = logging.getLogger(__name__)

SAMPLES = 64
"""Most samples on which the errors of layers are measured."""

_FEWEST = 4
_NUMBERS = 60_000_000


def describe_run(
    job: Job,
    original: Original,
    files: Mapping[str, Path],
    objective: Objective,
    strategy: str,
    budget: Budget,
) -> About:
    """Returns what a run was asked for.

    Args:
        job: The model.
        original: The original model's metric, and the evaluator.
        files: The files read, by what they are.
        objective: What the search is for.
        strategy: How it searches.
        budget: How long it may take.

    Raises:
        EvaluatorError: What the evaluator says of itself cannot be shown.
    """
    aim, layers, size = objective_words(objective)
    hashes = {name: file_digest(path) for name, path in files.items()}
    # A configuration that the command line has made is gone afterwards; its hash says which it was.
    names = {name: path.name if name == "configuration" else str(path) for name, path in files.items()}
    facts = original.evaluator.checked.facts(original.metric)
    return About(
        job.graph.name, facts, aim, layers, size, strategy, budget, names, hashes, versions(), now(), command_line()
    )


class CalibrationInputs:
    """The first inputs of the calibration: those of this run, or, where its journal has spared it one, those that it would have taken.

    Args:
        evaluator: May offer batches.
        batch_num: How many it is asked for.
        data: Goes before the evaluator's batches.
        own_batch: The batch that the model's files fix.
    """

    def __init__(
        self,
        evaluator: CheckedEvaluator,
        batch_num: int,
        data: Iterable[Mapping[str, Array]] | None,
        own_batch: int | None = None,
    ) -> None:
        self._evaluator = evaluator
        self._batch_num = batch_num
        self._data = data
        self._own_batch = own_batch
        self._kept: tuple[Mapping[str, Array], ...] = ()
        self._whole: tuple[Mapping[str, Array], ...] = ()

    def keep(self, calibration: Calibration) -> Calibration:
        """Keeps as many as the errors of layers are measured on; returns the calibration."""
        left, kept = SAMPLES, []
        for batch in calibration.batches:
            if left > 0:
                kept.append({name: array[: self._own_batch or left] for name, array in batch.items()})
                left -= min(map(len, batch.values()))
        self._kept = tuple(kept)
        self._whole = calibration.batches
        return calibration

    def whole(self) -> Iterable[Mapping[str, Array]]:
        """Returns all that the calibration took or would have taken; nothing where there are none."""
        return self._whole or self._from_data()

    def batches(self) -> Iterable[Mapping[str, Array]]:
        """Returns them; nothing where there are none."""
        return in_own_batches(self._kept, self._own_batch) if self._kept else self._from_data()

    def _from_data(self) -> Iterable[Mapping[str, Array]]:
        found = self._data or self._evaluator.calibration_batches(self._batch_num) or ()
        return in_own_batches(found, self._own_batch)


def errors_of(job: Job, plan: Plan, inputs: CalibrationInputs, on_step: OnStep | None = None) -> LayerErrors | None:
    """Measures what a plan does to the outputs of the layers that it quantizes.

    Args:
        job: The model.
        plan: The plan.
        inputs: What to run.
        on_step: Called as the work goes on.

    Returns:
        The errors, or None where they cannot be measured, which is logged.
    """
    limit = _samples(job.graph)

    def on_batch(done: int) -> None:
        if on_step is not None:
            on_step("errors of layers", done, limit)

    try:
        pair = pair_layers(job.graph, job.quantizer.apply(plan))
        return measure_layer_errors(pair, inputs.batches(), limit=limit, on_batch=on_batch)
    except NuqconvError as error:
        # The outputs are there already, and are good without it.
        _LOG.warning("the errors of layers are not in the report: %s", error)
        return None


def _samples(graph: Graph) -> int:
    """Returns on how many samples errors are measured: fewer in large networks, whose values of one sample tell as much."""
    return max(_FEWEST, min(SAMPLES, _NUMBERS // numbers_of_a_sample(graph)))
