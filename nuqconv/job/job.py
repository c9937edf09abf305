"""What is to be quantized: a checked model with its configuration, and the evaluator with an account of its time."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from nuqconv.config import LayerFacts, QuantConfig, load_config
from nuqconv.config.layers import LAYER_TYPES
from nuqconv.errors import ConfigError, UnsupportedError
from nuqconv.formats import CAFFE, Format, SourceModel, WriteOptions
from nuqconv.ir import Graph
from nuqconv.job.candidates import LayerRequest
from nuqconv.job.forms import Forms
from nuqconv.job.layer_facts import layer_facts
from nuqconv.passes import FoldResult, fold_affine
from nuqconv.passes.equalize import Shifts, scaled
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.capability import quantized_parts
from nuqconv.search.evaluator import CheckedEvaluator
from nuqconv.search.metrics import Interval

__all__ = ["Job", "TimedEvaluator", "float_graph", "make_job", "read_job"]


@dataclass(frozen=True)
class Job:
    """A checked model with its configuration.

    Attributes:
        config: The configuration.
        fold: The float graph after folding.
        quantizer: Quantizes that graph.
        requests: What the configuration allows for each layer.
        format: The model's format; that of the models that its evaluator is given.
        own_batch: The batch that the model's files fix, and so do all that are written; None where it may be open.
    """

    config: QuantConfig
    fold: FoldResult
    quantizer: Quantizer
    requests: tuple[LayerRequest, ...]
    format: Format = CAFFE
    own_batch: int | None = None

    @property
    def graph(self) -> Graph:
        """The float graph after folding."""
        return self.fold.graph

    @property
    def writing(self) -> WriteOptions:
        """How models are written: with an open batch where the layers allow it and the model's own is open."""
        return WriteOptions(dynamic_batch=None if self.own_batch is None else False)

    def scaled(self, shifts: Shifts) -> Job:
        """Returns the job on a graph whose channels are divided by powers of two (`nuqconv.passes.equalize`)."""
        graph = scaled(self.graph, shifts)
        return replace(self, fold=FoldResult(graph, self.fold.folded), quantizer=Quantizer(graph))

    @property
    def values(self) -> tuple[str, ...]:
        """The values that the layers to quantize read, each once."""
        return tuple(dict.fromkeys(self.graph.node[request.name].inputs[0] for request in self.requests))


def read_job(
    source: SourceModel, config_file: Path, forms: Forms = Forms.CODEBOOKS, levels: tuple[int, ...] | None = None
) -> Job:
    """Reads the configuration of a model that is to be searched, and folds what can be folded.

    Args:
        source: The model.
        config_file: The configuration.
        forms: What the search may make of layers.
        levels: Codebook sizes that may be tried, the largest first; None for those that the configuration says.

    Raises:
        UnsupportedError: The model is quantized already, or the configuration asks for what is not supported.
        ConfigError: The configuration is wrong or lets nothing be searched.
    """
    graph = float_graph(source)
    facts = layer_facts(graph)
    config = load_config(config_file, facts)
    if forms is Forms.CODEBOOKS and not any(item.nuq_capable for item in facts):
        raise ConfigError(
            f"{_name(source)}: none of its {len(facts)} layers can be quantized non-uniformly, so there is nothing to compress; "
            "quantize without a search (nuqconv quantize) what can be int8",
            _reasons(facts),
        )
    return make_job(source, config, forms.requests(config, graph, str(config_file), levels), str(config_file))


def _reasons(facts: Sequence[LayerFacts]) -> list[str]:
    """Says of every layer why its weights cannot have a codebook; of types that are never quantized how many there are."""
    found = [
        f"layer '{item.name}' ({item.type}): {'can be int8 only: ' if item.quantizable else ''}{item.reason or 'it has no weights'}"
        for item in facts
        if item.type in LAYER_TYPES
    ]
    others = Counter(item.type for item in facts if item.type not in LAYER_TYPES)
    if others:
        found.append(f"of types that are never quantized: {', '.join(f'{n} {kind}' for kind, n in others.items())}")
    return found


def float_graph(source: SourceModel) -> Graph:
    """Returns the graph of a model that is to be quantized.

    Raises:
        UnsupportedError: It is quantized already.
    """
    parts = quantized_parts(source.graph)
    if parts:
        raise UnsupportedError(f"{_name(source)} is quantized already; give the float model", parts)
    return source.graph


def _name(source: SourceModel) -> str:
    return str(source.files[0]) if source.files else f"network '{source.graph.name}'"


def make_job(source: SourceModel, config: QuantConfig, requests: tuple[LayerRequest, ...], place: str) -> Job:
    """Folds what can be folded of a model.

    Args:
        source: The model.
        config: Its configuration.
        requests: What may become of each layer.
        place: Where the configuration stands, for messages.

    Raises:
        UnsupportedError: The configuration asks for what is not supported.
    """
    unsupported = config.unsupported()
    if unsupported:
        raise UnsupportedError(f"{place} asks for what is not supported", unsupported)
    fold = FoldResult(source.graph, {})
    if config.do_fusion:
        fold = fold_affine(source.graph, skip=config.skip_fusion_layers)
    return Job(config, fold, Quantizer(fold.graph), requests, source.format, source.own_batch)


class TimedEvaluator:
    """Keeps account of the time that is the evaluator's own.

    Attributes:
        checked: The evaluator.
    """

    def __init__(self, checked: CheckedEvaluator) -> None:
        self.checked = checked
        self._seconds = 0.0
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Time spent in the evaluator so far, by this process and its workers."""
        return self._seconds

    def add_seconds(self, seconds: float) -> None:
        """Adds time that was spent in a worker; may be called from several threads."""
        with self._lock:
            self._seconds += seconds

    def baseline(
        self, model_file: str | os.PathLike[str], weights_file: str | os.PathLike[str], batch_num: int
    ) -> float:
        """Returns the metric of the original model; see `CheckedEvaluator.baseline`."""
        with self._timed():
            return self.checked.baseline(model_file, weights_file, batch_num)

    def measure(
        self, model_file: str | os.PathLike[str], weights_file: str | os.PathLike[str], batch_num: int
    ) -> float:
        """Returns the metric of a model; see `CheckedEvaluator.measure`."""
        with self._timed():
            return self.checked.measure(model_file, weights_file, batch_num)

    def run_calibration(
        self, model_file: str | os.PathLike[str], weights_file: str | os.PathLike[str], batch_num: int
    ) -> None:
        """Has the evaluator run a calibration model; see `CheckedEvaluator.run_calibration`."""
        with self._timed():
            self.checked.run_calibration(model_file, weights_file, batch_num)

    def interval(
        self, model_file: str | os.PathLike[str], weights_file: str | os.PathLike[str], batch_num: int
    ) -> Interval | None:
        """Returns how sure a model's metric is; see `CheckedEvaluator.interval`."""
        with self._timed():
            return self.checked.interval(model_file, weights_file, batch_num)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.add_seconds(time.monotonic() - start)
