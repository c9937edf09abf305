"""How far the common mistakes in preparing data would move a net's outputs, next to what int8 does; and which way of preparing is best.

What is best the labels tell, where there are some; else the statistics that the net keeps of its training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from nuqconv.backends.onnx.batch import batch_problems
from nuqconv.config import make_config
from nuqconv.data import Batch, DataSet
from nuqconv.data.mistakes import variants
from nuqconv.errors import ConfigError, EvaluatorError, NuqconvError
from nuqconv.ir import Array, Graph
from nuqconv.ir.ops import DetectionOutput, Filter, Opaque
from nuqconv.job.calibration import measure_in_onnxruntime
from nuqconv.job.candidates import activation_quants, find_candidates
from nuqconv.job.layer_facts import layer_facts, layer_requests
from nuqconv.job.sensitivity import watched_values
from nuqconv.job.training_statistics import Moments, TrainingStatistics
from nuqconv.passes import fold_affine
from nuqconv.passes.stock import collapse_quantize
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.plan import Plan
from nuqconv.runtimes.default import load_graph
from nuqconv.runtimes.loaded import Loaded
from nuqconv.search.metrics import Interval, Metric, Tally, Terms, difference_interval, parse_metric

__all__ = ["CheckedVariant", "DataCheck", "Evidence", "check_data", "metric_for"]

_LEAST = 1e-12
_MUCH = 2 / 3
"""Only samples that are nearer to the training than this share of the declared ones' distance are taken for the right ones."""


class Evidence(Enum):
    """What tells that a way of preparing is right; the value says it in words."""

    LABELS = "the labels"
    TRAINING = "what the net's first BatchNorm keeps of its training"
    NONE = "nothing"


@dataclass(frozen=True)
class CheckedVariant:
    """What a way of preparing does.

    Attributes:
        name: What is done otherwise; empty for what is declared.
        moved: How far the outputs are from those of the declared preparation: relative L2 error, of several outputs the largest.
        score: The metric; None without labels.
        likelihood: For classes the mean log-probability of the label: nets are trained for it, and it tells more than whether the label is first;
            else None.
        distance: How unlike its training the net finds the samples (`TrainingStatistics`); None where it keeps nothing of it.
        gain: The difference to the declared preparation, in the likelihood where there is one, else in the score, with its interval; None without
            labels.
        nearer: By how much nearer to the training than the declared samples these are, with its interval.
    """

    name: str
    moved: float
    score: float | None = None
    likelihood: float | None = None
    distance: float | None = None
    gain: Interval | None = None
    nearer: Interval | None = None

    def merit(self, evidence: Evidence) -> tuple[float, ...]:
        """By what variants are put in order, more is better; what moves the outputs most where nothing else tells."""
        if evidence is Evidence.LABELS:
            return self.likelihood or 0.0, self.score or 0.0, -self.moved
        return (-(self.distance or 0.0),) if evidence is Evidence.TRAINING else (self.moved,)


@dataclass(frozen=True)
class DataCheck:
    """What was found.

    Attributes:
        declared: The declared preparation.
        variants: The others, the best first by the evidence.
        evidence: What they are put in order by.
        int8: How far int8 moves the outputs; None where it could not be measured.
        metric: What the scores are, or None.
        samples: Samples that were run.
        notes: What the user should know.
    """

    declared: CheckedVariant
    variants: tuple[CheckedVariant, ...]
    evidence: Evidence
    int8: float | None
    metric: str | None
    samples: int
    notes: tuple[str, ...] = ()

    @property
    def suspect(self) -> CheckedVariant | None:
        """The variant that is clearly better than what is declared, if one is: more likely it is right."""
        first = next(iter(self.variants), None)
        if first is None:
            return None
        if self.evidence is Evidence.LABELS:
            return first if first.gain is not None and first.gain.low > 0 else None
        if first.nearer is None or first.distance is None or self.declared.distance is None:
            return None
        return first if first.nearer.low > 0 and first.distance < _MUCH * self.declared.distance else None


def metric_for(data: DataSet) -> Metric | None:
    """Returns the metric that labels are usually judged by; None without labels."""
    labels = next(iter(data.batches(1, 1))).labels
    if labels is None:
        return None
    label = labels[0]
    if isinstance(label, str):
        return parse_metric("ctc")
    if hasattr(label, "boxes"):
        return parse_metric("voc_map")
    return parse_metric("miou" if np.ndim(label) >= 2 else "top1")


def check_data(
    graph: Graph,
    data: DataSet,
    *,
    metric: Metric | None = None,
    outputs: Sequence[str] | None = None,
    samples: int = 32,
    batch_size: int = 8,
) -> DataCheck:
    """Runs a net on samples that are prepared as declared, and with each of the common mistakes made.

    Args:
        graph: The float net.
        data: The samples, for this net (`DataSet.for_net`).
        metric: What to score by; by default what the labels are usually judged by, and no score without labels.
        outputs: Names of the values to judge; the net's own by default.
        samples: Most samples to run.
        batch_size: Samples at once.

    Raises:
        FormatError: Samples cannot be read.
        ModelError, UnsupportedError: onnxruntime cannot run the net.
        EvaluatorError: Labels or outputs are not what the metric takes.
    """
    folded = fold_affine(graph).graph
    judged = tuple(outputs or folded.outputs)
    notes: list[str] = []
    if metric is None:
        metric = metric_for(data)
    if metric is not None and metric.against_float:
        raise ConfigError(
            f"metric '{metric.text}' compares with the float net, which tells nothing of how its data are prepared"
        )
    run = _Runs(folded, judged, metric, TrainingStatistics.first(graph), samples, batch_size)
    run.watch(graph)
    reference = run.of(data)
    evidence = _evidence(reference, metric, run.training, notes)
    try:
        int8: float | None = run.moved(reference.values, run.int8(data))
    except NuqconvError as error:
        int8 = None
        notes.append(f"what int8 does could not be measured: {error}")
    found = []
    for variant in variants(data):
        try:
            found.append(run.checked(variant.name, run.of(variant.data), reference))
        except NuqconvError as error:
            notes.append(f"'{variant.name}' could not be tried: {error}")
    found.sort(key=lambda item: item.merit(evidence), reverse=True)
    declared = run.checked("", reference, None)
    text = None if metric is None else metric.text
    return DataCheck(declared, tuple(found), evidence, int8, text, reference.count, tuple(notes))


def _evidence(
    reference: _Run, metric: Metric | None, training: TrainingStatistics | None, notes: list[str]
) -> Evidence:
    if metric is not None:
        if reference.classes is None or len(reference.classes) > 1:
            return Evidence.LABELS
        notes.append("all samples have one label, which tells little of how they should be prepared")
    return Evidence.NONE if training is None else Evidence.TRAINING


@dataclass(frozen=True)
class _Run:
    """What a net answered: the values that are compared, what the metric takes of the outputs, and what the first BatchNorm saw."""

    values: Mapping[str, Array]
    terms: Terms | None
    logs: Array | None
    classes: frozenset[int] | None
    seen: Moments | None
    count: int


class _Runs:
    """A net that is run again and again on the same samples in other forms."""

    def __init__(
        self,
        graph: Graph,
        judged: Sequence[str],
        metric: Metric | None,
        training: TrainingStatistics | None,
        samples: int,
        batch_size: int,
    ) -> None:
        open_length = any(isinstance(node.op, DetectionOutput | Filter | Opaque) for node in graph.nodes)
        # Of a list of boxes nothing can be compared number by number; what they are made of can.
        self.compared = watched_values(graph, judged) if open_length else tuple(judged)
        self.graph, self.judged, self.metric, self.training = graph, tuple(judged), metric, training
        self.samples, self.batch_size = samples, batch_size
        wanted = tuple(dict.fromkeys((*self.compared, *(judged if metric is not None else ()))))
        self.model = load_graph(graph, wanted)
        self.front: Loaded | None = None
        # A net whose layers fix the batch runs whole batches only.
        self.whole = bool(batch_problems(graph))

    def watch(self, graph: Graph) -> None:
        """Makes ready to see what the first BatchNorm of the net that is not folded sees."""
        if self.training is not None and self.training.value not in {item.name for item in graph.inputs}:
            self.front = load_graph(graph.up_to([self.training.value]), [self.training.value])

    def of(self, data: DataSet) -> _Run:
        """Runs samples."""
        values: dict[str, list[Array]] = {name: [] for name in self.compared}
        tally = None if self.metric is None else Tally(self.metric)
        logs: list[Array] = []
        seen: list[Moments] = []
        classes: set[int] | None = None
        count = 0
        for batch in self._batches(data):
            feeds = self.graph.feeds(batch.inputs)
            found = self.model.run(feeds)
            for name, kept in values.items():
                kept.append(found[name])
            if self.training is not None:
                before = feeds if self.front is None else self.front.run(feeds)
                seen.append(Moments.of(before[self.training.value]))
            if tally is not None:
                judged = {name: found[name] for name in self.judged}
                tally.update(judged, batch.labels, count=len(batch))
                if isinstance(batch.labels, np.ndarray) and self.metric is not None and self.metric.numbered:
                    classes = (classes or set()) | set(batch.labels.tolist())
                    logs.append(_log_likelihood(next(iter(judged.values())), batch.labels))
            count += len(batch)
        return _Run(
            {name: np.concatenate(kept) for name, kept in values.items()},
            None if tally is None else tally.terms,
            np.concatenate(logs) if logs else None,
            None if classes is None else frozenset(classes),
            Moments.joined(seen) if seen else None,
            count,
        )

    def checked(self, name: str, run: _Run, reference: _Run | None) -> CheckedVariant:
        """Returns what a run says of a way of preparing, next to the declared one."""
        distance = nearer = gain = score = None
        if self.training is not None and run.seen is not None:
            distance = self.training.distance(run.seen)
            if reference is not None and reference.seen is not None:
                nearer = self.training.gain(reference.seen, run.seen)
        if self.metric is not None and run.terms is not None:
            score = self.metric.value(run.terms)
            if reference is not None and reference.terms is not None:
                gain = _gain(self.metric, reference, run)
        moved = 0.0 if reference is None else self.moved(reference.values, run.values)
        likelihood = None if run.logs is None else float(run.logs.mean())
        return CheckedVariant(name, moved, score, likelihood, distance, gain, nearer)

    def int8(self, data: DataSet) -> dict[str, Array]:
        """Runs the samples through the net with every layer in int8 that can be."""
        quantizer = Quantizer(self.graph)
        requests = layer_requests(make_config(layer_facts(self.graph)), self.graph)
        values = tuple(dict.fromkeys(self.graph.node[request.name].inputs[0] for request in requests))

        def batches() -> Iterator[Mapping[str, Array]]:
            return (batch.inputs for batch in self._batches(data))

        histograms = measure_in_onnxruntime(self.graph, values, batches())
        activations = activation_quants(quantizer, requests, histograms, with_offset=True)
        space = find_candidates(quantizer, requests, activations, histograms).space
        plan = Plan.of((layer.name, layer.options[0].layer_plan) for layer in space.layers)
        model = load_graph(collapse_quantize(quantizer.apply(plan)), self.compared)
        runs = [model.run(self.graph.feeds(batch)) for batch in batches()]
        return {name: np.concatenate([run[name] for run in runs]) for name in self.compared}

    def _batches(self, data: DataSet) -> Iterator[Batch]:
        size = min(self.batch_size, self.samples, len(data))
        batches = data.batches(size, self.samples)
        return (batch for batch in batches if not self.whole or len(batch) == size)

    def moved(self, reference: Mapping[str, Array], other: Mapping[str, Array]) -> float:
        """Returns the largest relative L2 error of the values."""
        return max(_relative(other[name], array) for name, array in reference.items())


def _relative(found: Array, wanted: Array) -> float:
    if found.shape != wanted.shape:
        raise EvaluatorError(f"the outputs are {found.shape}, but {wanted.shape} for the declared preparation")
    difference = found.astype(np.float64) - wanted
    if not np.isfinite(difference).all():
        return float("inf")
    return float(np.linalg.norm(difference) / max(float(np.linalg.norm(wanted.astype(np.float64))), _LEAST))


def _log_likelihood(scores: Array, labels: Array) -> Array:
    """Returns the log-probability of each label; scores that are no probabilities are taken as their logarithms."""
    rows = scores.reshape(len(scores), -1).astype(np.float64)
    if rows.min() >= 0 and np.allclose(rows.sum(axis=1), 1, atol=1e-3):
        logs = np.log(np.maximum(rows, 1e-12))
    else:
        shifted = rows - rows.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    found: Array = logs[np.arange(len(rows)), labels]
    return found


def _gain(metric: Metric, reference: _Run, run: _Run) -> Interval | None:
    if run.logs is not None and reference.logs is not None:
        return _mean_interval(run.logs - reference.logs)
    if run.terms is None or reference.terms is None:
        return None
    return difference_interval(metric, reference.terms, run.terms)


def _mean_interval(differences: Array) -> Interval:
    """Returns the interval of a mean of 95 %, by its normal approximation."""
    mean, count = float(differences.mean()), len(differences)
    spread = 1.96 * float(differences.std(ddof=1)) / count**0.5 if count > 1 else float("inf")
    return Interval(mean, mean - spread, mean + spread, 0.95, count)
