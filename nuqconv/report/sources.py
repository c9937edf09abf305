"""Where a report comes from: the result of a search, or the journal of one that may still go on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from nuqconv.errors import JournalError, NuqconvError
from nuqconv.job.about import UNKNOWN
from nuqconv.job.checkpoint import JOURNAL_SUFFIX
from nuqconv.job.network_facts import NetworkFacts
from nuqconv.job.notebook import noted_network, noted_picture, noted_result, noted_run
from nuqconv.job.preparation import Preparation
from nuqconv.job.result import trial_row
from nuqconv.quantize.plan import Plan, Precision
from nuqconv.quantize.rate import bits_per_weight
from nuqconv.report.document import Document, LayerRow, SizesRow
from nuqconv.search.journal import Journal, JournalRecord
from nuqconv.search.objective import Objective, SmallestBytes, pareto_front
from nuqconv.search.space import SearchSpace
from nuqconv.search.trial import Trial

if TYPE_CHECKING:
    from nuqconv.job.result import NuqResult

__all__ = ["Report", "find_journal", "report_of_journal", "report_of_result"]


@dataclass(frozen=True)
class Report:
    """What a page is made from.

    Attributes:
        document: What is told.
        histograms: For layers with weights how many of them have each of the 256 integers in int8, from -128 on.
        picture: The first samples side by side, JPEG, or None.
    """

    document: Document
    histograms: Mapping[str, Sequence[int]]
    picture: bytes | None = None


def report_of_result(result: NuqResult) -> Report:
    """Returns the report of a search that has ended."""
    return Report(result.document(), _histograms(result.network), result.picture)


def find_journal(place: str | PathLike[str]) -> Path:
    """Returns the journal at a place: its own path, or DIR/PREFIX of the outputs that it stands beside.

    Raises:
        JournalError: There is none.
    """
    path = Path(place)
    beside = path.with_name(path.name + JOURNAL_SUFFIX) if path.name else path
    for found in (path, beside):
        if found.is_file():
            return found
    raise JournalError(f"{path}: there is no journal of this name, and no {beside.name} either")


def report_of_journal(path: str | PathLike[str]) -> Report:
    """Returns the report of a journal, also while a search writes it; nothing is written.

    Args:
        path: The journal.

    Raises:
        JournalError: There is none, or it is damaged.
    """
    with Journal.read(path) as journal:
        network = noted_network(journal)
        document = noted_result(journal) or _unfinished(journal, network)
        return Report(document, _histograms(network), noted_picture(journal))


def _histograms(network: NetworkFacts | None) -> dict[str, Sequence[int]]:
    return {} if network is None else {layer.name: layer.histogram for layer in network.layers if layer.histogram}


def _unfinished(journal: Journal, network: NetworkFacts | None) -> Document:
    """What can be told of a search that has not come to its end."""
    run = noted_run(journal)
    prepared = _prepared(journal)
    records = journal.trials()
    trials = _trials(journal, records)
    original = journal.original
    objective = SmallestBytes() if run is None else run.objective
    best = _best(trials, objective, original)
    front = {trial.number for trial in pareto_front(trials, original)} if original is not None else set[int]()
    notes = () if prepared is None else prepared.notes
    if run is None:
        notes += ("this journal was begun by an earlier version, which noted neither what was asked nor the layers",)
    found = Document(
        state="stopped" if journal.holder is None else "searching",
        **(UNKNOWN if run is None else run.fields()),
        original_metric=original,
        metric=None if best is None else best.metric,
        accepted=None if best is None else best.accepted,
        best_trial=None if best is None else best.number,
        sizes=SizesRow(_whole(journal.float_bytes), None, None if best is None else round(best.bytes), None),
        layers=(),
        trials=tuple(trial_row(trial, pareto=trial.number in front) for trial in trials),
        calibration=None if prepared is None else prepared.source.value,
        reverted=() if best is None else best.float_layers,
        folded={} if network is None else network.folded,
        notes=notes,
        journal=str(journal.path),
        plan=None if best is None else json.loads(best.plan.to_json()),
    )
    return found if prepared is None or network is None else _with_layers(found, network, prepared, best)


def _prepared(journal: Journal) -> Preparation | None:
    text = journal.space_text
    try:
        return None if text is None else Preparation.from_json(text)
    except NuqconvError as error:
        raise JournalError(f"{journal.path}: the journal is damaged: {error}") from error


def _trials(journal: Journal, records: Sequence[JournalRecord]) -> tuple[Trial, ...]:
    """The trials; in the order of recording, where searches with several demands have given numbers twice."""
    numbers = [record.number for record in records]
    if len(set(numbers)) < len(numbers):
        numbers = [record.sequence for record in records]
    try:
        trials = [
            Trial(number, item.plan, item.metric, item.accepted, item.bytes, item.seconds, item.step, item.float_layers)
            for number, item in zip(numbers, records, strict=True)
        ]
    except NuqconvError as error:
        raise JournalError(f"{journal.path}: the journal is damaged: {error}") from error
    return tuple(sorted(trials, key=lambda trial: trial.number))


def _best(trials: Sequence[Trial], objective: Objective, original: float | None) -> Trial | None:
    ranked = [] if original is None else [(objective.rank(trial, original), trial) for trial in trials]
    places = [(rank, trial.number, trial) for rank, trial in ranked if rank is not None]
    return min(places, key=lambda place: place[:2])[2] if places else None


def _with_layers(document: Document, network: NetworkFacts, prepared: Preparation, best: Trial | None) -> Document:
    space = prepared.space
    untouched = network.bytes - sum(layer.float_bytes for layer in space.layers)
    int8 = untouched + sum(layer.options[0].bytes for layer in space.layers)
    sizes = replace(document.sizes, float_bytes=network.bytes, int8_bytes=round(int8))
    if best is None:
        return replace(document, sizes=sizes)
    layers = _layers(network, space, best.plan, prepared.candidates.lossless)
    weights = sum(layer.weights for layer in layers)
    bits = sum(layer.weights * layer.bits for layer in layers) / weights if weights else 0.0
    return replace(document, sizes=replace(sizes, bits_per_weight=bits), layers=layers)


def _layers(network: NetworkFacts, space: SearchSpace, plan: Plan, lossless: Mapping[str, int]) -> tuple[LayerRow, ...]:
    options = {layer.name: {option.layer_plan: option.bytes for option in layer.options} for layer in space.layers}
    rows = []
    for layer in network.layers:
        own = plan.get(layer.name)
        form = Precision.FLOAT if own is None else own.precision
        levels = None if own is None or own.codebook is None else len(own.codebook)
        bits = {Precision.FLOAT: 32, Precision.INT8: 8}.get(form) or bits_per_weight(levels or 1)
        size = layer.bytes if own is None else options[layer.name].get(own, layer.bytes)
        whole = levels is not None and lossless.get(layer.name, 257) <= levels
        steps = None if own is None else own.num_steps
        rows.append(
            LayerRow(
                layer.name, layer.kind, form.value, steps, levels, layer.weights, bits, round(size), layer.bytes, whole
            )
        )
    return tuple(rows)


def _whole(size: float | None) -> int | None:
    return None if size is None else round(size)
