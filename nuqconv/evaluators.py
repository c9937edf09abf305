"""Ready-made evaluators: batches of data and a metric, run in onnxruntime or in real Caffe."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from nuqconv.backends.caffe.runtime.net import Net
from nuqconv.backends.caffe.runtime.process import CaffeProcess
from nuqconv.backends.onnx.batch import rebatch
from nuqconv.backends.onnx.runtime import OnnxSession
from nuqconv.errors import EvaluatorError
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Array
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

    Attributes:
        evaluate_batch_num: Number of batches that one evaluation runs: all.

    ``"output_error"`` is the relative L2 error of the outputs against those of the first model evaluated, the original; of several outputs
    the one with the largest error counts.
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
    ) -> None:
        super().__init__()
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

    def eval_model(self, model_file: str, weights_file: str, batch_num: int) -> float:
        """Runs the first ``batch_num`` batches and returns the metric."""
        runs: list[Outputs] = list(self.run(model_file, weights_file, self._batches(self.inputs, batch_num)))
        found = _joined(runs)
        seen = min(self.samples, batch_num * self.batch_size)
        if self.metric == "output_error":
            # The search evaluates the original first; its outputs are what all others are held against.
            reference = self._reference.setdefault(batch_num, {name: np.array(array) for name, array in found.items()})
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

    @abstractmethod
    def run(self, model_file: str, weights_file: str, batches: Iterator[Mapping[str, Array]]) -> Iterator[Outputs]:
        """Yields the outputs of a model for each batch."""

    def close(self) -> None:
        """Ends what the evaluator has running."""

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
    """Evaluates in onnxruntime, in process; see `BatchEvaluator` for the arguments."""

    def run(self, model_file: str, weights_file: str, batches: Iterator[Mapping[str, Array]]) -> Iterator[Outputs]:
        """Yields the outputs of a model for each batch."""
        graph = load_graph(model_file, weights_file)
        sessions: dict[int, OnnxSession] = {}
        for batch in batches:
            size = len(next(iter(batch.values())))
            if size not in sessions:
                sessions[size] = OnnxSession(rebatch(graph, size), outputs=self.outputs)
            yield sessions[size].run(graph.feeds(batch))


class CaffeEvaluator(BatchEvaluator):
    """Evaluates in real Caffe, in a child process that lives until `close` or the end of a ``with``.

    See `BatchEvaluator` for the arguments.
    """

    _process: CaffeProcess | None = None

    def run(self, model_file: str, weights_file: str, batches: Iterator[Mapping[str, Array]]) -> Iterator[Outputs]:
        """Yields the outputs of a model for each batch."""
        if self._process is None or not self._process.alive:
            self._process = CaffeProcess()
        # The folder of the model is where the module of a calibration model's Python layers lies.
        with Net(model_file, weights_file, process=self._process, pythonpath=[Path(model_file).parent]) as net:
            for batch in batches:
                yield net.run(batch, self.outputs)

    def close(self) -> None:
        """Ends the child process."""
        if self._process is not None:
            self._process.close()
            self._process = None
