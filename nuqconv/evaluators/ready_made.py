"""Ready-made evaluators: batches of data and a metric, run in one of the runtimes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.evaluators.identity import contents_digest
from nuqconv.formats import ReadOptions, open_model
from nuqconv.ir import Array
from nuqconv.runtimes.base import Runtime
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.onnxruntime.runtime import OnnxRuntime
from nuqconv.runtimes.table import DEFAULT, runtime_named
from nuqconv.search.evaluator import AutoNuqEvaluatorBase
from nuqconv.search.metrics import output_error, topk

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BatchEvaluator", "CaffeEvaluator", "OnnxRuntimeEvaluator"]

Outputs = Mapping[str, Array]
Metric = Callable[[Outputs, Array], float]


class BatchEvaluator(AutoNuqEvaluatorBase):
    """Runs a model over fixed data and compares a metric.

    Args:
        inputs: The data for each input blob, float32 (N, ...); all N are equal.
        labels: For ``"top1"`` and ``"topK"``: class of each sample, integers (N,).
        metric: ``"top1"``, ``"top5"`` (any number), ``"output_error"``, or a function that takes the outputs of all samples (blob name ->
            (N, ...)) and the labels and returns a number.
        max_drop: For a metric where more is better: the loss that is allowed, in the metric's own unit.
        max_error: For a metric where less is better: the largest value that is allowed.
        satisfied: A predicate ``(original, new) -> bool`` instead of the two.
        outputs: Names of the blobs to evaluate; the net's own outputs by default. Naming them lets a net be evaluated in
            onnxruntime up to a layer that onnxruntime does not have.
        batch_size: Samples for each run.
        calibration: Data to calibrate on instead of ``inputs``.
        runtime: Where models run: a name in `nuqconv.runtimes.RUNTIMES`, or a runtime with options, as ``OnnxRuntime(threads=2)``.

    Attributes:
        runtime: The runtime.
        evaluate_batch_num: Number of batches that one evaluation runs: all.

    ``"output_error"`` is the relative L2 error of the outputs against those of the first model evaluated, the original; of several outputs
    the one with the largest error counts. That reference goes with the evaluator when it is pickled.

    It can be pickled (what it has running stays behind) if ``metric`` and ``satisfied`` can, and may be used from several threads.
    """

    def __init__(
        self,
        inputs: Mapping[str, Array],
        *,
        labels: Array | None = None,
        metric: str | Metric = "top1",
        max_drop: float | None = None,
        max_error: float | None = None,
        satisfied: Callable[[float, float], bool] | None = None,
        outputs: tuple[str, ...] | None = None,
        batch_size: int = 32,
        calibration: Mapping[str, Array] | None = None,
        runtime: str | Runtime = DEFAULT,
    ) -> None:
        super().__init__()
        self.runtime = runtime_named(runtime) if isinstance(runtime, str) else runtime
        sizes = {name: len(array) for name, array in inputs.items()}
        if not sizes or len(set(sizes.values())) != 1 or 0 in sizes.values():
            raise EvaluatorError(f"the inputs must have one number of samples, at least 1; found {sizes}")
        if sum(rule is not None for rule in (max_drop, max_error, satisfied)) != 1:
            raise EvaluatorError("give exactly one of max_drop, max_error and satisfied")
        if isinstance(metric, str):
            _check_limit(metric, max_drop, max_error)
        if batch_size < 1:
            raise EvaluatorError(f"batch_size must be at least 1, found {batch_size}")
        self.inputs = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
        self.samples = next(iter(sizes.values()))
        if isinstance(metric, str) and metric != "output_error":
            _top(metric)
            if labels is None:
                raise EvaluatorError(f"metric '{metric}' needs labels")
        if labels is not None and len(labels) != self.samples:
            raise EvaluatorError(f"there are {len(labels)} labels for {self.samples} samples")
        self.labels = np.zeros(0, np.int64) if labels is None else np.asarray(labels)
        self.metric = metric
        self.max_drop, self.max_error, self.satisfied = max_drop, max_error, satisfied
        self.outputs = outputs
        self.batch_size = batch_size
        self.calibration = (
            self.inputs if calibration is None else {k: np.asarray(v, np.float32) for k, v in calibration.items()}
        )
        self.evaluate_batch_num = -(-self.samples // batch_size)
        self._reference: dict[int, dict[str, Array]] = {}
        self._start()

    # An attribute in the base, which users set; here the data are known, and nothing is to be set.
    @property
    def data_version(self) -> str:  # type: ignore[override]
        """SHA-256 of all that a metric depends on besides the model: data, labels, metric, outputs, batch size; not of the demand.

        Of a function its code, defaults and what it encloses count, not what it calls.
        """
        outputs = None if self.outputs is None else list(self.outputs)
        # The name of a ready-made evaluator says where it runs, and so does that of a class derived from it, unless another runtime was asked for.
        place = [] if self.known_as or self.runtime.name == self._usual else [self.runtime.name]
        return contents_digest([self.inputs, self.labels, self.metric, outputs, self.batch_size, *place])

    @property
    def known_as(self) -> str | None:
        """What journals call a ready-made evaluator; None for a class of the user's own."""
        return self.runtime.evaluator if type(self) in _READY_MADE else None

    @property
    def isolate(self) -> bool:
        """Whether a trial whose child process is lost is tried again in a new one."""
        return getattr(self.runtime, "isolate", False) is True

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in self._running}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    _usual: ClassVar[str] = DEFAULT
    """The runtime that the name of the class stands for."""

    _running: frozenset[str] = frozenset({"_lock", "_models"})
    """Names of the attributes that `_start` makes and that are not pickled."""

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._models = self.runtime.pool()

    def eval_model(self, model_file: str, weights_file: str, batch_num: int) -> float:
        """Runs the first ``batch_num`` batches and returns the metric."""
        runs: list[Outputs] = list(self.run(model_file, weights_file, self._batches(self.inputs, batch_num)))
        found = _joined(runs)
        seen = min(self.samples, batch_num * self.batch_size)
        if self.metric == "output_error":
            # The search evaluates the original first; its outputs are what all others are held against.
            with self._lock:
                reference = self._reference.setdefault(
                    batch_num, {name: np.array(value) for name, value in found.items()}
                )
            return max(output_error(array, reference[name]) for name, array in found.items())
        if isinstance(self.metric, str):
            return _top(self.metric)(_only(found), self.labels[:seen])
        return float(self.metric(found, self.labels[:seen]))

    def is_satisfied(self, original_metric: float, new_metric: float) -> bool:
        """Applies ``max_drop``, ``max_error`` or ``satisfied``."""
        if self.satisfied is not None:
            return self.satisfied(original_metric, new_metric)
        if self.max_error is not None:
            return new_metric <= self.max_error
        # A guard of a few float64 steps: 0.5016 - 0.01 comes out above 0.4916, which must be accepted.
        return new_metric >= original_metric - (self.max_drop or 0.0) - 1e-12 * abs(original_metric)

    def calibration_batches(self, batch_num: int) -> Iterator[Mapping[str, Array]]:
        """Yields the first ``batch_num`` batches of the calibration data."""
        return self._batches(self.calibration, batch_num)

    def run(self, model_file: str, weights_file: str, batches: Iterator[Mapping[str, Array]]) -> Iterator[Outputs]:
        """Yields the outputs of a model for each batch.

        Raises:
            EvaluatorError: The runtime does not run models of this format.
            NuqconvError: It cannot run this one.
        """
        files, options = open_model(model_file, weights_file), ReadOptions()
        if files.format.open_sizes:
            # They are those of the data.
            size = min(self.batch_size, self.samples)
            options = ReadOptions({name: (size, *array.shape[1:]) for name, array in self.inputs.items()})
        model = Runnable.of(files, options)
        refusal = self.runtime.refusal(model)
        if refusal:
            raise EvaluatorError(refusal)
        with self._models.take(model, self.outputs) as loaded:
            yield from map(loaded.run, batches)

    def close(self) -> None:
        """Ends what the evaluator has running; it can be used again."""
        self._models.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batches(self, data: Mapping[str, Array], batch_num: int) -> Iterator[Mapping[str, Array]]:
        size = len(next(iter(data.values())))
        for start in range(0, min(size, batch_num * self.batch_size), self.batch_size):
            yield {name: array[start : start + self.batch_size] for name, array in data.items()}


def _check_limit(metric: str, max_drop: float | None, max_error: float | None) -> None:
    """A drop of an error would accept every model, a limit on an accuracy only bad ones."""
    wrong, right = ("max_drop", "max_error") if metric == "output_error" else ("max_error", "max_drop")
    if {"max_drop": max_drop, "max_error": max_error}[wrong] is not None:
        raise EvaluatorError(f"metric '{metric}' goes with {right}, found {wrong}")


def _top(name: str) -> Callable[[Array, Array], float]:
    count = name.removeprefix("top")
    if count == name or not count.isdecimal() or int(count) < 1:
        raise EvaluatorError(
            f"metric '{name}' is not known; top1, top5 (any number) and output_error are, or give a function"
        )
    return topk(int(count))


def _joined(runs: list[Outputs]) -> dict[str, Array]:
    """Returns the outputs of all batches, one after the other."""
    uneven = [name for name in runs[0] if len({run[name].shape[1:] for run in runs}) != 1]
    if uneven:
        shapes = "; ".join(f"'{name}': {', '.join(str(run[name].shape) for run in runs[:3])}" for name in uneven)
        raise EvaluatorError(
            f"these outputs have no fixed number of entries for each sample, so they cannot be compared: {shapes}; "
            "choose blobs before them with outputs= (--outputs)"
        )
    return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}


def _only(outputs: Outputs) -> Array:
    if len(outputs) != 1:
        raise EvaluatorError(
            f"a top-k metric needs one output, the net has {', '.join(outputs)}; choose one with outputs="
        )
    return next(iter(outputs.values()))


class OnnxRuntimeEvaluator(BatchEvaluator):
    """Evaluates in onnxruntime: in process, or with ``isolate`` in child processes as `CaffeEvaluator` does.

    Args:
        inputs: See `BatchEvaluator`.
        threads: See `OnnxRuntime`, as for the following.
        isolate: Whether to run models in child processes.
        memory_limit: With ``isolate``: bytes of memory that a child may have; None for any number.
        timeout: With ``isolate``: seconds that a child may take to load a model, or to run a batch; by default 600.
        **options: See `BatchEvaluator`.
    """

    def __init__(
        self,
        inputs: Mapping[str, Array],
        *,
        threads: int | None = None,
        isolate: bool = False,
        memory_limit: int | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> None:
        runtime = OnnxRuntime(threads, isolate, memory_limit, timeout)
        self.threads = threads
        self.memory_limit = memory_limit
        self.timeout = runtime.seconds
        super().__init__(inputs, runtime=runtime, **options)


class CaffeEvaluator(BatchEvaluator):
    """Evaluates in real Caffe, in child processes that live until `close` or the end of a ``with``: one for each thread that evaluates.

    A child keeps its net, and a model that differs from its last one in weights only gets them set in it. See `BatchEvaluator` for the
    arguments.
    """

    _usual = "caffe"

    def __init__(self, inputs: Mapping[str, Array], **options: Any) -> None:
        super().__init__(inputs, runtime=self._usual, **options)


_READY_MADE = (BatchEvaluator, OnnxRuntimeEvaluator, CaffeEvaluator)
