"""Models in runtimes, side by side on the same samples: the metric of each, and the samples on which they differ."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nuqconv.data import Batch, DataSet, Preparation, open_data
from nuqconv.errors import ConfigError, EvaluatorError
from nuqconv.evaluators.demand import Demand
from nuqconv.evaluators.fitting import check_model
from nuqconv.evaluators.measuring import run_full
from nuqconv.formats import Model, ReadOptions, open_model
from nuqconv.formats.source import ModelFiles
from nuqconv.runtimes.base import Loaded, Runtime
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.table import DEFAULT, runtime_named
from nuqconv.search.metrics import (
    FunctionTally,
    Interval,
    Metric,
    MetricFunction,
    Outputs,
    Tally,
    Truth,
    difference_interval,
    parse_metric,
    value_interval,
)

__all__ = ["EvaluatedSide", "Evaluation", "evaluate", "evaluate_sides"]


@dataclass(frozen=True)
class EvaluatedSide:
    """A model in a runtime.

    Attributes:
        model: The model.
        runtime: The runtime's name.
        value: The metric.
        interval: Where the metric lies, from samples drawn again; None where the metric is a function.
        difference: The metric less that of the first side, with its interval; None for the first side and for a function.
        differing: What names the samples whose part in the metric differs from the first side's; with a metric of pairs both are named.
        seconds: How long the model ran.
    """

    model: str
    runtime: str
    value: float
    interval: Interval | None = None
    difference: Interval | None = None
    differing: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """What `nuqconv.evaluate` found.

    Attributes:
        metric: The metric's text, or the name of a function.
        samples: Number of samples.
        data: What the data are.
        preparation: What was done with a sample; None for nothing.
        sides: The models in the runtimes; the others are held against the first.
        notes: What the user should know.
        measure: The metric; None where it is a function.
    """

    metric: str
    samples: int
    data: str
    preparation: str | None
    sides: tuple[EvaluatedSide, ...]
    notes: tuple[str, ...] = ()
    measure: Metric | None = field(default=None, compare=False, repr=False)

    def refused(self, demand: Demand) -> tuple[EvaluatedSide, ...]:
        """Returns the sides whose metric is not good enough beside the first side's."""
        first = self.sides[0].value
        return tuple(side for side in self.sides[1:] if not demand.accepts(first, side.value))

    def shown(self, value: float) -> str:
        """Returns a value of the metric as text for people."""
        return f"{value:.5g}" if self.measure is None else self.measure.shown(value)

    def to_json(self) -> str:
        """Returns all of it as JSON for other programs."""
        content: dict[str, Any] = {
            "metric": self.metric,
            "samples": self.samples,
            "data": self.data,
            "preparation": self.preparation,
            "sides": [
                {
                    "model": side.model,
                    "runtime": side.runtime,
                    "value": side.value,
                    "interval": None if side.interval is None else vars(side.interval),
                    "difference": None if side.difference is None else vars(side.difference),
                    "differing": list(side.differing),
                    "seconds": side.seconds,
                }
                for side in self.sides
            ],
            "notes": list(self.notes),
        }
        return json.dumps(content, indent=2) + "\n"


def evaluate(
    models: Model | list[Model],
    *,
    data: Any,
    metric: str | MetricFunction = "top1",
    runtimes: Sequence[str | Runtime] = (DEFAULT,),
    prep: str | Path | Preparation | None = None,
    labels: Any = None,
    outputs: Sequence[str] | None = None,
    batch_size: int = 32,
    samples: int | None = None,
    read_options: ReadOptions | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Measures the metric of one or several models in one or several runtimes, side by side on the same samples.

    All of them run batch by batch, so that memory does not grow with the number of samples; a metric that is a function needs the outputs of
    all samples. Every side but the first is held against the first: the difference with its interval, and the samples that differ.

    Args:
        models: A path, a pair of paths (a tuple), or a graph; or a list of them. A metric against the original net, such as ``"agreement"``,
            takes the first one in the first runtime for it.
        data: Whatever holds samples; see `nuqconv.data.open_data`.
        metric: A text of the table of metrics (`nuqconv.search.metrics.METRICS`), or a function as in `BatchEvaluator`.
        runtimes: Names in the table of runtimes, or runtimes. A runtime that does not run a model's format is passed over, which the notes say.
        prep: What is done with a sample before the nets see it.
        labels: Labels that stand apart from the samples.
        outputs: Names of the blobs to judge; the nets' own outputs by default.
        batch_size: Samples for each run.
        samples: Most samples to run; None for all.
        read_options: How the models' files are read: unknown fields, level and stages.
        on_batch: Called after each batch with the number of samples that are done.

    Raises:
        ConfigError: Data, models and runtimes do not go together.
        EvaluatorError: The metric is not known, or cannot take the outputs or the samples' truths.
        NuqconvError: Data cannot be read, or a model cannot run.
    """
    chosen = [runtime_named(runtime) if isinstance(runtime, str) else runtime for runtime in runtimes]
    return evaluate_sides(
        [open_model(model, options=read_options) for model in (models if isinstance(models, list) else [models])],
        open_data(data, prep, labels),
        parse_metric(metric) if isinstance(metric, str) else metric,
        chosen,
        outputs=outputs,
        batch_size=batch_size,
        samples=samples,
        on_batch=on_batch,
    )


def evaluate_sides(
    models: Sequence[ModelFiles],
    data: DataSet,
    metric: Metric | MetricFunction,
    runtimes: Sequence[Runtime],
    *,
    outputs: Sequence[str] | None = None,
    batch_size: int = 32,
    samples: int | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Runs every model in every runtime that takes it, all of them batch by batch.

    Args:
        models: The models; a metric against the original net holds all of them against the first, in the first runtime.
        data: The samples.
        metric: The metric.
        runtimes: The runtimes.
        outputs: Names of the values to judge; the nets' own by default.
        batch_size: Samples at once.
        samples: Most samples to run; None for all.
        on_batch: Called after each batch with the number of samples that are done.

    Raises:
        ConfigError: There is nothing to run, or a model has no runtime.
        EvaluatorError: The metric cannot take the outputs or the samples' truths.
        NuqconvError: Data cannot be read, or a model cannot run.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, found {batch_size}")
    if isinstance(metric, Metric) and metric.truth is not Truth.NONE and not data.has_labels():
        raise EvaluatorError(f"metric '{metric.text}' needs labels: {metric.truth.value} of each sample")
    if not models or not runtimes:
        raise ConfigError("give at least one model and one runtime")
    data = data.for_net(models[0].inputs())
    count = len(data) if samples is None else min(samples, len(data))
    size = min(_common_batch(models) or batch_size, count)
    names: list[str] = []
    with ExitStack() as stack:
        sides, notes = _sides(models, data, metric, runtimes, size, outputs, stack)
        for side in sides:
            side.loaded = stack.enter_context(side.runtime.load(side.model, outputs))
        for batch in data.batches(size, count):
            _run_batch(sides, batch)
            names += batch.ids
            if on_batch is not None:
                on_batch(len(names))
    return Evaluation(
        metric.text if isinstance(metric, Metric) else getattr(metric, "__qualname__", str(metric)),
        count,
        data.describe(),
        data.preparation,
        tuple(_evaluated(sides, names)),
        notes,
        metric if isinstance(metric, Metric) else None,
    )


def _common_batch(models: Sequence[ModelFiles]) -> int | None:
    """Returns the batch that models fix; None if all of them take any."""
    fixed = {str(model): own for model in models if (own := model.own_batch()) is not None}
    if len(set(fixed.values())) > 1:
        raise ConfigError(
            "the models take batches of different sizes; write them with an open batch (--dynamic-batch)",
            [f"{name}: {size}" for name, size in fixed.items()],
        )
    return next(iter(fixed.values()), None)


class _Side:
    """A model in a runtime while it is measured; ``inputs`` are the model's names of inputs that have others in the data."""

    loaded: Loaded

    def __init__(
        self,
        name: str,
        model: Runnable,
        runtime: Runtime,
        metric: Metric | MetricFunction,
        inputs: Mapping[str, str],
    ) -> None:
        self.name = name
        self.model = model
        self.runtime = runtime
        self.tally = Tally(metric) if isinstance(metric, Metric) else FunctionTally(metric)
        self._inputs = inputs
        self.seconds = 0.0

    def run(self, batch: Batch) -> Outputs:
        feeds = {self._inputs.get(name, name): array for name, array in batch.inputs.items()}
        start = time.perf_counter()
        (found,) = run_full(self.loaded.run, [feeds], self.model.own_batch)
        self.seconds += time.perf_counter() - start
        return found


def _sides(
    models: Sequence[ModelFiles],
    data: DataSet,
    metric: Metric | MetricFunction,
    runtimes: Sequence[Runtime],
    size: int,
    outputs: Sequence[str] | None,
    stack: ExitStack,
) -> tuple[list[_Side], tuple[str, ...]]:
    """Returns what is run, models in the order given and each in the runtimes in theirs, and what is not."""
    shapes = data.shapes()
    sides: list[_Side] = []
    notes: list[str] = []
    names = [str(model.model) if model.paths else str(model) for model in models]
    for model, name in zip(models, names, strict=True):
        inputs = _input_names(model, tuple(shapes))
        # Open sizes are those of the data.
        sizes = {inputs.get(name, name): shape for name, shape in shapes.items()}
        options = ReadOptions(model.sizes_for(sizes, size))
        runnable = Runnable.of_chosen(model, options, stack)
        refusals = [runtime.refusal(runnable) for runtime in runtimes]
        if all(refusals):
            raise ConfigError(f"{name}: none of these runtimes runs it", refusals)
        notes += [
            f"{name} is not run in {runtime.title}, which does not take it"
            for runtime, refusal in zip(runtimes, refusals, strict=True)
            if refusal
        ]
        if isinstance(metric, Metric):
            check_model(metric, runnable, outputs)
        label = name if names.count(name) == 1 else str(model)
        sides += [
            _Side(label, runnable, runtime, metric, inputs)
            for runtime, refusal in zip(runtimes, refusals, strict=True)
            if not refusal
        ]
    return sides, tuple(notes)


def _input_names(model: ModelFiles, known: Sequence[str]) -> dict[str, str]:
    """Returns the model's names of inputs that have other names in the data: a single one may."""
    wanted = model.input_names()
    if set(wanted) == set(known):
        return {}
    if len(wanted) == len(known) == 1:
        return {known[0]: wanted[0]}
    raise ConfigError(
        f"{model}: its inputs are {', '.join(wanted)}, those of the data {', '.join(known)}; the models must have the same inputs"
    )


def _run_batch(sides: Sequence[_Side], batch: Batch) -> None:
    names: tuple[str, ...] = ()
    kept: Outputs | None = None
    for side in sides:
        outputs = side.run(batch)
        names = names or tuple(outputs)
        try:
            outputs = _called_alike(outputs, names)
            if kept is None and isinstance(side.tally, Tally) and side.tally.metric.against_float:
                kept = side.tally.metric.keep(outputs, len(batch))
            side.tally.update(outputs, batch.labels, kept, count=len(batch))
        except EvaluatorError as error:
            raise EvaluatorError(f"{side.name} in {side.runtime.title}: {error}") from error


def _called_alike(outputs: Outputs, names: tuple[str, ...]) -> Outputs:
    """Returns outputs by the names that the first side has for them; a single one may have another name."""
    if set(outputs) == set(names):
        return outputs
    if len(outputs) == len(names) == 1:
        return {names[0]: next(iter(outputs.values()))}
    raise EvaluatorError(
        f"its outputs are {', '.join(outputs)}, those of the first model {', '.join(names)}; choose common ones with outputs= (--outputs)"
    )


def _evaluated(sides: Sequence[_Side], names: Sequence[str]) -> Iterator[EvaluatedSide]:
    first = sides[0].tally
    for side in sides:
        tally = side.tally
        value = tally.value()
        interval = difference = None
        differing: tuple[str, ...] = ()
        if isinstance(tally, Tally):
            interval = value_interval(tally.metric, tally.terms)
            if isinstance(first, Tally) and tally is not first:
                difference = difference_interval(tally.metric, first.terms, tally.terms)
                differing = _names_of(tally.metric.differing(first.terms, tally.terms), names, tally.metric.group)
        yield EvaluatedSide(side.name, side.runtime.name, value, interval, difference, differing, side.seconds)


def _names_of(units: Any, names: Sequence[str], group: int) -> tuple[str, ...]:
    places = np.flatnonzero(units)
    if len(units) * group != len(names):
        # Outputs whose first axis is not that of the samples are judged batch by batch.
        return tuple(f"batch {place}" for place in places)
    return tuple(" and ".join(names[place * group : (place + 1) * group]) for place in places)
