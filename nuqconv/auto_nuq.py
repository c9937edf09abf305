"""The main job: the strongest non-uniform quantization that an evaluator still accepts, and the files for it.

``nuqconv.auto_nuq`` is this module and can be called like the function of the same name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

from nuqconv.callable_module import make_callable
from nuqconv.data import DataSet
from nuqconv.formats import CAFFE, FORMATS, Model, ReadOptions, open_model
from nuqconv.ir import Array
from nuqconv.job.about import Budget
from nuqconv.job.checkpoint import OnMismatch, journal_path
from nuqconv.job.evaluation import WorkerOptions
from nuqconv.job.options import DEFAULT_METHOD, ON_CRASH, SMALLEST, OnCrash, PrepareOptions, SearchOptions
from nuqconv.job.output_files import OutputFiles, model_name, output_prefix
from nuqconv.job.result import NuqResult
from nuqconv.job.run import search_model
from nuqconv.parallel import check_main_guard
from nuqconv.quantize.compensate import WeightMethod
from nuqconv.search.evaluator import AutoNuqEvaluatorBase
from nuqconv.search.objective import Objective
from nuqconv.search.run import DEFAULT_MAX_EVALUATIONS
from nuqconv.search.strategies import StrategyChoice

__all__ = ["ON_CRASH", "AutoNuqEvaluatorBase", "auto_nuq"]


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
    calibration_data: Iterable[Mapping[str, Array]] | DataSet | None = None,
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
    equalize: bool = True,
    sequential: bool = False,
    weights_only: bool = False,
    importance: Mapping[str, Array] | None = None,
    levels: Sequence[int] | None = None,
    objective: Objective = SMALLEST,
    strategy: StrategyChoice = "path",
    onnx: bool = False,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    read_options: ReadOptions | None = None,
) -> NuqResult:
    """Finds the strongest NUQ configuration that the evaluator accepts, and writes the models and record files.

    The original model is evaluated first. Then activation ranges are measured: from ``calibration_data`` or the evaluator's
    ``calibration_batches`` in onnxruntime, else by letting the evaluator run a model with sink layers in its own Caffe; where neither is
    possible only weights are quantized, which the log and the result's notes say. Uniform int8 comes first, then layers get codebooks of 32 and
    16 levels, or of those that ``levels`` says, in the order of predicted loss per saved byte. What is returned is always a plan that the
    evaluator accepted, unless a size is demanded that no accepted plan was found for: then the one with the nearest metric, which the result's
    notes say.

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
        calibration_data: Batches of inputs (blob name -> float32 array) to calibrate on, or a `nuqconv.data.DataSet`, of which the configuration's
            ``batch_num`` batches are taken.
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
        weight_method: How the weights of layers are chosen; None puts each on the nearest level.
        equalize: Whether channels of inner blobs may be divided by powers of two, so that one step size suits them all. It is done where the
            evaluator finds all layers at int8 no worse with it; the network's outputs stay the same to the bit.
        sequential: Whether the plan that is found is evaluated once more with integers that are chosen layer after layer for the inputs that the
            quantized layers before make; they are taken if the evaluator accepts them and the metric is no farther from the original's.
        weights_only: Whether weights alone are quantized, fitted to the calibration data, while inputs of layers stay float. No channels are scaled
            then, and there is neither a deploy model nor a record.
        importance: For some layers a weight >= 0 for each of their weights after folding, such as `nuqconv.fisher.fisher_weights` gives.
        levels: Codebook sizes that may be tried, each from 2 to 256, instead of those that ``num_steps`` of the configuration says; it still says
            which layers may have a codebook. The device knows 16 and 32: with others no deploy model is written, which the notes say.
        objective: `SmallestBytes`, with ``max_layers`` if at most so many layers may have a codebook; or `NearestMetric` with ``max_bytes``,
            for the best metric that all parameters of the model can have in so many bytes.
        strategy: A name in `nuqconv.search.strategies.STRATEGIES`; or one of your own: an object with the methods of
            `nuqconv.search.strategies.Strategy`, or a class or function that makes one from (space, objective, original metric).
        onnx: Whether to write ONNX models too: fake_quant, QDQ, and one whose NUQ weights are packed; they are always written for an ONNX model.
        input_shapes: Shapes for inputs by name, instead of the file's; needed for ONNX inputs with open sizes other than the batch.
        read_options: How the model's files are read: unknown fields, level and stages. With a level or stages the evaluator is given the original
            as a file of the chosen layers only.

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
    model = open_model(model_file, weights_file, read_options)
    prefix = output_prefix(save_dir, model_name(model.paths, model.format))
    options = SearchOptions(
        PrepareOptions(
            calibration_data
            if calibration_data is None or isinstance(calibration_data, DataSet)
            else list(calibration_data),
            weight_method,
            importance,
            input_shapes or {},
            progress,
            equalize=equalize,
            sequential=sequential,
            weights_only=weights_only,
        ),
        objective,
        strategy,
        Budget(max_evaluations, timeout, patience),
        WorkerOptions(workers, executor, parallel, trial_timeout, retries, memory_limit),
        on_crash,
        journal_path(journal, prefix),
        on_mismatch,
        levels=levels,
    )
    options.check()
    written = [entry for entry in FORMATS if onnx or entry in (CAFFE, model.format)]
    files = OutputFiles.for_prefix(prefix, Path(scale_offset_record_file), written)
    return search_model(model, nuq_evaluator, Path(config_file), files, options)


make_callable(__name__, "nuqconv.auto_nuq:auto_nuq")
