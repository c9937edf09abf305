"""``accuracy_based_auto_calibration``: int8 or float for each layer, as an evaluator of the original demands it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from nuqconv.errors import ConfigError, EvaluatorError
from nuqconv.evaluators.identity import evaluator_identity
from nuqconv.formats import CAFFE, open_model
from nuqconv.formats.source import StrPath
from nuqconv.job.checkpoint import journal_path
from nuqconv.job.forms import Forms
from nuqconv.job.options import SearchOptions
from nuqconv.job.output_files import OutputFiles, model_name, output_prefix
from nuqconv.job.result import NuqResult
from nuqconv.job.run import search_model
from nuqconv.search.evaluator import AutoNuqEvaluatorBase

__all__ = ["AutoCalibrationEvaluatorBase", "accuracy_based_auto_calibration"]

_METHODS = {
    "calibration": ("model_file", "weights_file"),
    "evaluate": ("model_file", "weights_file"),
    "metric_eval": ("original_metric", "new_metric"),
}


class AutoCalibrationEvaluatorBase:
    """Base of the evaluators of `accuracy_based_auto_calibration`; its constructor takes any arguments and needs not be called."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def calibration(self, model_file: str, weights_file: str) -> None:
        """Runs a model whose layers measure, on as many batches as the configuration's ``batch_num`` says."""
        raise NotImplementedError

    def evaluate(self, model_file: str, weights_file: str) -> float:
        """Runs a model and returns its metric, one finite number."""
        raise NotImplementedError

    def metric_eval(self, original_metric: float, new_metric: float) -> tuple[bool, float]:
        """Returns whether a quantized model is good enough, and how much is lost."""
        raise NotImplementedError


def accuracy_based_auto_calibration(
    model_file: StrPath,
    weights_file: StrPath,
    model_evaluator: object,
    config_file: StrPath,
    record_file: StrPath,
    save_dir: StrPath,
    strategy: object = "BinarySearch",
    sensitivity: object = "CosineSimilarity",
) -> NuqResult:
    """Finds which layers can be int8, and writes both models with their record files.

    All layers that the configuration enables are int8 first; where the evaluator refuses that, as few of them as it takes stay in float.

    Args:
        model_file: The .prototxt.
        weights_file: The .caffemodel.
        model_evaluator: Any object with ``calibration``, ``evaluate`` and ``metric_eval``, as `AutoCalibrationEvaluatorBase` has them.
        config_file: The configuration; where it has NUQ layers they are int8 or float here, too.
        record_file: Where the quantization factor record goes.
        save_dir: DIR/PREFIX of the files.
        strategy: ``"BinarySearch"``; how layers are tried is this package's own.
        sensitivity: ``"CosineSimilarity"``; which layers matter is measured at the net's outputs here.

    Returns:
        The result of the search; the original returns nothing.

    Raises:
        ConfigError: The configuration is wrong, or a strategy or sensitivity of one's own is given.
        EvaluatorError: The evaluator lacks a method, raised, returned something else than it must, or refuses the original model itself.
        CalibrationError: ``calibration`` could not run the model whose layers measure.
        SearchError: No model with an int8 layer was accepted. Nothing was written.
    """
    for name, value, known in (
        ("strategy", strategy, "BinarySearch"),
        ("sensitivity", sensitivity, "CosineSimilarity"),
    ):
        if value != known:
            raise ConfigError(
                f"{name} must be {known!r}, found {value!r}; those of the original's own classes cannot run here"
            )
    model = open_model(model_file, weights_file)
    prefix = output_prefix(save_dir, model_name(model.paths, model.format))
    options = SearchOptions(journal=journal_path(True, prefix), forms=Forms.INT8)
    options.check()
    files = OutputFiles.for_prefix(prefix, Path(record_file), [CAFFE])
    return search_model(model, _Evaluator(model_evaluator), Path(config_file), files, options)


class _Evaluator(AutoNuqEvaluatorBase):
    """An evaluator of the original's other kind, with the methods that searches here ask."""

    def __init__(self, evaluator: object) -> None:
        super().__init__()
        problems = [problem for name in _METHODS for problem in _problems(evaluator, name)]
        if problems:
            raise EvaluatorError(
                f"{type(evaluator).__name__} is no evaluator; derive it from AutoCalibrationEvaluatorBase and write the methods",
                problems,
            )
        self._evaluator: Any = evaluator
        # What a journal knows an evaluator by: this class says nothing of it.
        self.identity = evaluator_identity(evaluator)

    def eval_model(self, model_file: str, weights_file: str, batch_num: int) -> float:
        del batch_num
        found: float = self._evaluator.evaluate(model_file, weights_file)
        return found

    def run_calibration(self, model_file: str, weights_file: str, batch_num: int) -> None:
        del batch_num
        self._evaluator.calibration(model_file, weights_file)

    def is_satisfied(self, original_metric: float, new_metric: float) -> bool:
        verdict = self._evaluator.metric_eval(original_metric, new_metric)
        found: bool = verdict[0] if isinstance(verdict, tuple | list) and verdict else verdict
        return found


def _problems(evaluator: object, name: str) -> list[str]:
    wanted = f"{name}(self, {', '.join(_METHODS[name])})"
    method = getattr(evaluator, name, None)
    if not callable(method) or getattr(method, "__func__", None) is getattr(AutoCalibrationEvaluatorBase, name):
        return [f"{wanted} is missing"]
    try:
        inspect.signature(method).bind(*_METHODS[name])
    except TypeError as error:
        return [f"{name} cannot be called as {wanted}: {error}"]
    except ValueError:
        # Compiled methods need not have a signature; the call itself will tell.
        return []
    return []
