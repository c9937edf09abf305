"""What has to be known before the search begins: the options of each layer with their integers, sizes and predicted losses.

It is worked out once for a search and kept in its journal, so that a search that goes on later needs no data for it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nuqconv.errors import CalibrationError, FormatError, ModelError, UnsupportedError
from nuqconv.files.json_model import JsonModel, Text, read_object
from nuqconv.files.safe_json import parse
from nuqconv.ir import Array
from nuqconv.job.calibration import Calibration, Source
from nuqconv.job.candidates import Candidates, Solutions, activation_quants, find_candidates
from nuqconv.job.fitted_weights import solve_layers
from nuqconv.job.job import Job
from nuqconv.job.kept import KeptLayers
from nuqconv.job.sensitivity import measure_responses, network_losses
from nuqconv.passes.equalize import MOST_OCTAVES
from nuqconv.quantize.compensate import WeightMethod
from nuqconv.quantize.plan import LayerPlan, Plan
from nuqconv.search.journal import Journal
from nuqconv.search.space import SearchSpace
from nuqconv.search.space_json import space_from_object, space_to_object

__all__ = ["WEIGHTS_ONLY", "OnStep", "Preparation", "prepare"]

_LOG = logging.getLogger(__name__)
_VERSION = 1

WEIGHTS_ONLY = (
    "only weights are quantized, as asked: inputs of layers stay float, so there is no deploy model and no record"
)
"""What a user who has asked for it is told."""

OnStep = Callable[[str, int, int], None]
"""Called with what is being done, how many layers are done and how many there are."""


@dataclass(frozen=True)
class Preparation:
    """What the search is given.

    Attributes:
        candidates: The search space, and which layers lose nothing in it.
        source: Where activation ranges came from.
        notes: What the user should know about it.
        shifts: By which powers of two channels of the float graph are divided, by layer.
    """

    candidates: Candidates
    source: Source
    notes: tuple[str, ...]
    shifts: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.candidates.space

    def digests(self) -> tuple[str, ...]:
        """Returns the names of the integers that the options refer to, each once."""
        plans = (option.layer_plan for layer in self.space.layers for option in layer.options)
        return tuple(dict.fromkeys(plan.weights for plan in plans if plan.weights is not None))

    def to_json(self) -> str:
        """Returns everything but the integers as JSON; equal preparations give equal text."""
        content = {
            "version": _VERSION,
            "layers": space_to_object(self.space),
            "lossless": dict(self.candidates.lossless),
            "calibration": self.source.value,
            "notes": list(self.notes),
            **({"shifts": {name: shift.tolist() for name, shift in self.shifts.items()}} if self.shifts else {}),
        }
        return json.dumps(content, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Preparation:
        """Reads what `to_json` returned.

        Raises:
            FormatError: The text is damaged.
        """
        try:
            content = parse(text)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"the stored preparation is damaged: {error}") from error
        version = content.get("version", _VERSION) if isinstance(content, dict) else _VERSION
        if version != _VERSION:
            raise FormatError(f"the stored preparation has version {version!r:.20}, expected {_VERSION}")
        problems: list[str] = []
        found = read_object(_PreparationJson, content, (), problems)
        if found is None:
            raise FormatError("the stored preparation is damaged", problems)
        candidates = Candidates(space_from_object(found.layers), found.lossless)
        shifts = {name: np.array(shift, np.int64) for name, shift in found.shifts.items()}
        return cls(candidates, found.calibration, tuple(found.notes), shifts)


class _PreparationJson(JsonModel):
    version: int
    # A search space has a reader of its own.
    layers: list[Any]
    lossless: dict[Text, int]
    calibration: Annotated[Source, Field(strict=False)]
    notes: list[Text]
    shifts: dict[Text, list[Annotated[int, Field(ge=-MOST_OCTAVES, le=MOST_OCTAVES)]]] = Field(default_factory=dict)


def prepare(
    job: Job,
    calibration: Calibration,
    *,
    method: WeightMethod | None = None,
    importance: Mapping[str, Array] | None = None,
    measured_loss: bool = True,
    weights_only: bool = False,
    journal: Journal | None = None,
    on_step: OnStep | None = None,
) -> Preparation:
    """Works out the options of every layer.

    Args:
        job: The model and its configuration.
        calibration: What was measured on the calibration batches, and the first of them.
        method: How the integers of NUQ layers are chosen; None takes the nearest ones.
        importance: For some layers a weight >= 0 for each of their weights, such as `nuqconv.fisher` gives.
        measured_loss: Whether predicted losses are those at the network's outputs, measured on the calibration batches (decision D25); else, and
            without batches, they are those at each layer's own output.
        weights_only: Whether inputs of layers stay float though their ranges are known.
        journal: Has what was worked out before for these layers, and keeps each when it is done.
        on_step: Called as the work goes on.

    Returns:
        The preparation.

    Raises:
        ConfigError: Not one layer can be quantized.
    """
    activations = {}
    source = Source.NONE if weights_only else calibration.source
    if source is not Source.NONE:
        activations = activation_quants(
            job.quantizer, job.requests, calibration.histograms, with_offset=job.config.activation_offset
        )
    notes = list(calibration.notes)
    if weights_only:
        # That inputs stay float has then another reason than the calibration's.
        notes = [WEIGHTS_ONLY, *(() if calibration.source is Source.NONE else notes)]
    kept = None
    if journal is not None and calibration.batches:
        kept = KeptLayers(journal, job.quantizer, calibration.batches)
    solutions: Solutions = {}
    if method is not None and calibration.batches:
        try:
            solutions = solve_layers(
                job.quantizer,
                job.requests,
                activations,
                calibration.batches,
                method=method,
                importance=importance,
                kept=kept,
                on_layer=_step("choosing integers", on_step),
            )
        except (ModelError, UnsupportedError) as error:
            notes.append(f"weights are on the nearest levels, since onnxruntime cannot run the layers: {error}")
    elif method is not None and (weights_only or source is not Source.NONE):
        why = f": {'; '.join(calibration.reasons)}" if calibration.reasons else ""
        notes.append(f"weights are on the nearest levels, since there are no batches of inputs to do better with{why}")
    elif method is None and any(request.steps for request in job.requests):
        notes.append(
            "a first look: weights are on the nearest levels (--quick, weight_method=None); fitted ones err less"
        )
    candidates = find_candidates(job.quantizer, job.requests, activations, calibration.histograms, solutions)
    if measured_loss and calibration.batches:
        candidates = _at_the_outputs(job, candidates, calibration, kept, on_step)
    return Preparation(candidates, source, tuple(notes))


def _at_the_outputs(
    job: Job, candidates: Candidates, calibration: Calibration, kept: KeptLayers | None, on_step: OnStep | None
) -> Candidates:
    """Measures what each layer's strongest option does to the outputs, and scales the losses of the layers by it."""
    strongest = {
        layer.name: layer.options[-1].layer_plan
        for layer in candidates.space.layers
        if layer.name in candidates.distortions
    }
    key = "" if kept is None else kept.keys.responses(Plan.of(strongest.items()))
    found = None if kept is None else kept.responses(key)
    if found is None:
        on_layer = _step("predicting losses", on_step)
        try:
            found = measure_responses(job.graph, _Perturbed(job, strongest), calibration.batches, on_layer=on_layer)
        except (CalibrationError, UnsupportedError) as error:
            _LOG.warning("predicted losses are those at each layer's own output, which may cost evaluations: %s", error)
            return candidates
        if kept is not None:
            kept.keep_responses(key, found)
    for name, reason in found.unmeasured.items():
        _LOG.info("layer %r: its effect on the outputs was not measured: %s", name, reason)
    return replace(candidates, space=network_losses(candidates.space, found, candidates.distortions))


def _step(name: str, on_step: OnStep | None) -> Callable[[int, int], None]:
    def on_layer(done: int, total: int) -> None:
        if on_step is not None:
            on_step(name, done, total)

    return on_layer


class _Perturbed(Mapping[str, Array]):
    """The weights that layers have in their plans, as floats, made when they are asked for: all at once would be as large as the model."""

    def __init__(self, job: Job, plans: Mapping[str, LayerPlan]) -> None:
        self._job, self._plans = job, plans

    def __getitem__(self, name: str) -> Array:
        integers = self._job.quantizer.layer_integers(name, self._plans[name])
        return integers.as_floats(getattr(self._job.graph.node[name].op, "weight_output_axis", 0))

    def __iter__(self) -> Iterator[str]:
        return iter(self._plans)

    def __len__(self) -> int:
        return len(self._plans)
