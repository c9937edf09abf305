"""The calls with typed arguments: a search, and quantization without one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from nuqconv.config import write_config
from nuqconv.data import DataSet, Preparation, open_data
from nuqconv.errors import ConfigError
from nuqconv.evaluators import BatchEvaluator
from nuqconv.formats import CAFFE, FORMATS, Model, ReadOptions, in_files, open_model
from nuqconv.formats.source import ModelFiles
from nuqconv.ir import Array
from nuqconv.job.asked import Config, calibration_batches, data_shapes, given_config
from nuqconv.job.checkpoint import journal_path
from nuqconv.job.choice import LayerForm, chosen_requests, configured_requests
from nuqconv.job.job import float_graph
from nuqconv.job.judging import Judge
from nuqconv.job.options import PrepareOptions, SearchOptions
from nuqconv.job.output_files import OutputFiles, model_name, output_prefix, record_path
from nuqconv.job.quantization import Quantized, quantize_model
from nuqconv.job.result import NuqResult
from nuqconv.job.run import search_model
from nuqconv.parallel import check_main_guard
from nuqconv.runtimes.base import Runtime
from nuqconv.runtimes.table import DEFAULT
from nuqconv.search.metrics import MetricFunction
from nuqconv.search.run import Progress, Trial

__all__ = ["auto", "quantize"]

_Prep = str | Path | Preparation | None
_BATCHES = 8
_DEFAULTS, _PREPARE = SearchOptions(), PrepareOptions()


def quantize(
    model: Model,
    layers: Mapping[str, LayerForm] | None = None,
    *,
    data: Any = None,
    prep: _Prep = None,
    config: Config | None = None,
    metric: str | MetricFunction | None = None,
    labels: Any = None,
    max_drop: float | None = None,
    max_error: float | None = None,
    evaluator: object | None = None,
    batch_num: int | None = None,
    batch_size: int = 32,
    activation_offset: bool = True,
    options: PrepareOptions = _PREPARE,
) -> Quantized:
    """Quantizes a model as it is told to, without a search.

    Args:
        model: A path, a pair of paths, or a graph.
        layers: For each layer the number of levels of its codebook (2 to 256), ``"int8"`` or ``"float"``; ``"*"`` stands for all that are not
            named, which are int8 otherwise. The device knows 16 and 32 levels only: with others no deploy model is written, which the notes say.
        data: Samples to calibrate on: whatever `nuqconv.data.open_data` takes. May be left out if an evaluator offers batches, or can run models that
            measure themselves.
        prep: What is done with a sample before the net sees it.
        config: A quantization configuration instead of ``layers``: NUQ layers get the ``num_steps`` that it says. One without NUQ layers is
            uniform int8.
        metric: Also measures the original and the result by this metric on all samples, with ``labels``; top1 where a limit is given.
        labels: Labels that stand apart from the samples.
        max_drop: Where more is better: how much may be lost. Whether that is met stands in the result (``accepted``).
        max_error: Where less is better: the largest value.
        evaluator: Measures the two instead of ``metric``, and says whether the result is good enough: any object with ``eval_model`` and
            ``is_satisfied``.
        batch_num: Batches to calibrate on; by default those of the configuration, else at most 8.
        batch_size: Samples in a batch.
        activation_offset: Whether activations may have an offset, where no configuration says it.
        options: Further choices of how integers are chosen.

    Returns:
        The quantized model: `run` runs it, `save` writes its files.

    Raises:
        FormatError, ModelError, UnsupportedError: The model cannot be read, is wrong, or is quantized already.
        ConfigError: The choice, the configuration or the data do not fit the model; all faults are listed.
        CalibrationError: Activation ranges could not be measured from the data.
        EvaluatorError: The evaluator raised, returned no finite number, or refuses the original model.
    """
    if layers is not None and config is not None:
        raise ConfigError("layers and config exclude each other: both say what each layer becomes")
    if evaluator is not None and any(item is not None for item in (metric, max_drop, max_error)):
        raise ConfigError("metric, max_drop and max_error exclude an evaluator of your own, which has its own demand")
    if data is None and evaluator is None and options.calibration_data is None:
        raise ConfigError("give data to calibrate on, or an evaluator")
    files = open_model(model)
    samples = None if data is None else open_data(data, prep, labels).for_net(files.inputs())
    shapes = dict(options.input_shapes) or data_shapes(files, samples, batch_size)
    source = files.read(ReadOptions(shapes))
    graph = float_graph(source)
    settings = given_config(config, graph, batch_num=batch_num or _BATCHES, activation_offset=activation_offset)
    notes: tuple[str, ...] = ()
    if config is not None:
        requests = configured_requests(settings, graph)
    else:
        requests, notes = chosen_requests(layers or {}, settings, graph)
    asked = batch_num or (settings.batch_num if config is not None else None)
    ranges = samples if options.calibration_data is None else options.calibration_data
    batches: Iterable[Mapping[str, Array]] | None
    if ranges is None or not isinstance(ranges, DataSet):
        batches = ranges
    else:
        batches = calibration_batches(ranges.for_net(files.inputs()), batch_size, settings.batch_num)
        there = -(-len(ranges) // batch_size)
        if asked is not None and there < asked:
            notes += (f"calibrated on {there} batches of {batch_size}, the data have no more; {asked} were asked for",)
    place = "the choice of layers" if config is None else _name(config)
    if not requests:
        raise ConfigError(f"{place}: no layer is to be quantized; choose at least one")
    demanding = any(item is not None for item in (evaluator, max_drop, max_error))
    with ExitStack() as stack:
        own = evaluator
        if own is None and (demanding or metric is not None):
            rule = {"max_drop": max_drop, "max_error": max_error} if demanding else {"satisfied": _any}
            own = stack.enter_context(_measure(files, samples, metric or "top1", batch_size, rule))
        judge = None
        if own is not None:
            inner = stack.enter_context(in_files(files))
            judge = Judge.of(own, inner, settings.batch_num, demanding=demanding)
        found = quantize_model(source, settings, requests, place, batches, options, judge)
    return replace(found, notes=(*notes, *found.notes))


def _measure(
    files: ModelFiles, samples: DataSet | None, metric: str | MetricFunction, batch_size: int, rule: Mapping[str, Any]
) -> BatchEvaluator:
    """Returns what measures a metric of a model and of what is made of it."""
    if samples is None:
        raise ConfigError("give data to measure the metric on")
    # What is written has the chosen layers only.
    how = replace(files.options, level=0, stages=frozenset())
    return BatchEvaluator(samples, metric=metric, batch_size=batch_size, read_options=how, **rule)


def auto(
    model: Model,
    *,
    data: Any = None,
    prep: _Prep = None,
    labels: Any = None,
    metric: str | MetricFunction = "top1",
    max_drop: float | None = None,
    max_error: float | None = None,
    evaluator: object | None = None,
    config: Config | None = None,
    levels: Sequence[int] | None = None,
    save: str | os.PathLike[str] | None = None,
    record: str | os.PathLike[str] | None = None,
    onnx: bool = False,
    outputs: tuple[str, ...] | None = None,
    runtime: str | Runtime = DEFAULT,
    batch_num: int = _BATCHES,
    batch_size: int = 32,
    on_step: Callable[[str, int, int], object] | None = None,
    on_trial: Callable[[Trial, Progress], object] | None = None,
    journal: str | os.PathLike[str] | bool | None = None,
    options: SearchOptions = _DEFAULTS,
) -> NuqResult:
    """Finds the strongest NUQ configuration that a demand allows; `nuqconv.auto_nuq` with typed arguments and no file that nobody wants.

    Args:
        model: A path, a pair of paths, or a graph.
        data: Samples to calibrate and to evaluate on: whatever `nuqconv.data.open_data` takes.
        prep: What is done with a sample before the net sees it.
        labels: Labels that stand apart from the samples.
        metric: What is measured, as in `BatchEvaluator`.
        max_drop: Where more is better: how much may be lost.
        max_error: Where less is better: the largest value.
        evaluator: Your own instead of ``metric`` and a limit; ``data`` then only calibrate, and may be left out if it offers batches.
        config: The quantization configuration: a JSON file, a mapping like its content, or a `QuantConfig`; None lets all be compressed that can be.
        levels: Codebook sizes that may be tried, each from 2 to 256; None for those that the configuration says, 32 and 16 without one. With a
            configuration they go before its ``num_steps``; which layers may have a codebook it says itself. The device knows 16 and 32: with others
            no deploy model is written, which the notes say.
        save: DIR/PREFIX of the files; None writes none, and `NuqResult.save` writes them later.
        record: Where to write the quantization factor record; by default beside the others.
        onnx: Whether to write ONNX models too.
        outputs: Names of the blobs to evaluate; the net's own outputs by default.
        runtime: Where models are evaluated.
        batch_num: Batches to calibrate on, where there is no configuration.
        batch_size: Samples in a batch.
        on_step: Called with what is being done, how many parts are done and how many there are. When it returns True the work ends with a
            `SearchError`.
        on_trial: Called after each trial with how far the search is. When it returns True the search ends, with the best trial so far.
        journal: Where the journal is kept; by default beside the files, and nowhere without them.
        options: Budget, objective, strategy, workers and so on.

    Returns:
        The result, as of `nuqconv.auto_nuq`.

    Raises:
        NuqconvError: As in `nuqconv.auto_nuq`.
    """
    check_main_guard()
    if evaluator is not None and (max_drop is not None or max_error is not None):
        raise ConfigError("max_drop and max_error go with metric; an evaluator of your own has its own demand")
    if evaluator is None and data is None:
        raise ConfigError("give data to evaluate on, or an evaluator")
    files = open_model(model)
    samples = None if data is None else open_data(data, prep, labels).for_net(files.inputs())
    shapes = dict(options.prepare.input_shapes) or data_shapes(files, samples, batch_size)
    settings = given_config(config, float_graph(files.read(ReadOptions(shapes))), batch_num=batch_num)
    ranges = None
    if evaluator is not None and samples is not None:
        ranges = list(calibration_batches(samples, batch_size, settings.batch_num))
    prepare = replace(options.prepare, input_shapes=shapes, on_step=on_step or options.prepare.on_step)
    if ranges is not None:
        prepare = replace(prepare, calibration_data=ranges)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nuqconv-")))
        judge = evaluator
        if samples is not None and evaluator is None:
            judge = stack.enter_context(
                BatchEvaluator(
                    samples,
                    metric=metric,
                    max_drop=max_drop,
                    max_error=max_error,
                    outputs=outputs,
                    batch_size=batch_size,
                    runtime=runtime,
                )
            )
        inner = stack.enter_context(in_files(files))
        written, place = _targets(files, folder, save, record, journal, onnx=onnx)
        sizes = options.levels if levels is None else levels
        asked = replace(options, prepare=prepare, on_trial=on_trial or options.on_trial, journal=place, levels=sizes)
        asked.check()
        path = _config_file(config, settings, folder)
        return search_model(inner, judge, path, written, asked, save=save is not None)


def _targets(
    model: ModelFiles,
    folder: Path,
    save: str | os.PathLike[str] | None,
    record: str | os.PathLike[str] | None,
    journal: str | os.PathLike[str] | bool | None,
    *,
    onnx: bool,
) -> tuple[OutputFiles, Path | None]:
    """Returns the files of a search and its journal; without `save` the files are names only."""
    if save is None and (record is not None or journal is True):
        raise ConfigError(
            "record and journal=True belong to the files that save names; give save, or a path for the journal"
        )
    prefix = folder / "model" if save is None else output_prefix(save, model_name(model.paths, model.format))
    kept = (save is not None) if journal is None else journal
    written = [entry for entry in FORMATS if onnx or entry in (CAFFE, model.format)]
    files = OutputFiles.for_prefix(prefix, record_path(prefix) if record is None else Path(record), written)
    return files, journal_path(kept, prefix)


def _config_file(config: Config | None, settings: Any, folder: Path) -> Path:
    """Returns the configuration's file; of one that is in memory a temporary one."""
    if isinstance(config, str | os.PathLike):
        return Path(config)
    path = folder / "config.json"
    write_config(settings, path)
    return path


def _name(config: Config) -> str:
    return str(config) if isinstance(config, str | os.PathLike) else "the configuration"


def _any(original: float, new: float) -> bool:
    del original, new
    return True
