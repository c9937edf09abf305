"""The main job: the strongest non-uniform quantization that an evaluator still accepts, and the files for it.

``nuqconv.auto_nuq`` is this module and can be called like the function of the same name.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from nuqconv.errors import ConfigError
from nuqconv.evaluators.identity import batches_digest
from nuqconv.files.staging import check_targets, staging_folder
from nuqconv.formats import CAFFE, FORMATS, Model, ReadOptions, open_model, shared
from nuqconv.ir import Array
from nuqconv.job.about import Budget
from nuqconv.job.calibration import Calibration, Source, calibrate
from nuqconv.job.certainty import metric_interval
from nuqconv.job.checkpoint import OnMismatch, journal_path, open_journal, prepared, search_identity
from nuqconv.job.closing import CalibrationInputs, describe_run, errors_of
from nuqconv.job.evaluation import Original, WorkerOptions, evaluation
from nuqconv.job.job import Job, TimedEvaluator, read_job
from nuqconv.job.network_facts import network_facts
from nuqconv.job.notebook import note_network, note_result, note_run
from nuqconv.job.outputs import output_prefix, without_caffe, without_ranges, write_outputs
from nuqconv.job.picture import sheet_of
from nuqconv.job.preparation import Preparation, prepare
from nuqconv.job.progress import job_progress
from nuqconv.job.result import NuqResult, OutputFiles, layer_results, measure_sizes
from nuqconv.parallel import check_main_guard
from nuqconv.quantize.compensate import WeightMethod
from nuqconv.quantize.plan import Plan, Precision
from nuqconv.search.evaluator import AutoNuqEvaluatorBase, CheckedEvaluator
from nuqconv.search.metrics import Interval
from nuqconv.search.objective import NearestMetric, Objective, SmallestBytes
from nuqconv.search.run import DEFAULT_MAX_EVALUATIONS, SearchOutcome, check_budget, run_search
from nuqconv.search.strategies import StrategyChoice, check_strategy, make_strategy, strategy_name

__all__ = ["AutoNuqEvaluatorBase", "auto_nuq"]

_LOG = logging.getLogger(__name__)

DEFAULT_METHOD = WeightMethod()
SMALLEST = SmallestBytes()
OnCrash = Literal["stop", "refuse"]
ON_CRASH: tuple[OnCrash, ...] = get_args(OnCrash)


def auto_nuq(
    model_file: Model,
    weights_file: str | os.PathLike[str] | None,
    nuq_evaluator: object,
    config_file: str | os.PathLike[str],
    scale_offset_record_file: str | os.PathLike[str],
    save_dir: str | os.PathLike[str],
    *,
    max_evaluations: int | None = DEFAULT_MAX_EVALUATIONS,
    timeout: float | None = None,
    calibration_data: Iterable[Mapping[str, Array]] | None = None,
    progress: bool | None = None,
    patience: int | None = None,
    journal: str | os.PathLike[str] | bool = True,
    on_mismatch: OnMismatch = "refuse",
    workers: int | None = None,
    executor: Executor | Callable[[], Executor] | None = None,
    parallel: int | None = None,
    trial_timeout: float | None = None,
    retries: int = 2,
    memory_limit: int | None = None,
    on_crash: OnCrash = "stop",
    weight_method: WeightMethod | None = DEFAULT_METHOD,
    importance: Mapping[str, Array] | None = None,
    objective: Objective = SMALLEST,
    strategy: StrategyChoice = "path",
    onnx: bool = False,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> NuqResult:
    """Finds the strongest NUQ configuration that the evaluator accepts, and writes the models and record files.

    The original model is evaluated first. Then activation ranges are measured: from ``calibration_data`` or the evaluator's
    ``calibration_batches`` in onnxruntime, else by letting the evaluator run a model with sink layers in its own Caffe; where neither is
    possible only weights are quantized, which the log and the result's notes say. Uniform int8 comes first, then layers get codebooks
    of 32 and 16 levels in the order of predicted loss per saved byte. What is returned is always a plan that the evaluator accepted, unless
    a size is demanded that no accepted plan was found for: then the one with the nearest metric, which the result's notes say.

    All that is found out is kept in a journal beside the outputs. A run that was stopped at any moment is started again by the same call: it
    repeats no finished evaluation and ends with the same files.

    Args:
        model_file: The .prototxt of the trained model, or an .onnx model; what `nuqconv.formats.open_model` returned is not read again.
        weights_file: Its .caffemodel; None for an ONNX model. The evaluator of an ONNX model is given .onnx files, the same path twice.
        nuq_evaluator: Derived from `AutoNuqEvaluatorBase`, or any object with its methods.
        config_file: Quantization configuration as `create_quant_config` writes it.
        scale_offset_record_file: Where to write the quantization factor record.
        save_dir: DIR/PREFIX of the other files; they are called DIR/PREFIX_fake_quant_model.prototxt and so on. In a folder that is there, or
            behind a / at the end, PREFIX is the name of the model file without its ending.
        max_evaluations: Most quantized models that the evaluator is asked about; None for any number.
        timeout: Seconds after which no further evaluation is begun.
        calibration_data: Batches of inputs (blob name -> float32 array) to calibrate on.
        progress: Whether to show a progress bar; None shows it on a terminal.
        patience: Evaluations without a better result after which the search ends; None for any number.
        journal: Where the journal is kept; True is DIR/PREFIX_trials.sqlite, False keeps none.
        on_mismatch: What to do with the journal of another model, configuration, evaluator or other data: ``"refuse"`` it, or ``"restart"``, which
            keeps it as NAME.1 and begins a new one.
        workers: Evaluate plans in this many processes on this machine; None evaluates them here, one after the other.
        executor: Evaluate plans there instead: any `concurrent.futures.Executor`, on other machines too, or a function that makes one.
        parallel: How many plans to evaluate at once; None is as many as there are workers.
        trial_timeout: Seconds after which an evaluation in a worker is begun again elsewhere; None for any time.
        retries: How often a trial is tried again whose worker has died or hung, or the child process of an evaluator that has ``isolate``.
        memory_limit: Bytes of memory that each of the ``workers`` may have; None for any number.
        on_crash: What becomes of a trial that ends or blocks its process at every try: ``"stop"`` raises an error, and the same call goes on
            later; ``"refuse"`` counts it as refused by the evaluator, which the result's notes say.
        weight_method: How the weights of NUQ layers are chosen; None puts each on the nearest level.
        importance: For some layers a weight >= 0 for each of their weights after folding, such as `nuqconv.fisher.fisher_weights` gives.
        objective: `SmallestBytes`, with ``max_layers`` if at most so many layers may have a codebook; or `NearestMetric` with ``max_bytes``,
            for the best metric that all parameters of the model can have in so many bytes.
        strategy: A name in `nuqconv.search.strategies.STRATEGIES`; or one of your own: an object with the methods of
            `nuqconv.search.strategies.Strategy`, or a class or function that makes one from (space, objective, original metric).
        onnx: Whether to write ONNX models too: fake_quant, QDQ, and one whose NUQ weights are packed; they are always written for an ONNX model.
        input_shapes: Shapes for inputs by name, instead of the file's; needed for ONNX inputs with open sizes other than the batch.

    Returns:
        The plan, its metric, every trial, sizes and the paths of the files.

    Raises:
        FormatError, ModelError, UnsupportedError: The model cannot be read, is wrong, or is quantized already.
        ConfigError: The configuration is wrong or lets nothing be quantized.
        EvaluatorError: The evaluator raised, returned no finite number, or refuses the original model itself.
        CalibrationError: Activation ranges could not be measured from the data given.
        SearchError: No quantized model was accepted, ``best`` is the trial that came nearest; or none can be as small as demanded. Nothing
            was written.
        JournalError: The journal is of another search, in use, damaged, or cannot be written.
        OutputError: The outputs cannot be written. The earlier ones are as they were.
    """
    check_main_guard()
    start = time.monotonic()
    check_budget(max_evaluations, timeout, patience)
    check_strategy(strategy)
    options = WorkerOptions(workers, executor, parallel, trial_timeout, retries, memory_limit)
    options.check()
    _check_on_crash(on_crash)
    lost: list[str] = []
    evaluator = TimedEvaluator(CheckedEvaluator(nuq_evaluator))
    model = open_model(model_file, weights_file)
    prefix = output_prefix(save_dir, model)
    written = [entry for entry in FORMATS if onnx or entry in (CAFFE, model.format)]
    files = OutputFiles.for_prefix(prefix, Path(scale_offset_record_file), written)
    place = journal_path(journal, prefix)
    sources = {"model": model.model, "weights": model.weights, "configuration": Path(config_file)}
    check_targets([*files.present().values(), *([place] if place else [])], inputs=sources.values())
    job = read_job(model.read(ReadOptions(input_shapes or {})), sources["configuration"])
    files, caffe_notes = (files, ()) if job.format is CAFFE else without_caffe(files, job.graph)
    batch_num = evaluator.checked.evaluate_batch_num(job.config.batch_num)
    data = None if calibration_data is None else list(calibration_data)
    inputs = CalibrationInputs(evaluator.checked, job.config.batch_num, data)

    def identity() -> dict[str, str]:
        batches = {"calibration batches": job.config.batch_num, "evaluation batches": batch_num}
        choices = {"weights": "nearest" if weight_method is None else weight_method.key()}
        if input_shapes:
            choices["input shapes"] = "; ".join(f"{name} {list(shape)}" for name, shape in sorted(input_shapes.items()))
        if importance is not None:
            choices["importance"] = batches_digest([importance])
        return search_identity(sources, nuq_evaluator, batches, data, choices)

    with (
        open_journal(place, identity, on_mismatch) as log,
        staging_folder(files.nuq_layer_record, *files.present().values()) as staging,
        job_progress(show=progress) as shown,
    ):
        with shared(model):
            original = Original(evaluator, sources, batch_num, log)
        model.forget()
        about = describe_run(
            job, original, sources, objective, strategy_name(strategy), Budget(max_evaluations, timeout, patience)
        )
        picture = note_run(log, about, sheet_of(getattr(nuq_evaluator, "data", None)))
        preparation = prepared(
            job,
            log,
            lambda: prepare(
                job,
                inputs.keep(_calibrate(job, original, data, staging)),
                method=weight_method,
                importance=importance,
                on_step=shown.on_step,
            ),
        )
        network = note_network(log, network_facts(job, preparation.space))
        chooser = make_strategy(strategy, preparation.space, objective, original.metric)
        with evaluation(job, original, files, staging, options) as evaluate:
            outcome = run_search(
                preparation.space,
                evaluate=evaluate.evaluate,
                submit=evaluate.submit,
                parallel=evaluate.parallel,
                satisfied=lambda metric: evaluator.checked.satisfied(original.metric, metric),
                original=original.metric,
                journal=log,
                objective=objective,
                strategy=chooser,
                max_evaluations=max_evaluations,
                timeout=timeout,
                patience=patience,
                on_trial=shown.on_trial,
                on_lost=lost.append if on_crash == "refuse" else None,
            )
            interval, doubts = metric_interval(original, outcome.plan, evaluate.write, log)
        notes = (*caffe_notes, *preparation.notes, *doubts, *(f"counted as refused: {words}" for words in lost))
        if preparation.source is Source.NONE:
            files, stale = without_ranges(files)
            notes += stale
        write_outputs(job, outcome.plan, files, staging)
        errors = errors_of(job, outcome.plan, inputs, shown.on_step)
        seconds = (time.monotonic() - start, evaluator.seconds)
        result = replace(
            _result(job, preparation, outcome, files, notes, seconds, place, objective, interval),
            about=about,
            network=network,
            errors=errors,
            picture=picture,
        )
        note_result(log, result.document())
    return result


def _check_on_crash(on_crash: str) -> None:
    if on_crash not in ON_CRASH:
        raise ConfigError(f"on_crash must be {' or '.join(map(repr, ON_CRASH))}, found {on_crash!r}")


def _calibrate(job: Job, original: Original, data: Iterable[Mapping[str, Array]] | None, staging: Path) -> Calibration:
    evaluator = original.show()
    batches = evaluator.checked.calibration_batches(job.config.batch_num) if data is None else data
    folder = staging / "calibration"
    folder.mkdir()
    found = calibrate(
        job.graph,
        job.values,
        batches=batches,
        run_model=(lambda model, weights: evaluator.measure(model, weights, job.config.batch_num))
        if job.format.runs_in_caffe
        else None,
        folder=folder,
    )
    _LOG.info("calibration: %d blobs measured (%s)", len(found.histograms), found.source.value)
    return found


def _result(
    job: Job,
    preparation: Preparation,
    outcome: SearchOutcome,
    files: OutputFiles,
    notes: tuple[str, ...],
    seconds: tuple[float, float],
    journal: Path | None,
    objective: Objective,
    difference: Interval | None,
) -> NuqResult:
    layers = layer_results(job.quantizer, outcome.plan, preparation.candidates.lossless)
    int8 = Plan.of((layer.name, layer.options[0].layer_plan) for layer in preparation.space.layers)
    found = list(notes)
    if outcome.reverted:
        found.append(f"{_why_float(outcome, objective)} these layers, which stay float: {', '.join(outcome.reverted)}")
    if not outcome.best.accepted:
        found.append(
            "the evaluator accepts no plan that was found at the size demanded; this is the one with the nearest metric"
        )
    if not any(layer.precision is Precision.NUQ for layer in layers):
        found.append("no layer is compressed further than int8 at what was demanded")
    return NuqResult(
        plan=outcome.plan,
        original_metric=outcome.original,
        metric=outcome.metric,
        difference=difference,
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
        notes=tuple(found),
        seconds=seconds,
        journal=journal,
    )


def _why_float(outcome: SearchOutcome, objective: Objective) -> str:
    if isinstance(objective, NearestMetric):
        return "the size has room for"
    if any(trial.accepted and not trial.float_layers for trial in outcome.trials):
        return "others can be stronger without"
    return "int8 was too coarse for"


class _CallableModule(ModuleType):
    """Lets ``nuqconv.auto_nuq(...)`` and ``nuqconv.auto_nuq.AutoNuqEvaluatorBase`` both work, as in the product it follows."""

    def __call__(self, *args: Any, **kwargs: Any) -> NuqResult:
        return auto_nuq(*args, **kwargs)


__signature__ = inspect.signature(auto_nuq)
sys.modules[__name__].__class__ = _CallableModule
