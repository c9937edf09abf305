"""Ready-made evaluators: batches of data and a metric, run in onnxruntime or in real Caffe."""

from __future__ import annotations

import math
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.evaluators.identity import contents_digest
from nuqconv.formats.source import is_onnx
from nuqconv.ir import Array
from nuqconv.runtimes.caffe.cache import KeptNet
from nuqconv.runtimes.child import DEFAULT_TIMEOUT
from nuqconv.runtimes.onnxruntime.cache import SessionCache
from nuqconv.runtimes.onnxruntime.isolated import OnnxProcess, check_limits
from nuqconv.runtimes.pool import ChildPool, KeptSessions
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
        self._start()

    # An attribute in the base, which users set; here the data are known, and nothing is to be set.
    @property
    def data_version(self) -> str:  # type: ignore[override]
        """SHA-256 of all that a metric depends on besides the model: data, labels, metric, outputs, batch size; not of the demand.

        Of a function its code, defaults and what it encloses count, not what it calls.
        """
        outputs = None if self.outputs is None else list(self.outputs)
        return contents_digest([self.inputs, self.labels, self.metric, outputs, self.batch_size])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in self._running}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    runtime_name: str | None = None
    """What runs the models, for reports."""

    _running: frozenset[str] = frozenset({"_lock"})
    """Names of the attributes that `_start` makes and that are not pickled."""

    def _start(self) -> None:
        self._lock = threading.Lock()

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

    def report_facts(self, original_metric: float) -> Mapping[str, Any]:
        """Says what is measured and demanded; see `EvaluatorFacts`."""
        shapes = ", ".join(f"{name} {'x'.join(map(str, array.shape[1:]))}" for name, array in self.inputs.items())
        return {
            "metric": self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", None),
            "data": f"{self.samples:,} samples of {shapes}",
            "samples": self.samples,
            "runtime": self.runtime_name,
            **self._demand(original_metric),
        }

    def _demand(self, original: float) -> dict[str, Any]:
        if self.max_error is not None:
            limit = self.max_error if math.isfinite(self.max_error) else None
            words = "any value" if limit is None else f"at most {self.max_error:g}"
            return {"demand": words, "limit": limit, "better": "lower"}
        if self.max_drop is not None:
            if not math.isfinite(self.max_drop):
                return {"demand": "any value", "better": "higher"}
            limit = original - self.max_drop
            return {"demand": f"at most {self.max_drop:g} below the original", "limit": limit, "better": "higher"}
        return {}

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
    """Evaluates in onnxruntime: in process, or with ``isolate`` in child processes as `CaffeEvaluator` does.

    Args:
        inputs: See `BatchEvaluator`.
        threads: Number of threads for each model that runs, or None for onnxruntime's choice. Where a search evaluates several models at
            once, a share of the cores for each is faster.
        isolate: Whether to run models in child processes, so that a model that crashes onnxruntime, hangs it or fills the memory is an
            ordinary error. A search does such a trial again in a new child.
        memory_limit: With ``isolate``: bytes of memory that a child may have, Python and onnxruntime included; None for any number.
        timeout: With ``isolate``: seconds that a child may take to load a model, or to run a batch; by default 600.
        **options: See `BatchEvaluator`.
    """

    runtime_name = "onnxruntime"
    _running = BatchEvaluator._running | {"_cache", "_children"}  # noqa: SLF001

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
        if threads is not None and threads < 1:
            raise EvaluatorError(f"threads must be at least 1 or None, found {threads}")
        if not isolate and (memory_limit is not None or timeout is not None):
            raise EvaluatorError("memory_limit and timeout are limits of a child process; they need isolate=True")
        self.threads = threads
        self.isolate = isolate
        self.memory_limit = memory_limit
        self.timeout = DEFAULT_TIMEOUT if timeout is None else timeout
        check_limits(self.timeout, memory_limit)
        super().__init__(inputs, **options)

    def _start(self) -> None:
        super()._start()
        self._cache = SessionCache()
        self._children = ChildPool(
            lambda: KeptSessions(OnnxProcess(timeout=self.timeout, memory_limit=self.memory_limit))
        )

    def run(self, model_file: str, weights_file: str, batches: Iterator[Mapping[str, Array]]) -> Iterator[Outputs]:
        """Yields the outputs of a model for each batch."""
        # Sizes that an ONNX model leaves open are those of the data.
        size = min(self.batch_size, self.samples)
        shapes = (
            {name: (size, *array.shape[1:]) for name, array in self.inputs.items()} if is_onnx(model_file) else None
        )
        if not self.isolate:
            model = self._cache.load(model_file, weights_file, self.outputs, self.threads, shapes)
            yield from map(model.run, batches)
            return
        text = _text_of(model_file)
        with self._children.take(text) as child:
            model = child.load(text, model_file, weights_file, self.outputs, self.threads, shapes)
            yield from map(model.run, batches)

    def close(self) -> None:
        """Frees the last model, and ends the children, also those that evaluate."""
        self._cache.clear()
        self._children.close(busy=True)


class CaffeEvaluator(BatchEvaluator):
    """Evaluates in real Caffe, in child processes that live until `close` or the end of a ``with``: one for each thread that evaluates.

    A child keeps its net, and a model that differs from its last one in weights only gets them set in it. See `BatchEvaluator` for the
    arguments.
    """

    runtime_name = "real Caffe"
    _running = BatchEvaluator._running | {"_children"}  # noqa: SLF001

    def _start(self) -> None:
        super()._start()
        self._children = ChildPool(KeptNet)

    def run(self, model_file: str, weights_file: str, batches: Iterator[Mapping[str, Array]]) -> Iterator[Outputs]:
        """Yields the outputs of a model for each batch."""
        if is_onnx(model_file):
            raise EvaluatorError(
                f"{model_file}: real Caffe runs no ONNX model; evaluate it in onnxruntime (OnnxRuntimeEvaluator)"
            )
        with self._children.take(_text_of(model_file)) as child:
            net = child.load(model_file, weights_file)
            for batch in batches:
                yield net.run(batch, self.outputs)

    def close(self) -> None:
        """Ends the child processes; one that still evaluates ends after that."""
        self._children.close()


def _text_of(model_file: str) -> bytes:
    return Path(model_file).read_bytes() if Path(model_file).is_file() else b""
