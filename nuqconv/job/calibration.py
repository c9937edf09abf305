"""Where activation ranges come from: the evaluator's batches, its own Caffe, or nowhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from nuqconv.backends.caffe.sinks import write_calibration_model
from nuqconv.errors import CalibrationError, ModelError, some_of
from nuqconv.ir import Array, Graph
from nuqconv.ir.ops import Opaque
from nuqconv.job.parts import in_parts
from nuqconv.quantize.histogram import Histogram
from nuqconv.runtimes.default import load_graph

__all__ = [
    "KEPT_BYTES",
    "Calibration",
    "Source",
    "calibrate",
    "checked_histograms",
    "first_batches",
    "in_own_batches",
    "measure_in_onnxruntime",
]

_LOG = logging.getLogger(__name__)

_SHOWN = 6

Batches = Iterable[Mapping[str, Array]]

KEPT_BYTES = 256 << 20
"""Inputs are kept in memory up to this size, in bytes."""


class Source(str, Enum):
    """Where the ranges came from."""

    ONNXRUNTIME = "onnxruntime"
    CAFFE = "caffe"
    NONE = "none"


@dataclass(frozen=True)
class Calibration:
    """The measured activations.

    Attributes:
        source: Where they were measured.
        histograms: A histogram for each value measured.
        notes: What the user should know about it.
        batches: The first batches of inputs, at most `KEPT_BYTES`, for what else has to be measured; none where they could not be had.
        reasons: Why nothing was measured, where it was not.
    """

    source: Source
    histograms: Mapping[str, Histogram]
    notes: tuple[str, ...] = ()
    batches: tuple[Mapping[str, Array], ...] = ()
    reasons: tuple[str, ...] = ()


def calibrate(
    graph: Graph,
    values: Sequence[str],
    *,
    batches: Batches | None,
    run_model: Callable[[str, str], object] | None,
    folder: Path,
    wanted: int | None = None,
) -> Calibration:
    """Measures activations from the best source there is.

    Args:
        graph: The float graph.
        values: The values to measure.
        batches: Batches of inputs to run in onnxruntime, or None if there are none.
        run_model: Runs the user's evaluator on a model file and a weights file of Caffe; None if it runs none.
        folder: An existing, empty folder for the calibration model.
        wanted: How many batches were asked for; that there are fewer is noted.

    Returns:
        The histograms, or none with a note that says why.

    Raises:
        CalibrationError: Batches or sinks gave values that are not finite, or no data at all.
    """
    blocked = _blocked(graph, values)
    reasons = []
    if batches is not None and not blocked:
        kept: list[Mapping[str, Array]] = []
        seen = _Counted(batches)
        measured = measure_in_onnxruntime(graph, values, _keeping(seen, kept))
        found = checked_histograms(graph, measured, values)
        notes = (*seen.notes(wanted), *_constant(graph, found))
        return Calibration(Source.ONNXRUNTIME, found, notes, tuple(kept))
    if batches is not None:
        reasons.append(f"onnxruntime cannot run what leads to the blobs {some_of(blocked, _SHOWN)}")
    if run_model is None:
        reasons.append("the evaluator offers no batches, and an ONNX model has no layers that could measure")
        return _weights_only(reasons)
    _LOG.info("calibration: running the evaluator on a model with sink layers")
    model = write_calibration_model(graph, values, folder, record_bytes=KEPT_BYTES)
    try:
        with model.importable():
            run_model(str(model.model_file), str(model.weights_file))
    except Exception as error:  # noqa: BLE001
        # Whatever the user's code raises here, the same code has already run the original model: the sinks are to blame.
        reasons.append(f"the evaluator could not run a model with Python layers ({error})")
    else:
        found = model.histograms()
        if found:
            found = checked_histograms(graph, found, values)
            notes = (*_too_few(model.passes(), wanted), *_constant(graph, found))
            return Calibration(Source.CAFFE, found, notes, model.batches())
        reasons.append("the evaluator ran the calibration model, but its Python layers saw no data")
    return _weights_only(reasons)


class _Counted:
    """Batches, and how many and how large they were."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.batches = self.samples = 0
        self._first: dict[str, Array] = {}
        self._same: dict[str, bool] = {}

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        for batch in self._batches:
            yield batch
            self.batches += 1
            self.samples += len(next(iter(batch.values())))
            for name, value in batch.items():
                array = np.asarray(value)
                if self._same.setdefault(name, array.ndim > 0):
                    first = self._first.setdefault(name, np.array(array[:1]))
                    self._same[name] = bool((array == first).all())

    def notes(self, wanted: int | None) -> tuple[str, ...]:
        """Returns what the user should know of their number, and whether they are all the same."""
        one = ("calibrated on one sample",) if self.samples == 1 else ()
        same = [name for name, found in self._same.items() if found and self.samples > 1]
        constant = [
            f"calibration data are constant: all {self.samples} samples of input '{name}' are the same" for name in same
        ]
        return (*_too_few(self.batches, wanted, f" ({self.samples} samples)"), *one, *constant)


def _too_few(batches: int, wanted: int | None, more: str = "") -> tuple[str, ...]:
    if wanted is None or batches >= wanted:
        return ()
    return (f"calibrated on {batches} batches, fewer than the {wanted} asked for{more}",)


def in_own_batches(batches: Batches, size: int | None) -> Batches:
    """Returns the samples of batches in the batches that a model takes; the last one of each is filled up with the first samples of it.

    Args:
        batches: Inputs by name; what is no such batch is handed on, for whoever checks it.
        size: The model's own batch; None leaves the batches as they are.
    """
    return batches if size is None else _split(batches, size)


def _split(batches: Batches, size: int) -> Iterator[Mapping[str, Array]]:
    for batch in batches:
        counts = {np.shape(array)[:1] for array in batch.values()} if isinstance(batch, Mapping) else set()
        count = sum(counts.pop()) if len(counts) == 1 else 0
        if not count:
            yield batch
            continue
        for start in range(0, count, size):
            taken = np.arange(start, start + size) % count
            yield {name: np.asarray(array)[taken] for name, array in batch.items()}


def _weights_only(reasons: Sequence[str]) -> Calibration:
    note = f"only weights are quantized, activations stay float: {'; '.join(reasons)}"
    _LOG.warning("calibration: %s", note)
    return Calibration(Source.NONE, {}, (note,), reasons=tuple(reasons))


def measure_in_onnxruntime(graph: Graph, values: Sequence[str], batches: Batches) -> dict[str, Histogram]:
    """Runs batches through the float graph in onnxruntime and counts values.

    Args:
        graph: The float graph.
        values: The values to measure; nothing that leads to them may be Opaque.
        batches: For each batch the inputs by name, float32.

    Returns:
        A histogram for each value.

    Raises:
        CalibrationError: A batch does not fit the net; its number is named.
    """
    histograms = {value: Histogram() for value in values}
    inputs = {item.name for item in graph.inputs}
    inner = [value for value in values if value not in inputs]
    model = load_graph(graph, inner)
    parts = in_parts(graph, inner)
    for number, batch in enumerate(batches):
        arrays = _checked_batch(graph, batch, number, [value for value in values if value in inputs])
        for _, found in parts(arrays):
            if inner:
                try:
                    found.update(model.run(found))
                except ModelError as error:
                    raise CalibrationError(f"calibration batch {number} cannot be run: {error}") from error
            for value, histogram in histograms.items():
                histogram.update(found[value])
    return histograms


def _keeping(batches: Batches, kept: list[Mapping[str, Array]]) -> Iterator[Mapping[str, Array]]:
    """Yields batches and keeps copies of the first ones, as many as fit."""
    left = KEPT_BYTES
    for batch in batches:
        yield batch
        # Only now is it known to be sound.
        left -= sum(4 * np.size(array) for array in batch.values())
        if left >= 0:
            kept.append({name: np.array(array, np.float32) for name, array in batch.items()})


def first_batches(batches: Batches) -> tuple[Mapping[str, Array], ...]:
    """Returns those batches that a calibration keeps: the first ones, at most `KEPT_BYTES`, as float32."""
    kept: list[Mapping[str, Array]] = []
    for _ in _keeping(batches, kept):
        pass
    return tuple(kept)


def _checked_batch(graph: Graph, batch: object, number: int, needed: Sequence[str]) -> dict[str, Array]:
    """Returns a batch as float32 after a check of its form; what else the net needs, its session checks."""
    place = f"calibration batch {number}"
    if not isinstance(batch, Mapping) or not batch:
        raise CalibrationError(
            f"{place}: found {type(batch).__name__} {batch!r:.60}; expected a mapping from input blobs to arrays"
        )
    shapes = {item.name: item.shape for item in graph.inputs}
    arrays: dict[str, Array] = {}
    given = graph.feeds(batch)
    problems = [f"input '{name}' is missing" for name in needed if name not in given]
    for name, value in given.items():
        try:
            arrays[name] = np.asarray(value, np.float32)
        except (TypeError, ValueError) as error:
            problems.append(f"'{name}' is no array of numbers: {error}")
            continue
        if name not in shapes:
            problems.append(f"'{name}' is no input; the net has {', '.join(shapes)}")
        elif not arrays[name].size or arrays[name].shape[1:] != shapes[name][1:]:
            found, wanted = (
                "x".join(map(str, shape)) or "a number" for shape in (arrays[name].shape, ("N", *shapes[name][1:]))
            )
            problems.append(f"input '{name}' has shape {found}, expected {wanted}")
    if problems:
        raise CalibrationError(f"{place} does not fit the net", problems)
    return arrays


def _blocked(graph: Graph, values: Sequence[str]) -> list[str]:
    """Returns the values that depend on an Opaque node."""
    tainted: set[str] = set()
    for node in graph.nodes:
        if isinstance(node.op, Opaque) or tainted.intersection(node.inputs):
            tainted.update(node.outputs)
    return [value for value in values if value in tainted]


def _constant(graph: Graph, histograms: Mapping[str, Histogram]) -> tuple[str, ...]:
    """Returns what is to be said of values that are one number in all of the data: no range can be taken from them."""
    inputs = {item.name for item in graph.inputs}
    fixed = {name: found.minimum for name, found in histograms.items() if found.minimum == found.maximum}
    notes = [
        f"calibration data are constant: every number of input '{graph.storage_name(name)}' is {number:g}; are they what the net is for?"
        for name, number in fixed.items()
        if name in inputs
    ]
    inside = [f"'{graph.storage_name(name)}' ({number:g})" for name, number in fixed.items() if name not in inputs]
    if inside:
        notes.append(
            f"constant on all calibration data, so that ranges of other data are not known: {some_of(inside, _SHOWN)}"
        )
    return tuple(notes)


def checked_histograms(
    graph: Graph, histograms: Mapping[str, Histogram], values: Sequence[str]
) -> Mapping[str, Histogram]:
    """Returns histograms after a check that there is one for each value, of finite numbers.

    Raises:
        CalibrationError: There is not; all values are named.
    """
    problems = []
    for value in values:
        readers = ", ".join(f"'{node.name}'" for node in graph.consumers[value])
        histogram = histograms.get(value)
        if histogram is None or histogram.count + histogram.nonfinite == 0:
            problems.append(f"blob '{graph.storage_name(value)}', input of {readers}: no data was seen")
        elif histogram.nonfinite:
            problems.append(
                f"blob '{graph.storage_name(value)}', input of {readers}: {histogram.nonfinite} values are NaN or infinite"
            )
    if problems:
        raise CalibrationError("calibration failed; check the batches and the model's inputs (scale, layout)", problems)
    return histograms
