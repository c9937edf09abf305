"""The main job: the strongest non-uniform quantization that an evaluator still accepts, and the files for it.

``nuqconv.auto_nuq`` is this module and can be called like the function of the same name.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from nuqconv.backends.caffe import Style, write_caffe
from nuqconv.backends.caffe.record import information_text, nuq_layers_text, record_text
from nuqconv.calibrate import Calibration, Source, calibrate
from nuqconv.candidates import Candidates, activation_quants, find_candidates
from nuqconv.errors import ConfigError
from nuqconv.ir import Array
from nuqconv.job import Job, TimedEvaluator, read_job
from nuqconv.progress import trial_progress
from nuqconv.quantize.plan import Plan, Precision
from nuqconv.result import NuqResult, OutputFiles, layer_results, measure_sizes
from nuqconv.search.evaluator import AutoNuqEvaluatorBase, CheckedEvaluator
from nuqconv.search.trials import DEFAULT_MAX_EVALUATIONS, SearchOutcome, check_budget, run_search
from nuqconv.staging import check_targets, move_into_place, staging_folder

__all__ = ["AutoNuqEvaluatorBase", "auto_nuq"]

_LOG = logging.getLogger(__name__)


def auto_nuq(
    model_file: str | os.PathLike[str],
    weights_file: str | os.PathLike[str],
    nuq_evaluator: object,
    config_file: str | os.PathLike[str],
    scale_offset_record_file: str | os.PathLike[str],
    save_dir: str | os.PathLike[str],
    *,
    max_evaluations: int | None = DEFAULT_MAX_EVALUATIONS,
    timeout: float | None = None,
    calibration_data: Iterable[Mapping[str, Array]] | None = None,
    progress: bool | None = None,
) -> NuqResult:
    """Finds the strongest NUQ configuration that the evaluator accepts, and writes the models and record files.

    The original model is evaluated first. Then activation ranges are measured: from ``calibration_data`` or the evaluator's
    ``calibration_batches`` in onnxruntime, else by letting the evaluator run a model with sink layers in its own Caffe; where neither is
    possible only weights are quantized, which the log and the result's notes say. Uniform int8 comes first, then layers get codebooks
    of 32 and 16 levels in the order of predicted loss per saved byte. What is returned is always a plan that the evaluator accepted.

    Args:
        model_file: The .prototxt of the trained model.
        weights_file: Its .caffemodel.
        nuq_evaluator: Derived from `AutoNuqEvaluatorBase`, or any object with its methods.
        config_file: Quantization configuration as `create_quant_config` writes it.
        scale_offset_record_file: Where to write the quantization factor record.
        save_dir: DIR/PREFIX of the other files; they are called DIR/PREFIX_fake_quant_model.prototxt and so on.
        max_evaluations: Most quantized models that the evaluator is asked about; None for any number.
        timeout: Seconds after which no further evaluation is begun.
        calibration_data: Batches of inputs (blob name -> float32 array) to calibrate on.
        progress: Whether to show a progress bar; None shows it on a terminal.

    Returns:
        The plan, its metric, every trial, sizes and the paths of the files.

    Raises:
        FormatError, ModelError, UnsupportedError: The model cannot be read, is wrong, or is quantized already.
        ConfigError: The configuration is wrong or lets nothing be quantized.
        EvaluatorError: The evaluator raised, returned no finite number, or refuses the original model itself.
        CalibrationError: Activation ranges could not be measured from the data given.
        SearchError: No quantized model was accepted; ``best`` is the trial that came nearest. Nothing was written.
        OutputError: The outputs cannot be written. The earlier ones are as they were.
    """
    start = time.monotonic()
    check_budget(max_evaluations, timeout)
    evaluator = TimedEvaluator(CheckedEvaluator(nuq_evaluator))
    files = OutputFiles.for_prefix(_prefix(save_dir), Path(scale_offset_record_file))
    check_targets(files.present().values(), inputs=[Path(path) for path in (model_file, weights_file, config_file)])
    job = read_job(Path(model_file), Path(weights_file), Path(config_file))
    batch_num = evaluator.checked.evaluate_batch_num(job.config.batch_num)
    original = evaluator.baseline(model_file, weights_file, batch_num)
    _LOG.info("original model: metric %.6g", original)
    with staging_folder(files.fake_quant_model) as staging:
        calibration = _calibrate(job, evaluator, calibration_data, staging)
        candidates = _candidates(job, calibration)
        outcome = _search(
            job, evaluator, candidates, files, staging, batch_num, original, (max_evaluations, timeout), progress
        )
        if calibration.source is Source.NONE:
            files, stale = _without_deploy(files)
            calibration = replace(calibration, notes=(*calibration.notes, *stale))
        _write(job, outcome.plan, files, staging)
    return _result(job, calibration, candidates, outcome, files, (time.monotonic() - start, evaluator.seconds))


def _prefix(save_dir: str | os.PathLike[str]) -> Path:
    text = os.fspath(save_dir)
    if not text or text.endswith(("/", os.sep)):
        raise ConfigError(
            f"save_dir '{text}' must be DIR/PREFIX: the files are called PREFIX_fake_quant_model.prototxt and so on"
        )
    return Path(text)


def _calibrate(
    job: Job, evaluator: TimedEvaluator, data: Iterable[Mapping[str, Array]] | None, staging: Path
) -> Calibration:
    batches = evaluator.checked.calibration_batches(job.config.batch_num) if data is None else data
    folder = staging / "calibration"
    folder.mkdir()
    found = calibrate(
        job.graph,
        job.values,
        batches=batches,
        run_model=lambda model, weights: evaluator.measure(model, weights, job.config.batch_num),
        folder=folder,
    )
    _LOG.info("calibration: %d blobs measured (%s)", len(found.histograms), found.source.value)
    return found


def _candidates(job: Job, calibration: Calibration) -> Candidates:
    activations = {}
    if calibration.source is not Source.NONE:
        activations = activation_quants(
            job.quantizer, job.requests, calibration.histograms, with_offset=job.config.activation_offset
        )
    return find_candidates(job.quantizer, job.requests, activations, calibration.histograms)


def _search(
    job: Job,
    evaluator: TimedEvaluator,
    candidates: Candidates,
    files: OutputFiles,
    staging: Path,
    batch_num: int,
    original: float,
    budget: tuple[int | None, float | None],
    progress: bool | None,
) -> SearchOutcome:
    trial = staging / "trial"
    trial.mkdir()
    model, weights = trial / files.fake_quant_model.name, trial / files.fake_quant_weights.name

    def evaluate(plan: Plan) -> float:
        for path in (model, weights):
            # A new file each time: the evaluator may still hold the last one open.
            path.unlink(missing_ok=True)
        write_caffe(job.quantizer.apply(plan), model, weights)
        return evaluator.measure(model, weights, batch_num)

    with trial_progress(show=progress) as on_trial:
        return run_search(
            candidates.space,
            evaluate=evaluate,
            satisfied=lambda metric: evaluator.checked.satisfied(original, metric),
            original=original,
            max_evaluations=budget[0],
            timeout=budget[1],
            on_trial=on_trial,
        )


def _without_deploy(files: OutputFiles) -> tuple[OutputFiles, list[str]]:
    """Takes away the files that a weight-only result does not have, and says which of them an earlier run has left."""
    left = replace(files, deploy_model=None, deploy_weights=None, scale_offset_record=None)
    stale = [str(path) for name, path in files.present().items() if name not in left.present() and path.exists()]
    notes = (
        [f"these files of an earlier run do not belong to this weight-only result: {', '.join(stale)}"] if stale else []
    )
    for note in notes:
        _LOG.warning("%s", note)
    return left, notes


def _write(job: Job, plan: Plan, files: OutputFiles, staging: Path) -> None:
    finished = staging / "finished"
    finished.mkdir()
    staged = {name: finished / name for name in files.present()}
    quantized = job.quantizer.apply(plan)
    write_caffe(quantized, staged["fake_quant_model"], staged["fake_quant_weights"])
    texts: dict[str, Callable[[], str]] = {
        "nuq_layer_record": lambda: nuq_layers_text(plan),
        "quant_info": lambda: information_text(quantized, job.fold.folded),
        "scale_offset_record": lambda: record_text(job.quantizer, plan, frozenset(job.config.skip_fusion_layers)),
    }
    for name, make in texts.items():
        if name in staged:
            staged[name].write_text(make(), encoding="utf-8", newline="\n")
    if "deploy_model" in staged:
        write_caffe(quantized, staged["deploy_model"], staged["deploy_weights"], Style.DEPLOY)
    move_into_place({path: staged[name] for name, path in files.present().items()})


def _result(
    job: Job,
    calibration: Calibration,
    candidates: Candidates,
    outcome: SearchOutcome,
    files: OutputFiles,
    seconds: tuple[float, float],
) -> NuqResult:
    layers = layer_results(job.quantizer, outcome.plan, candidates.lossless)
    int8 = Plan.of((layer.name, layer.options[0].layer_plan) for layer in candidates.space.layers)
    notes = list(calibration.notes)
    if outcome.reverted:
        notes.append(f"int8 was too coarse for these layers, which stay float: {', '.join(outcome.reverted)}")
    if not any(layer.precision is Precision.NUQ for layer in layers):
        notes.append("no layer could be compressed further than int8 at the accuracy demanded")
    return NuqResult(
        plan=outcome.plan,
        original_metric=outcome.original,
        metric=outcome.metric,
        trials=outcome.trials,
        layers=layers,
        sizes=measure_sizes(job.graph, layers, layer_results(job.quantizer, int8, {})),
        files=files,
        calibration=calibration.source,
        reverted=outcome.reverted,
        folded=job.fold.folded,
        stopped_by=outcome.stopped_by,
        notes=tuple(notes),
        seconds=seconds,
    )


class _CallableModule(ModuleType):
    """Lets ``nuqconv.auto_nuq(...)`` and ``nuqconv.auto_nuq.AutoNuqEvaluatorBase`` both work, as in the product it follows."""

    def __call__(self, *args: Any, **kwargs: Any) -> NuqResult:
        return auto_nuq(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
