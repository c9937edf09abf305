"""The evaluator: the user's own measure of a model and the user's own demand on it.

An evaluator has two methods. ``eval_model`` runs a Caffe model, in whatever way the user runs Caffe, and returns one number;
``is_satisfied`` says whether a quantized model's number is good enough beside the original's. Nothing else is known about the number:
higher or lower may be better. Source: "Evaluator contract" in ``docs/formats.md``.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import EvaluatorError
from nuqconv.search.evaluator_facts import EvaluatorFacts, read_facts
from nuqconv.search.metrics import Interval

__all__ = ["AutoNuqEvaluatorBase", "CheckedEvaluator"]

_CONTRACT = {
    "eval_model": ("model_file", "weights_file", "batch_num"),
    "is_satisfied": ("original_metric", "new_metric"),
}


class AutoNuqEvaluatorBase:
    """Base of the user's evaluators; derive from it and write `eval_model` and `is_satisfied`.

    Its constructor takes any arguments and needs not be called.

    Attributes:
        evaluate_batch_num: How many batches `eval_model` is asked for in the search; None leaves it at the ``batch_num`` of the
            configuration, which also says how many batches calibrate the model.
        data_version: A text that changes whenever the data or the metric do (not the demand on it), so that a search that is taken up
            again knows whether the metrics in its journal still hold; None if the evaluator does not tell.
        tells_interval: Whether `metric_interval` says how sure a metric is.
    """

    evaluate_batch_num: int | None = None
    data_version: str | None = None
    tells_interval: bool = False

    def __init__(self, *args: object, **kwargs: object) -> None:
        # Published evaluators call super().__init__(self), others never call it: nothing may depend on this constructor.
        pass

    def eval_model(self, model_file: str, weights_file: str, batch_num: int) -> float:
        """Run the model on `batch_num` batches and return its metric, one finite number.

        Args:
            model_file: Path of the .prototxt file.
            weights_file: Path of the .caffemodel file.
            batch_num: Number of batches to run.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no eval_model; write eval_model(self, model_file, weights_file, batch_num), "
            "which runs the Caffe model and returns one number"
        )

    def is_satisfied(self, original_metric: float, new_metric: float) -> bool:
        """Say whether the quantized model is good enough.

        Args:
            original_metric: What `eval_model` returned for the original model.
            new_metric: What it returned for the quantized model.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no is_satisfied; write is_satisfied(self, original_metric, new_metric), "
            "which returns True if the quantized model is good enough"
        )

    def calibration_batches(
        self,
        batch_num: int,  # noqa: ARG002  (for the classes that override this)
    ) -> Iterable[Mapping[str, NDArray[Any]]] | None:
        """Offer data for calibration; optional.

        An evaluator that offers batches spares the calibration a run of `eval_model`: the model is then run on them in process.

        Args:
            batch_num: Number of batches that are wanted; further ones are not read.

        Returns:
            For each batch a mapping from the names of the model's input blobs to arrays, preprocessed as in `eval_model`; or None, the
            default, if the evaluator offers none.
        """
        return None

    def run_calibration(self, model_file: str, weights_file: str, batch_num: int) -> None:
        """Run a model whose layers measure, where no batches are offered; optional. By default that is `eval_model`.

        Args:
            model_file: Path of the .prototxt file.
            weights_file: Path of the .caffemodel file.
            batch_num: Number of batches to run.
        """
        self.eval_model(model_file, weights_file, batch_num)

    def metric_interval(
        self,
        model_file: str,  # noqa: ARG002  (for the classes that override this)
        weights_file: str,  # noqa: ARG002
        batch_num: int,  # noqa: ARG002
    ) -> Interval | None:
        """Say how sure the metric of a quantized model is; optional, and asked only where ``tells_interval``.

        That is once, about the result of a search, after the original model was evaluated.

        Args:
            model_file: Path of the .prototxt file.
            weights_file: Path of the .caffemodel file.
            batch_num: Number of batches, as in `eval_model`.

        Returns:
            The interval of the difference between its metric and the original's (`nuqconv.search.metrics.difference_interval` finds one);
            None, the default, if the evaluator does not tell.
        """
        return None

    def report_facts(
        self,
        original_metric: float,  # noqa: ARG002  (for the classes that override this)
    ) -> Mapping[str, str | int | float | None] | None:
        """Say what is measured, for reports; optional.

        Args:
            original_metric: Metric of the original model.

        Returns:
            Some of the fields of `nuqconv.search.evaluator_facts.EvaluatorFacts` by name, such as ``metric`` and ``samples``; or None.
        """
        return None


class CheckedEvaluator:
    """A user's evaluator whose every failure is an `EvaluatorError` that names the call and the files.

    `KeyboardInterrupt` and `SystemExit` pass through.

    Args:
        evaluator: Any object with the methods `eval_model` and `is_satisfied`; it needs not derive from `AutoNuqEvaluatorBase`.

    Raises:
        EvaluatorError: The object lacks a method, or a method does not take the arguments of the contract; all faults are listed.
    """

    def __init__(self, evaluator: object) -> None:
        self._name = evaluator.__name__ if isinstance(evaluator, type) else type(evaluator).__name__
        if isinstance(evaluator, type):
            raise EvaluatorError(
                f"the evaluator is the class {self._name} itself; pass an instance of it: {self._name}()"
            )
        problems = [problem for name in _CONTRACT for problem in _method_problems(evaluator, name)]
        if problems:
            raise EvaluatorError(
                f"{self._name} is no evaluator; derive it from AutoNuqEvaluatorBase and write the methods", problems
            )
        self._evaluator: Any = evaluator

    @property
    def evaluator(self) -> object:
        """The user's evaluator."""
        return self._evaluator

    def measure(
        self, model_file: str | os.PathLike[str], weights_file: str | os.PathLike[str], batch_num: int
    ) -> float:
        """Returns the metric of a model.

        Raises:
            EvaluatorError: `eval_model` raised, or returned something else than one finite number.
        """
        model, weights = os.fspath(model_file), os.fspath(weights_file)
        call = f"{self._name}.eval_model({model!r}, {weights!r}, {batch_num})"
        return _number(_called(call, self._evaluator.eval_model, model, weights, batch_num), call)

    def run_calibration(
        self, model_file: str | os.PathLike[str], weights_file: str | os.PathLike[str], batch_num: int
    ) -> None:
        """Has a model run whose layers measure.

        Raises:
            EvaluatorError: The evaluator's method raised, or its `eval_model`, which does it by default, returned no finite number.
        """
        hook = getattr(self._evaluator, "run_calibration", None)
        if hook is None or getattr(hook, "__func__", None) is AutoNuqEvaluatorBase.run_calibration:
            self.measure(model_file, weights_file, batch_num)
            return
        model, weights = os.fspath(model_file), os.fspath(weights_file)
        call = f"{self._name}.run_calibration({model!r}, {weights!r}, {batch_num})"
        _called(call, hook, model, weights, batch_num)

    def satisfied(self, original_metric: float, new_metric: float) -> bool:
        """Returns the evaluator's verdict on a metric.

        Raises:
            EvaluatorError: `is_satisfied` raised, or returned something else than a bool.
        """
        call = f"{self._name}.is_satisfied({original_metric!r}, {new_metric!r})"
        verdict = _called(call, self._evaluator.is_satisfied, original_metric, new_metric)
        if isinstance(verdict, np.ndarray) and verdict.ndim == 0:
            verdict = verdict[()]
        if isinstance(verdict, (bool, np.bool_)):
            return bool(verdict)
        raise EvaluatorError(f"{call} returned {_shown(verdict)}; it must return True or False")

    def baseline(
        self, model_file: str | os.PathLike[str], weights_file: str | os.PathLike[str], batch_num: int
    ) -> float:
        """Returns the metric of the original model, after a check that the original satisfies the evaluator.

        Raises:
            EvaluatorError: As in `measure` and `satisfied`, or the evaluator is not satisfied with the original model itself, so that no
                quantized model could be judged.
        """
        original = self.measure(model_file, weights_file, batch_num)
        if not self.satisfied(original, original):
            raise EvaluatorError(
                f"broken evaluator: {self._name}.is_satisfied({original!r}, {original!r}) is False: the original model "
                f"{os.fspath(model_file)!r} itself is refused, so no quantized model can be judged; is_satisfied must "
                "compare the new metric with the original one and accept an equal one"
            )
        return original

    @property
    def tells_interval(self) -> bool:
        """Whether the evaluator says how sure a metric is."""
        return getattr(self._evaluator, "tells_interval", False) is True

    def interval(
        self, model_file: str | os.PathLike[str], weights_file: str | os.PathLike[str], batch_num: int
    ) -> Interval | None:
        """Returns how sure the metric of a model is, or None if the evaluator does not tell.

        Raises:
            EvaluatorError: `metric_interval` raised, or returned something else.
        """
        model, weights = os.fspath(model_file), os.fspath(weights_file)
        call = f"{self._name}.metric_interval({model!r}, {weights!r}, {batch_num})"
        found = _called(call, self._evaluator.metric_interval, model, weights, batch_num)
        if found is not None and not isinstance(found, Interval):
            raise EvaluatorError(f"{call} returned {_shown(found)}; it must return an Interval or None")
        return found

    def evaluate_batch_num(self, default: int) -> int:
        """Returns the evaluator's own number of evaluation batches, or `default` if it has none.

        Raises:
            EvaluatorError: The attribute is no positive integer.
        """
        number = getattr(self._evaluator, "evaluate_batch_num", None)
        if number is None:
            return default
        if isinstance(number, (bool, np.bool_)) or not isinstance(number, (int, np.integer)) or number < 1:
            raise EvaluatorError(
                f"{self._name}.evaluate_batch_num is {number!r}; it must be a positive integer or None"
            )
        return int(number)

    def facts(self, original_metric: float) -> EvaluatorFacts:
        """Returns what the evaluator says of itself; see `read_facts`.

        Raises:
            EvaluatorError: The hook raises, or returns what a report cannot show.
        """
        return read_facts(self._evaluator, original_metric)

    def calibration_batches(self, batch_num: int) -> Iterator[Mapping[str, NDArray[Any]]] | None:
        """Returns the evaluator's calibration batches, at most `batch_num`, each checked when it is read; None if it offers none.

        Raises:
            EvaluatorError: The hook raises, yields no batch at all, or yields something else than a mapping from blob names to arrays of
                finite numbers. Faults of the batches are raised while they are read.
        """
        hook = getattr(self._evaluator, "calibration_batches", None)
        if hook is None:
            return None
        call = f"{self._name}.calibration_batches({batch_num})"
        batches = _called(call, hook, batch_num)
        if batches is None:
            return None
        if isinstance(batches, Mapping) or not isinstance(batches, Iterable):
            raise EvaluatorError(
                f"{call} returned {_shown(batches)}; it must yield one mapping from blob names to arrays for each batch"
            )
        return _checked_batches(batches, batch_num, call)


def _called(call: str, method: Callable[..., object], *arguments: object) -> object:
    try:
        return method(*arguments)
    except Exception as error:
        raise EvaluatorError(f"{call} raised {type(error).__name__}: {error}") from error


def _method_problems(evaluator: object, name: str) -> list[str]:
    """Returns what is wrong with one method of the contract, as far as can be seen without calling it."""
    parameters = _CONTRACT[name]
    wanted = f"{name}(self, {', '.join(parameters)})"
    method = getattr(evaluator, name, None)
    if not callable(method) or getattr(method, "__func__", None) is getattr(AutoNuqEvaluatorBase, name):
        return [f"{wanted} is missing"]
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):
        return []  # compiled methods need not have a signature; the call itself will tell
    try:
        signature.bind(*parameters)
    except TypeError as error:
        return [f"{name}{signature} cannot be called as {wanted}: {error}"]
    return []


def _number(value: object, call: str) -> float:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise EvaluatorError(
            f"{call} returned {_shown(value)}; it must return one number: an int, a float, or a numpy scalar"
        )
    try:
        number = float(value)
    except OverflowError as error:
        raise EvaluatorError(f"{call} returned an integer that no float can hold; return a smaller number") from error
    if not math.isfinite(number):
        raise EvaluatorError(f"{call} returned {number}; it must return a finite number")
    return number


def _shown(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _checked_batches(batches: Iterable[object], batch_num: int, call: str) -> Iterator[Mapping[str, NDArray[Any]]]:
    count = 0
    try:
        for batch in islice(batches, batch_num):
            yield _checked_batch(batch, f"{call}, batch {count}")
            count += 1
    except EvaluatorError:
        raise
    except Exception as error:
        raise EvaluatorError(f"{call} raised {type(error).__name__} at batch {count}: {error}") from error
    if not count:
        raise EvaluatorError(f"{call} yielded no batch; yield at least one, or return None to offer none")


def _checked_batch(batch: object, where: str) -> Mapping[str, NDArray[Any]]:
    if not isinstance(batch, Mapping) or not batch:
        raise EvaluatorError(f"{where}: found {_shown(batch)}; expected a mapping from blob names to arrays")
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in batch.items():
        array = np.asarray(value)
        if not isinstance(name, str) or array.dtype.kind not in "fiu":
            raise EvaluatorError(
                f"{where}: found {name!r} with values of type {array.dtype}; expected a blob name and an array of numbers"
            )
        if not array.size or not np.isfinite(array).all():
            raise EvaluatorError(f"{where}: the array of blob {name!r} is empty or holds NaN or infinity")
        arrays[name] = array
    return arrays
