"""A search from its model to its files: what `nuqconv.auto_nuq` and its sisters do."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nuqconv.data import DataSet
from nuqconv.errors import CalibrationError
from nuqconv.evaluators.notes import data_notes
from nuqconv.files.staging import check_targets
from nuqconv.formats import CAFFE, ONNX, ReadOptions, shared
from nuqconv.formats.source import ModelFiles
from nuqconv.job.calibration import Calibration, Source, calibrate, in_own_batches
from nuqconv.job.certainty import metric_interval
from nuqconv.job.checkpoint import open_journal, prepared, search_identity
from nuqconv.job.closing import CalibrationInputs, describe_run, errors_of
from nuqconv.job.data_facts import GivenBatches, calibration_digest
from nuqconv.job.device_notes import device_notes
from nuqconv.job.equalization import accepted_shifts, equalization_note
from nuqconv.job.evaluation import Original, evaluation, trial_writer
from nuqconv.job.forms import Forms
from nuqconv.job.interruption import Interruption, script_log
from nuqconv.job.job import Job, TimedEvaluator, read_job
from nuqconv.job.network_facts import network_facts
from nuqconv.job.notebook import note_network, note_result, note_run, note_source
from nuqconv.job.options import SearchOptions
from nuqconv.job.output_files import OutputFiles
from nuqconv.job.outputs import chosen_files, files_of_plan, staging_for, without_caffe, without_ranges, write_outputs
from nuqconv.job.picture import sheet_of
from nuqconv.job.planned import PlannedModel
from nuqconv.job.preparation import OnStep, Preparation, prepare
from nuqconv.job.progress import JobProgress, job_progress
from nuqconv.job.refinement import refined
from nuqconv.job.result import NuqResult, layer_results, measure_sizes
from nuqconv.passes.equalize import Shifts
from nuqconv.quantize.plan import Plan, Precision
from nuqconv.search.evaluator import CheckedEvaluator
from nuqconv.search.journal import Journal
from nuqconv.search.metrics import Interval
from nuqconv.search.objective import NearestMetric, Objective
from nuqconv.search.run import Progress, SearchOutcome, Trial, run_search
from nuqconv.search.strategies import make_strategy, strategy_name

__all__ = ["search_model"]

_LOG = logging.getLogger(__name__)


def search_model(
    model: ModelFiles,
    user_evaluator: object,
    config_file: Path,
    files: OutputFiles,
    options: SearchOptions,
    *,
    save: bool = True,
) -> NuqResult:
    """Searches a model's best plan, and writes its files.

    Args:
        model: The model; its files are what the evaluator is given first.
        user_evaluator: The user's evaluator.
        config_file: The quantization configuration.
        files: Where the files go.
        options: How the search is done; they are checked already.
        save: Whether files are written; without it `files` only name the models that the evaluator is given.

    Returns:
        The result.

    Raises:
        NuqconvError: As in `nuqconv.auto_nuq`.
    """
    start = time.monotonic()
    evaluator = TimedEvaluator(CheckedEvaluator(user_evaluator))
    sources = {"model": model.model, "weights": model.weights, "configuration": config_file}
    names, files = files, files if save else OutputFiles.none()
    targets = [*files.present().values(), *([options.journal] if options.journal else [])]
    check_targets(targets, inputs=sources.values())
    source = model.read(ReadOptions(options.prepare.input_shapes))
    job, read_notes = read_job(source, config_file, options.forms, options.codebooks), source.notes
    del source
    files, caffe_notes = (files, ()) if job.format is CAFFE else without_caffe(files, job.graph)
    batch_num = evaluator.checked.evaluate_batch_num(job.config.batch_num)
    given = None
    if options.prepare.calibration_data is not None:
        given = GivenBatches(options.prepare.calibration_data, model, job.config.batch_num, user_evaluator)
    inputs = CalibrationInputs(evaluator.checked, job.config.batch_num, given, job.own_batch)

    def identity() -> dict[str, str]:
        batches = {"calibration batches": job.config.batch_num, "evaluation batches": batch_num}
        own = calibration_digest(user_evaluator) if given is None else None
        choices = {
            **options.choices(),
            **model.options.choices(),
            **({"own calibration data": own} if own else {}),
        }
        return search_identity(sources, user_evaluator, batches, None if given is None else given.digest(), choices)

    with (
        open_journal(options.journal, identity, options.on_mismatch, _words(sources, user_evaluator)) as log,
        script_log(),
        Interruption(log) as heard,
        staging_for(files) as staging,
        job_progress(show=options.prepare.progress) as shown,
    ):
        on_step = heard.steps(options.prepare.stepper(shown))
        known = frozenset() if log is None else frozenset(record.digest for record in log.trials())
        with shared(model):
            original = Original(evaluator, sources | chosen_files(model, staging), batch_num, log)
        model.forget()
        note_source(log, model.paths, config_file.read_bytes(), options.prepare.input_shapes, onnx=_writes_onnx(files))
        name = strategy_name(options.strategy)
        about = describe_run(job, original, sources, options.objective, name, options.budget)
        picture = note_run(log, about, sheet_of(getattr(user_evaluator, "data", None)))
        places = _Places(names, staging, log, shown)
        read = job
        job, preparation = prepared(job, log, lambda: _prepare(read, original, inputs, given, options, places, on_step))
        network = note_network(log, network_facts(job, preparation.space))
        found = _search(job, original, preparation, options, places, inputs, on_step)
        notes = (
            *read_notes,
            *data_notes(user_evaluator),
            *caffe_notes,
            *preparation.notes,
            *found.notes,
            *_taken(found.outcome, known, options.journal),
        )
        if preparation.source is Source.NONE:
            files, stale = without_ranges(files)
            notes += stale
        files, unfit = files_of_plan(files, found.outcome.plan)
        notes += unfit
        notes += device_notes(job, found.outcome.plan, files)
        write_outputs(job, found.outcome.plan, files, staging)
        errors = errors_of(job, found.outcome.plan, inputs, shown.on_step)
        seconds = (time.monotonic() - start, evaluator.seconds)
        result = replace(
            _result(job, preparation, found, files, notes, seconds, options, tuple(sources.values())),
            about=about,
            network=network,
            errors=errors,
            picture=picture,
        )
        note_result(log, result.document())
    return result


def _words(sources: Mapping[str, Path], evaluator: object) -> dict[str, str]:
    """Returns what the parts of a search's identity are called in messages."""
    words = {"weights file" if name == "weights" else name: str(path) for name, path in sources.items()}
    data = getattr(evaluator, "data", None)
    if isinstance(data, DataSet):
        words["data version"] = f"what is evaluated (the data {data.describe()}, the metric or the outputs)"
    return {**words, "weights": "weight_method", "data version": words.get("data version", "data version")}


def _taken(outcome: SearchOutcome, known: frozenset[str], journal: Path | None) -> tuple[str, ...]:
    count = sum(trial.plan.digest() in known for trial in outcome.trials)
    return (f"{count} of {len(outcome.trials)} evaluations are taken from {journal}",) if count else ()


def _writes_onnx(files: OutputFiles) -> bool:
    return any(files.of(form) for form in ONNX.forms)


@dataclass(frozen=True)
class _Places:
    """Where a search writes and tells how far it is."""

    files: OutputFiles
    staging: Path
    journal: Journal | None
    shown: JobProgress


@dataclass(frozen=True)
class _Found:
    """What a search has found, how sure its metric is, and what the user should know."""

    outcome: SearchOutcome
    interval: Interval | None
    notes: tuple[str, ...]


def _search(
    job: Job,
    original: Original,
    preparation: Preparation,
    options: SearchOptions,
    places: _Places,
    inputs: CalibrationInputs,
    on_step: OnStep,
) -> _Found:
    lost: list[str] = []

    def on_trial(trial: Trial, progress: Progress) -> object:
        places.shown.on_trial(trial, progress)
        return options.on_trial is not None and options.on_trial(trial, progress)

    checked = original.evaluator.checked
    budget = options.budget
    chooser = make_strategy(options.strategy, preparation.space, options.objective, original.metric)
    with evaluation(job, original, places.files, places.staging, options.workers) as evaluate:
        outcome = run_search(
            preparation.space,
            evaluate=evaluate.evaluate,
            submit=evaluate.submit,
            parallel=evaluate.parallel,
            satisfied=lambda metric: checked.satisfied(original.metric, metric),
            original=original.metric,
            journal=places.journal,
            objective=options.objective,
            strategy=chooser,
            max_evaluations=budget.max_evaluations,
            timeout=budget.timeout,
            patience=budget.patience,
            on_trial=on_trial,
            on_lost=lost.append if options.on_crash == "refuse" else None,
        )
        words = ""
        method = options.prepare.weight_method
        if options.prepare.sequential and method is not None and outcome.best.accepted:
            satisfied, before = partial(checked.satisfied, original.metric), outcome.evaluations
            outcome, words = refined(job, outcome, evaluate, satisfied, inputs.whole, method, places.journal, on_step)
            if (count := outcome.evaluations) > before:
                on_trial(outcome.trials[-1], Progress(count, count, outcome.seconds, outcome.best))
        interval, doubts = metric_interval(original, outcome.plan, evaluate.write, places.journal)
    return _Found(
        outcome, interval, (*([words] if words else []), *doubts, *(f"counted as refused: {words}" for words in lost))
    )


def _prepare(
    job: Job,
    original: Original,
    inputs: CalibrationInputs,
    given: GivenBatches | None,
    options: SearchOptions,
    places: _Places,
    on_step: OnStep,
) -> tuple[Job, Preparation]:
    calibration = inputs.keep(_calibrate(job, original, given, places.staging / "calibration"))
    if options.forms is Forms.INT8 and calibration.source is Source.NONE and not options.prepare.weights_only:
        raise CalibrationError(f"int8 layers need the ranges of activations: {'; '.join(calibration.reasons)}")
    chosen = options.prepare
    shifts: Shifts = {}
    # Without step sizes of inputs no channel is lost beside larger ones.
    if chosen.equalize and not chosen.weights_only:
        folder = places.staging / "equalization"
        folder.mkdir()
        shifts = accepted_shifts(job, calibration, original, partial(trial_writer, files=places.files), folder)
    if shifts:
        note = equalization_note(job.graph, shifts)
        job = job.scaled(shifts)
        calibration = inputs.keep(_calibrate(job, original, given, places.staging / "calibration of the scaled graph"))
        calibration = replace(calibration, notes=(*calibration.notes, note))
    found = prepare(
        job,
        calibration,
        method=chosen.weight_method,
        importance=chosen.importance,
        weights_only=chosen.weights_only,
        journal=places.journal,
        on_step=on_step,
    )
    return job, replace(found, shifts=shifts)


def _calibrate(job: Job, original: Original, data: GivenBatches | None, folder: Path) -> Calibration:
    evaluator = original.show()
    batches = evaluator.checked.calibration_batches(job.config.batch_num) if data is None else data
    folder.mkdir()
    found = calibrate(
        job.graph,
        job.values,
        batches=None if batches is None else in_own_batches(batches, job.own_batch),
        run_model=(lambda model, weights: evaluator.run_calibration(model, weights, job.config.batch_num))
        if job.format.runs_in_caffe
        else None,
        folder=folder,
        wanted=job.config.batch_num if data is None else data.wanted,
    )
    _LOG.info("calibration: %d blobs measured (%s)", len(found.histograms), found.source.value)
    return found


def _result(
    job: Job,
    preparation: Preparation,
    found: _Found,
    files: OutputFiles,
    notes: Sequence[str],
    seconds: tuple[float, float],
    options: SearchOptions,
    sources: tuple[Path, ...],
) -> NuqResult:
    outcome = found.outcome
    layers = layer_results(job.quantizer, outcome.plan, preparation.candidates.lossless)
    int8 = Plan.of((layer.name, layer.options[0].layer_plan) for layer in preparation.space.layers)
    told = list(notes)
    if outcome.reverted:
        told.append(
            f"{_why_float(outcome, options.objective)} these layers, which stay float: {', '.join(outcome.reverted)}"
        )
    if not outcome.best.accepted:
        told.append(
            "the evaluator accepts no plan that was found at the size demanded; this is the one with the nearest metric"
        )
    if options.forms is Forms.CODEBOOKS and not any(layer.precision is Precision.NUQ for layer in layers):
        told.append("no layer is compressed further than int8 at what was demanded")
    return NuqResult(
        plan=outcome.plan,
        original_metric=outcome.original,
        metric=outcome.metric,
        difference=found.interval,
        trials=outcome.trials,
        best=outcome.best,
        pareto=outcome.pareto,
        layers=layers,
        sizes=measure_sizes(job.graph, layers, layer_results(job.quantizer, int8, {})),
        files=files,
        calibration=preparation.source,
        reverted=outcome.reverted,
        folded=job.fold.folded,
        stopped_by=outcome.stopped_by,
        notes=tuple(told),
        seconds=seconds,
        journal=options.journal,
        model=PlannedModel(job, outcome.plan, tuple(told), sources),
    )


def _why_float(outcome: SearchOutcome, objective: Objective) -> str:
    if isinstance(objective, NearestMetric):
        return "the size has room for"
    if any(trial.accepted and not trial.float_layers for trial in outcome.trials):
        return "others can be stronger without"
    return "int8 was too coarse for"
