"""Whether the channels of inner values are brought to like sizes: tried on the calibration data first, then asked of the user's evaluator."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nuqconv.errors import CalibrationError, ConfigError, ModelError, UnsupportedError, some_of
from nuqconv.ir import Array, Graph
from nuqconv.job.calibration import Calibration, Source, checked_histograms, measure_in_onnxruntime
from nuqconv.job.candidates import activation_quants, find_candidates
from nuqconv.job.evaluation import Original
from nuqconv.job.job import Job
from nuqconv.job.parts import in_parts
from nuqconv.job.sensitivity import watched_values
from nuqconv.passes.equalize import Shifts, balanced, chains
from nuqconv.quantize.histogram import Histogram
from nuqconv.quantize.plan import Plan
from nuqconv.runtimes.default import float_feeds, load_graph

__all__ = ["GAIN", "SAMPLES", "accepted_shifts", "equalization_note", "find_shifts", "kept_values"]

_LOG = logging.getLogger(__name__)

GAIN = 0.95
"""What the error of the outputs must come down to before the evaluator is asked."""
SAMPLES = 16
"""On so many samples of the calibration data, in whole batches, it is measured."""

Batches = Sequence[Mapping[str, Array]]


def kept_values(graph: Graph, evaluator: object) -> tuple[str, ...]:
    """Returns the values that an evaluator says it reads, by their names in files; they stay as they are."""
    read = {str(name) for name in getattr(evaluator, "outputs", None) or ()}
    return tuple(value for value in graph.consumers if graph.storage_name(value) in read or value in read)


def find_shifts(graph: Graph, batches: Batches, keep: Collection[str] = ()) -> Shifts:
    """Chooses by which powers of two the channels of inner values are divided.

    Args:
        graph: The float graph, after folding.
        batches: Inputs to measure the channels on.
        keep: Values that must stay as they are.

    Raises:
        ModelError, UnsupportedError: onnxruntime cannot run what leads to the values.
    """
    wanted = list(dict.fromkeys(chain.read for chain in chains(graph, keep)))
    if not wanted:
        return {}
    peaks: dict[str, Array] = {}
    model, parts = load_graph(graph, wanted), in_parts(graph, wanted)
    runs = (part for batch in batches for _, part in parts(float_feeds(graph, batch)))
    for part in runs:
        for name, value in model.run(part).items():
            peak = np.abs(value).max(axis=tuple(axis for axis in range(value.ndim) if axis != 1))
            peaks[name] = np.maximum(peaks.get(name, peak), peak)
    return balanced(graph, peaks, keep)


def accepted_shifts(
    job: Job,
    calibration: Calibration,
    original: Original,
    writer: Callable[[Job], Callable[[Plan, Path], tuple[Path, Path]]],
    folder: Path,
) -> Shifts:
    """Decides whether channels are scaled: the evaluator sees all layers at int8 with and without it.

    It is asked only where the outputs err clearly less on the calibration data.

    Args:
        job: The model.
        calibration: What was measured of it.
        original: The original's metric, and the evaluator.
        writer: Returns what writes the model of a plan as evaluators are given it, into a folder.
        folder: An existing folder for the two models.

    Returns:
        The exponents; none where nothing is scaled.
    """
    if calibration.source is not Source.ONNXRUNTIME or not calibration.batches:
        return {}
    batches = _first(calibration.batches, SAMPLES)
    try:
        shifts = find_shifts(job.graph, batches, kept_values(job.graph, original.evaluator.checked.evaluator))
        if not shifts:
            return {}
        # What the float network makes is the same for both. One after the other: of large networks there is no room for both at a time.
        values = watched_values(job.graph)
        exact = list(_outputs(job.graph, values, batches))
        plan, error = _int8(job, calibration.histograms, exact, batches)
        other = job.scaled(shifts)
        histograms = checked_histograms(
            other.graph, measure_in_onnxruntime(other.graph, other.values, calibration.batches), other.values
        )
        scaled_plan, scaled_error = _int8(other, histograms, exact, batches)
    except (CalibrationError, ConfigError, ModelError, UnsupportedError) as problem:
        _LOG.info("channels are not scaled: %s", problem)
        return {}
    _LOG.info("int8 on the calibration data: error of the outputs %.4g, with channels scaled %.4g", error, scaled_error)
    if not scaled_error < GAIN * error:
        return {}
    checked = original.show().checked
    metrics = []
    for number, (item, its_plan) in enumerate(((job, plan), (other, scaled_plan))):
        place = folder / str(number)
        place.mkdir()
        metrics.append(original.evaluator.measure(*writer(item)(its_plan, place), original.batch_num))
    fits = [checked.satisfied(original.metric, metric) for metric in metrics]
    nearer = abs(metrics[1] - original.metric) <= abs(metrics[0] - original.metric)
    taken = fits[1] if fits[0] != fits[1] else nearer
    _LOG.info("int8 everywhere: metric %.6g, with channels scaled %.6g: %s", *metrics, "taken" if taken else "refused")
    return shifts if taken else {}


def equalization_note(graph: Graph, shifts: Shifts) -> str:
    """Says which blobs are scaled."""
    blobs = [graph.storage_name(value) for chain in chains(graph) if chain.layer in shifts for value in chain.values]
    names = list(dict.fromkeys(blobs))
    return (
        f"channels of {len(names)} inner blobs are divided by powers of two, with which int8 errs less (--no-equalize leaves them); "
        f"the network's outputs are the same: {some_of(names, 6)}"
    )


def _first(batches: Batches, samples: int) -> list[Mapping[str, Array]]:
    found: list[Mapping[str, Array]] = []
    for batch in batches:
        if sum(len(next(iter(item.values()))) for item in found) >= samples:
            break
        found.append(batch)
    return found


def _int8(
    job: Job, histograms: Mapping[str, Histogram], exact: Sequence[Mapping[str, Array]], batches: Batches
) -> tuple[Plan, float]:
    """Returns the plan of all layers at int8, their weights at the nearest levels, and what it does to the outputs."""
    requests = [replace(request, steps=()) for request in job.requests]
    activations = activation_quants(job.quantizer, requests, histograms, with_offset=job.config.activation_offset)
    space = find_candidates(job.quantizer, requests, activations, histograms).space
    plan = space.plan(space.uniform())
    error = _error(exact, _outputs(job.quantizer.apply(plan), tuple(exact[0]), batches))
    for request in requests:
        # Of all layers they would be a quarter of the model.
        job.quantizer.drop(request.name)
    return plan, error


def _outputs(graph: Graph, values: Sequence[str], batches: Batches) -> Iterator[Mapping[str, Array]]:
    """Yields values of a network, batch by batch."""
    model = load_graph(graph, values)
    for batch in batches:
        yield model.run(float_feeds(graph, batch))


def _error(exact: Sequence[Mapping[str, Array]], found: Iterable[Mapping[str, Array]]) -> float:
    """Returns the relative squared error of the outputs, the mean over them; of what a Softmax or a DetectionOutput makes, that in front of it."""
    noise = dict.fromkeys(exact[0], 0.0)
    signal = dict.fromkeys(exact[0], 0.0)
    for right, wrong in zip(exact, found, strict=True):
        for name, value in right.items():
            noise[name] += float(np.square(wrong[name] - value, dtype=np.float64).sum())
            signal[name] += float(np.square(value, dtype=np.float64).sum())
    return float(np.mean([noise[name] / signal[name] for name in exact[0] if signal[name] > 0] or [0.0]))
