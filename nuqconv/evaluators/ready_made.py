"""Ready-made evaluators: batches of data and a metric, run in one of the runtimes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nuqconv.data.arrays import Arrays
from nuqconv.data.base import Batch, DataSet
from nuqconv.errors import EvaluatorError, NuqconvError
from nuqconv.evaluators.demand import Demand
from nuqconv.evaluators.fitting import check_model
from nuqconv.evaluators.identity import contents_digest
from nuqconv.evaluators.inputs import named_for
from nuqconv.evaluators.measuring import measure, run_full
from nuqconv.evaluators.reference import Reference
from nuqconv.formats import ModelFiles, ReadOptions, open_model, shared
from nuqconv.ir import Array
from nuqconv.runtimes.base import Runtime
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.onnxruntime.runtime import OnnxRuntime
from nuqconv.runtimes.table import DEFAULT, runtime_named
from nuqconv.search.evaluator import AutoNuqEvaluatorBase
from nuqconv.search.metrics import (
    FunctionTally,
    Interval,
    Metric,
    MetricFunction,
    Outputs,
    Tally,
    Terms,
    Truth,
    difference_interval,
    parse_metric,
)

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BatchEvaluator", "CaffeEvaluator", "OnnxRuntimeEvaluator"]


class BatchEvaluator(AutoNuqEvaluatorBase):
    """Runs a model over fixed data and compares a metric.

    Args:
        inputs: The samples: the data for each input blob, float32 (N, ...), all N equal; or a `DataSet`, which is read batch by batch.
        labels: Of data in memory: what the metric must know of each sample, one entry for each; a `DataSet` has its own.
        metric: A text of the table of metrics, such as ``"top1"``, ``"output_error"`` or ``"psnr:border=4,y"`` (`parse_metric`); or a function
            that takes the outputs of all samples (blob name -> (N, ...)) and the labels and returns a number. A function needs memory for the
            outputs of all samples; a metric of the table does not.
        max_drop: For a metric where more is better: the loss that is allowed, in the metric's own unit; ``"1%"`` is 0.01.
        max_error: For a metric where less is better: the largest value that is allowed.
        satisfied: A predicate ``(original, new) -> bool`` instead of the two.
        outputs: Names of the blobs to evaluate; the net's own outputs by default. Naming them lets a net be evaluated in
            onnxruntime up to a layer that onnxruntime does not have.
        batch_size: Samples for each run; an ONNX model whose batch is not open is given the same samples in batches of its own.
        calibration: Data to calibrate on instead of ``inputs``.
        runtime: Where models run: a name in `nuqconv.runtimes.RUNTIMES`, or a runtime with options, as
            ``runtime_named("onnxruntime", threads=2)`` returns.
        read_options: How models are read: unknown fields, level and stages.

    Attributes:
        runtime: The runtime.
        evaluate_batch_num: Number of batches that one evaluation runs: all.

    Some metrics hold a model against the first one evaluated, the original: what they need of its outputs is kept, up to 32 MiB of it in
    memory and the rest in a temporary file, and goes with the evaluator when it is pickled.

    It can be pickled (what it has running stays behind) if ``metric`` and ``satisfied`` can, and may be used from several threads.
    """

    def __init__(
        self,
        inputs: Mapping[str, Array] | DataSet,
        *,
        labels: Any | None = None,
        metric: str | MetricFunction = "top1",
        max_drop: float | str | None = None,
        max_error: float | str | None = None,
        satisfied: Callable[[float, float], bool] | None = None,
        outputs: tuple[str, ...] | None = None,
        batch_size: int = 32,
        calibration: Mapping[str, Array] | DataSet | None = None,
        runtime: str | Runtime = DEFAULT,
        read_options: ReadOptions | None = None,
    ) -> None:
        super().__init__()
        self.read_options = read_options
        self.runtime = runtime_named(runtime) if isinstance(runtime, str) else runtime
        self.data = _data(inputs, labels)
        self.demand = Demand.of(max_drop, max_error, satisfied)
        self.metric = metric
        if isinstance(metric, str):
            _check_metric(parse_metric(metric), self.demand, self.data)
        if batch_size < 1:
            raise EvaluatorError(f"batch_size must be at least 1, found {batch_size}")
        self.outputs = outputs
        self.batch_size = batch_size
        self.calibration = self.data if calibration is None else _data(calibration)
        self.evaluate_batch_num = -(-len(self.data) // batch_size)
        self._references: dict[int, Reference] = {}
        self._originals: dict[int, Terms] = {}
        self._fits = False
        self._named: tuple[DataSet, DataSet] | None = None
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
        # Other devices round otherwise.
        place += list(getattr(self.runtime, "providers", ()))
        return contents_digest([*_content(self.data), self.metric, outputs, self.batch_size, *place])

    @property
    def known_as(self) -> str | None:
        """What journals call a ready-made evaluator; None for a class of the user's own."""
        return self.runtime.evaluator if type(self) in _READY_MADE else None

    @property
    def isolate(self) -> bool:
        """Whether a trial whose child process is lost is tried again in a new one."""
        return getattr(self.runtime, "isolate", False) is True

    # An attribute in the base.
    @property
    def tells_interval(self) -> bool:  # type: ignore[override]
        """Whether the metric has an interval: one of the table has, a function has none."""
        return isinstance(self.metric, str)

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
        """Runs the first ``batch_num`` batches and returns the metric.

        Raises:
            EvaluatorError: The metric cannot take the model's outputs, or the samples' truths.
            NuqconvError: The runtime cannot run the model.
        """
        return self._measured(model_file, weights_file, batch_num).value()

    def metric_interval(self, model_file: str, weights_file: str, batch_num: int) -> Interval | None:
        """Runs a model once more and returns the interval of its metric's difference to the original's; see `difference_interval`.

        The original is the first model that was evaluated with this number of batches.

        Returns:
            The interval; None where no original was evaluated.
        """
        with self._lock:
            original = self._originals.get(batch_num)
        if original is None:
            return None
        tally = self._measured(model_file, weights_file, batch_num)
        return difference_interval(tally.metric, original, tally.terms) if isinstance(tally, Tally) else None

    def is_satisfied(self, original_metric: float, new_metric: float) -> bool:
        """Applies ``max_drop``, ``max_error`` or ``satisfied``."""
        return self.demand.accepts(original_metric, new_metric)

    def calibration_batches(self, batch_num: int) -> Iterator[Mapping[str, Array]]:
        """Yields the first ``batch_num`` batches of the calibration data."""
        _, data = self._named or (self.data, self.calibration)
        return (batch.inputs for batch in self._batches(data, batch_num))

    def _measured(self, model_file: str, weights_file: str, batch_num: int) -> Tally | FunctionTally:
        """Returns what the metric has seen of a model; the first model is the original."""
        files = open_model(model_file, weights_file, self.read_options)
        # What is read for the names is run as well.
        with shared(files):
            batches = self._batches(self._data_for(files), batch_num, files.own_batch())
            return self._tallied(model_file, weights_file, batches, batch_num)

    def _tallied(
        self, model_file: str, weights_file: str, batches: Iterator[Batch], batch_num: int
    ) -> Tally | FunctionTally:
        def run(inputs: Iterator[Mapping[str, Array]]) -> Iterator[Outputs]:
            return self.run(model_file, weights_file, inputs)

        if not isinstance(self.metric, str):
            return measure(FunctionTally(_with_labels(self.metric, self.data)), run, batches)
        metric = parse_metric(self.metric)
        with self._lock:
            if batch_num not in self._originals:
                # Others wait: the search evaluates the original first, and all are held against it.
                reference = Reference() if metric.against_float else None
                tally = measure(Tally(metric), run, batches, reference=reference, fill=True)
                self._originals[batch_num] = tally.terms
                if reference is not None:
                    self._references[batch_num] = reference
                return tally
        return measure(Tally(metric), run, batches, reference=self._references.get(batch_num))

    def _data_for(self, files: ModelFiles) -> DataSet:
        """Returns the data with the names of the first net's inputs, which all models of a search have."""
        if self._named is None:
            try:
                inputs = files.inputs()
            except NuqconvError:
                # Its runtime may run what cannot be read here.
                return self.data
            data = named_for(self.data, inputs)
            self._named = (data, data if self.calibration is self.data else named_for(self.calibration, inputs))
        return self._named[0]

    def _check_once(self, model: Runnable) -> None:
        """Checks the metric against the first net before a sample is run; what a function takes is not known."""
        if self._fits or not isinstance(self.metric, str):
            return
        check_model(parse_metric(self.metric), model, self.outputs)
        self._fits = True

    def report_facts(self, original_metric: float) -> Mapping[str, Any]:
        """Says what is measured and demanded; see `EvaluatorFacts`."""
        return {
            "metric": self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", None),
            "data": self.data.describe(),
            "preparation": self.data.preparation,
            "samples": len(self.data),
            "runtime": self.runtime.title,
            **self.demand.facts(original_metric),
        }

    def run(self, model_file: str, weights_file: str, batches: Iterator[Mapping[str, Array]]) -> Iterator[Outputs]:
        """Yields the outputs of a model for each batch.

        Raises:
            EvaluatorError: The runtime does not run models of this format.
            NuqconvError: It cannot run this one.
        """
        files = open_model(model_file, weights_file, self.read_options)
        data, _ = self._named or (self.data, None)
        # Shapes of data cost a sample; only open sizes need them.
        open_sizes = files.format.open_sizes
        options = ReadOptions(files.sizes_for(data.shapes(), min(self.batch_size, len(data))) if open_sizes else {})
        with ExitStack() as stack:
            model = Runnable.of_chosen(files, options, stack)
            refusal = self.runtime.refusal(model)
            if refusal:
                raise EvaluatorError(refusal)
            self._check_once(model)
            loaded = stack.enter_context(self._models.take(model, self.outputs))
            yield from run_full(loaded.run, batches, files.own_batch())

    def close(self) -> None:
        """Ends what the evaluator has running; it can be used again."""
        self._models.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batches(self, data: DataSet, batch_num: int, size: int | None = None) -> Iterator[Batch]:
        """Returns so many batches; a model that has a batch of its own is given the same samples in batches of that."""
        return data.batches(size or self.batch_size, batch_num * self.batch_size)


def _data(inputs: Mapping[str, Any] | DataSet, labels: Any | None = None) -> DataSet:
    if isinstance(inputs, DataSet):
        if labels is not None:
            raise EvaluatorError("labels= goes with data in memory; a data set has its own")
        return inputs
    sizes = {name: len(array) for name, array in inputs.items()}
    if not sizes or len(set(sizes.values())) != 1 or 0 in sizes.values():
        raise EvaluatorError(f"the inputs must have one number of samples, at least 1; found {sizes}")
    count = next(iter(sizes.values()))
    if labels is not None and len(labels) != count:
        raise EvaluatorError(f"there are {len(labels)} labels for {count} samples")
    arrays = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
    return Arrays(arrays, _labels(labels))


def _labels(labels: Any | None) -> Any | None:
    """Returns numbers of one shape as an array, truths such as texts and `Boxes` as a tuple."""
    if labels is None or (isinstance(labels, np.ndarray) and labels.dtype.kind != "O"):
        return labels
    plain = all(isinstance(label, (int, float, np.generic, np.ndarray)) for label in labels)
    return np.asarray(labels) if plain and len({np.shape(label) for label in labels}) == 1 else tuple(labels)


def _with_labels(function: MetricFunction, data: DataSet) -> MetricFunction:
    """Returns a function that is given the labels of data in memory as the user gave them."""
    if not isinstance(data, Arrays) or data.labels is None:
        return function
    labels = data.labels
    return lambda outputs, given: function(outputs, labels[: len(given)])


def _check_metric(metric: Metric, demand: Demand, data: DataSet) -> None:
    demand.check_fits(metric)
    if metric.truth is not Truth.NONE and not data.has_labels():
        raise EvaluatorError(f"metric '{metric.text}' needs labels: {metric.truth.value} of each sample")


def _content(data: DataSet) -> list[Any]:
    """Returns what journals know data by."""
    if not isinstance(data, Arrays) or data.preparation is not None:
        return [data.digest()]
    return [data.arrays, np.zeros(0, np.int64) if data.labels is None else data.labels]


class OnnxRuntimeEvaluator(BatchEvaluator):
    """Evaluates in onnxruntime: in process, or with ``isolate`` in child processes as `CaffeEvaluator` does.

    Args:
        inputs: See `BatchEvaluator`.
        threads: See `OnnxRuntime`, as for the following.
        isolate: Whether to run models in child processes.
        memory_limit: With ``isolate``: bytes of memory that a child may have; None for any number.
        timeout: With ``isolate``: seconds that a child may take to load a model, or to run a batch; by default 600.
        providers: Execution providers, as ``["cuda", "cpu"]``; by default the CPU.
        **options: See `BatchEvaluator`.
    """

    def __init__(
        self,
        inputs: Mapping[str, Array] | DataSet,
        *,
        threads: int | None = None,
        isolate: bool = False,
        memory_limit: int | None = None,
        timeout: float | None = None,
        providers: Sequence[str] = (),
        **options: Any,
    ) -> None:
        names = (providers,) if isinstance(providers, str) else tuple(providers)
        runtime = OnnxRuntime(threads, isolate, memory_limit, timeout, names)
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

    def __init__(self, inputs: Mapping[str, Array] | DataSet, **options: Any) -> None:
        super().__init__(inputs, runtime=self._usual, **options)


_READY_MADE = (BatchEvaluator, OnnxRuntimeEvaluator, CaffeEvaluator)
