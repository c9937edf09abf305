"""Quantization without a search: every layer becomes what was chosen for it."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nuqconv.config import QuantConfig
from nuqconv.errors import ConfigError
from nuqconv.formats import CAFFE, FORMATS
from nuqconv.formats.source import SourceModel
from nuqconv.ir import Array
from nuqconv.job.calibration import Calibration, Source, calibrate, in_own_batches
from nuqconv.job.candidates import LayerRequest
from nuqconv.job.device_notes import device_notes
from nuqconv.job.interruption import script_log
from nuqconv.job.job import Job, make_job
from nuqconv.job.judging import Judge
from nuqconv.job.options import PrepareOptions
from nuqconv.job.output_files import OutputFiles
from nuqconv.job.outputs import fitting_files
from nuqconv.job.planned import PlannedModel
from nuqconv.job.preparation import prepare
from nuqconv.job.progress import job_progress
from nuqconv.job.refinement import in_sequence
from nuqconv.job.result import LayerResult, Sizes, layer_results, measure_sizes
from nuqconv.quantize.plan import Plan, Precision
from nuqconv.search.evaluator_facts import EvaluatorFacts

__all__ = ["Quantized", "quantize_model", "quantized_by"]


@dataclass(frozen=True)
class Quantized:
    """A quantized model.

    Attributes:
        plan: What happens to each layer.
        layers: What became of each layer with weights.
        sizes: Sizes before and after.
        calibration: Where activation ranges came from.
        folded: For each layer, the layers that were folded into it.
        notes: What the user should know.
        seconds: Duration of the quantization.
        original_metric: An evaluator's number for the original model, if one was asked.
        metric: Its number for this one.
        accepted: Whether that is as good as was demanded; None where nothing was.
        facts: What the evaluator measures and demands, and on which data.
        model: The model: what `run` and `save` work on.
    """

    plan: Plan
    layers: tuple[LayerResult, ...]
    sizes: Sizes
    calibration: Source
    folded: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    seconds: float
    original_metric: float | None = None
    metric: float | None = None
    accepted: bool | None = None
    facts: EvaluatorFacts | None = field(default=None, repr=False)
    model: PlannedModel = field(kw_only=True, repr=False, compare=False)

    def __repr__(self) -> str:
        counts = Counter(layer.precision.value for layer in self.layers)
        forms = ", ".join(f"{counts[precision.value]} {precision.value}" for precision in reversed(Precision))
        verdict = {None: "", True: " (accepted)", False: " (refused)"}[self.accepted]
        metric = "" if self.metric is None else f"metric {self.metric:.6g} of {self.original_metric:.6g}{verdict}, "
        return f"<Quantized {metric}{self.sizes.bytes:,} of {self.sizes.float_bytes:,} bytes, layers with weights: {forms}>"

    def run(self, inputs: Mapping[str, Array] | Array) -> dict[str, Array]:
        """Runs the quantized network in onnxruntime; see `PlannedModel.run`."""
        return self.model.run(inputs)

    def save(self, save_dir: str | os.PathLike[str], **options: Any) -> OutputFiles:
        """Writes the models and record files; see `PlannedModel.save`."""
        return self.model.save(save_dir, **options)


def quantize_model(
    source: SourceModel,
    config: QuantConfig,
    requests: Sequence[LayerRequest],
    place: str,
    batches: Iterable[Mapping[str, Array]] | None,
    options: PrepareOptions,
    judge: Judge | None = None,
) -> Quantized:
    """Makes of every layer what is requested for it.

    Args:
        source: The float model.
        config: Its configuration.
        requests: For each layer to quantize its only form: one number of steps, or none for int8.
        place: Where the configuration stands, for messages.
        batches: Inputs to calibrate on, which are read once; None for those of the evaluator, if it has any.
        options: How integers are chosen.
        judge: Measures the result.

    Raises:
        ConfigError: No layer can be quantized, or there is nothing to calibrate on.
        CalibrationError: Activation ranges could not be measured.
        EvaluatorError: The evaluator raised or returned no finite number.
        QuantizationError: A layer's bias or sums exceed int32.
    """
    start = time.monotonic()
    job = make_job(source, config, tuple(requests), place)
    with script_log(), tempfile.TemporaryDirectory(prefix="nuqconv-") as folder:
        found = quantized_by(job, _calibrated(job, batches, judge, Path(folder)), source.files, options)
    found = replace(found, seconds=time.monotonic() - start)
    if judge is None:
        return found
    said = judge.verdict(found.model)
    return replace(found, original_metric=said.original, metric=said.metric, accepted=said.accepted, facts=said.facts)


def _calibrated(
    job: Job, batches: Iterable[Mapping[str, Array]] | None, judge: Judge | None, folder: Path
) -> Calibration:
    if batches is not None:
        given = in_own_batches(batches, job.own_batch)
        return calibrate(job.graph, job.values, batches=given, run_model=None, folder=folder)
    if judge is None:
        raise ConfigError("give data to calibrate on, or an evaluator")
    count = job.config.batch_num
    own = judge.batches(count)
    return calibrate(
        job.graph,
        job.values,
        batches=None if own is None else in_own_batches(own, job.own_batch),
        run_model=judge.runner(count) if job.format.runs_in_caffe else None,
        folder=folder,
        wanted=count,
    )


def quantized_by(job: Job, calibration: Calibration, sources: Sequence[Path], options: PrepareOptions) -> Quantized:
    """Makes of every layer the strongest that is requested for it, by what was measured.

    Args:
        job: The model.
        calibration: What was measured.
        sources: The files that the model was read from.
        options: How integers are chosen.
    """
    start = time.monotonic()
    with job_progress(show=options.progress) as shown:
        preparation = prepare(
            job,
            calibration,
            method=options.weight_method,
            importance=options.importance,
            # Which layer matters more is a question of searches.
            measured_loss=False,
            weights_only=options.weights_only,
            on_step=options.stepper(shown),
        )
        plan = Plan.of((layer.name, layer.options[-1].layer_plan) for layer in preparation.space.layers)
        if options.sequential and options.weight_method is not None and calibration.batches:
            plan = in_sequence(job, plan, calibration.batches, options.weight_method, options.stepper(shown))
    int8 = Plan.of((layer.name, layer.options[0].layer_plan) for layer in preparation.space.layers)
    layers = layer_results(job.quantizer, plan, preparation.candidates.lossless)
    # What cannot be written is known before anything is.
    nominal = OutputFiles.for_prefix("model", "record", [entry for entry in FORMATS if entry in (CAFFE, job.format)])
    fitting, more = fitting_files(nominal, job, plan)
    notes = (*preparation.notes, *more, *device_notes(job, plan, fitting))
    return Quantized(
        plan,
        layers,
        measure_sizes(job.graph, layers, layer_results(job.quantizer, int8, {})),
        preparation.source,
        job.fold.folded,
        notes,
        time.monotonic() - start,
        model=PlannedModel(job, plan, notes, tuple(sources)),
    )
