"""All that is told of a search, finished or not: what its JSON holds, and what a page is made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from nuqconv.errors import FormatError

__all__ = ["Document", "ErrorRow", "Errors", "LayerRow", "NoiseRow", "Seconds", "SizesRow", "State", "TrialRow"]

State = Literal["finished", "searching", "stopped"]


@dataclass(frozen=True)
class SizesRow:
    """Sizes of all parameters in bytes, before and after; None for what is not known yet."""

    float_bytes: int | None
    int8_bytes: int | None
    bytes: int | None
    bits_per_weight: float | None


@dataclass(frozen=True)
class LayerRow:
    """One layer with weights; see `nuqconv.job.result.LayerResult`. `float_bytes` is its size with its bias in float32."""

    name: str
    kind: str
    precision: str
    num_steps: int | None
    levels: int | None
    weights: int
    bits: int
    bytes: int
    float_bytes: int
    lossless: bool


@dataclass(frozen=True)
class TrialRow:
    """One evaluation; see `nuqconv.search.trial.Trial`. `plan` is the digest of its plan."""

    number: int
    step: str
    metric: float
    accepted: bool
    bytes: int | float
    seconds: float
    pareto: bool
    plan: str


@dataclass(frozen=True)
class NoiseRow:
    """What sets a value apart from what it should be; `snr_db` is None where nothing does."""

    snr_db: float | None
    cosine: float
    largest: float


@dataclass(frozen=True)
class ErrorRow:
    """What quantization does to the output of one layer; see `nuqconv.comparison.layer_errors.LayerError`.

    Of the single error, `weights_snr_db` and `activations_snr_db` are the parts of weights and input; None where there are none, or no error.
    """

    layer: str
    kind: str
    levels: int | None
    rank: int
    accumulated: NoiseRow
    single: NoiseRow
    weights_snr_db: float | None
    activations_snr_db: float | None


@dataclass(frozen=True)
class Errors:
    """Where quantization hurts; see `nuqconv.comparison.layer_errors.LayerErrors`."""

    samples: int
    layers: tuple[ErrorRow, ...]
    outputs: Mapping[str, NoiseRow]
    unmeasured: Mapping[str, str]

    @classmethod
    def from_object(cls, value: object) -> Errors:
        """Reads what `LayerErrors.to_object` returned."""
        return _ERRORS.validate_python(value)


@dataclass(frozen=True)
class Seconds:
    """Duration of the whole call, and of the evaluator in it."""

    total: float
    evaluator: float


@dataclass(frozen=True)
class DifferenceRow:
    """A difference of two metrics, and where it lies.

    Attributes:
        estimate: The difference itself.
        low: Lower end of its interval.
        high: Upper end.
        confidence: The share of draws within.
        units: How many samples there were to draw from.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    units: int


@dataclass(frozen=True)
class Document:
    """All that is told of a search.

    Attributes:
        state: Whether the search has finished, goes on now, or was stopped.
        network: Name of the network.
        metric_name: What the evaluator measures.
        demand: What it demands, in words.
        better: Which metrics are better, if that is known.
        limit: The worst metric that is accepted, if that is known.
        original_metric: Metric of the original model.
        metric: Metric of the best plan, or of the best so far.
        difference: Its difference to the original metric, with the interval in which that lies, where the evaluator tells.
        accepted: Whether the evaluator accepts it.
        best_trial: Its number.
        sizes: Sizes before and after.
        layers: What became of each layer with weights.
        trials: Every plan evaluated, in order.
        aim: What the search is for.
        strategy: How it searches.
        budget: ``max_evaluations``, ``timeout`` and ``patience``; None is any number.
        model: The files read, by what they are.
        hashes: Their SHA-256.
        data: The data in words.
        preparation: What is done with the data before the net sees them.
        samples: How many samples are evaluated.
        runtime: What runs the models.
        calibration: Where activation ranges came from.
        reverted: Layers that stay float though they could be quantized.
        folded: For each layer, the layers that were folded into it.
        stopped_by: Why the search ended.
        notes: What the user should know.
        seconds: How long it took.
        files: The files written.
        file_bytes: Their sizes.
        journal: Where the journal is.
        versions: Versions of the programs that took part.
        date: When the run began, UTC, ISO 8601.
        command: What was typed to start it.
        errors: Where quantization hurts, if that was measured.
        plan: The best plan in its own form.
    """

    state: State
    network: str
    metric_name: str
    demand: str
    better: Literal["higher", "lower"] | None
    limit: float | None
    original_metric: float | None
    metric: float | None
    accepted: bool | None
    best_trial: int | None
    sizes: SizesRow
    layers: tuple[LayerRow, ...]
    trials: tuple[TrialRow, ...]
    difference: DifferenceRow | None = None
    aim: str = ""
    strategy: str = ""
    budget: Mapping[str, int | float | None] = field(default_factory=dict)
    model: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    data: str | None = None
    preparation: str | None = None
    samples: int | None = None
    runtime: str | None = None
    calibration: str | None = None
    reverted: tuple[str, ...] = ()
    folded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stopped_by: str | None = None
    notes: tuple[str, ...] = ()
    seconds: Seconds | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    file_bytes: Mapping[str, int] = field(default_factory=dict)
    journal: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    date: str | None = None
    command: str | None = None
    errors: Errors | None = None
    plan: Mapping[str, Any] | None = None

    def to_object(self) -> dict[str, Any]:
        """Returns the whole as JSON's own kinds of values."""
        found: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return found

    def to_json(self) -> str:
        """Returns the whole as JSON text."""
        return json.dumps(self.to_object(), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_object(cls, value: object) -> Document:
        """Reads what `to_object` returned.

        Raises:
            FormatError: It is something else.
        """
        try:
            return _ADAPTER.validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise FormatError(f"the account of the search is damaged: {place}: {first['msg']}") from error


_ADAPTER = TypeAdapter(Document)
_ERRORS = TypeAdapter(Errors)
