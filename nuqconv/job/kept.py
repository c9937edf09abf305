"""Solved layers that a journal keeps one by one, so that no search solves them again.

Not one that was stopped, nor one with another metric, other outputs or another demand.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter

from nuqconv.errors import JournalError, NuqconvError
from nuqconv.files.json_model import JsonModel, Text, read_object
from nuqconv.files.safe_json import parse
from nuqconv.ir import Array
from nuqconv.job.candidates import Chosen
from nuqconv.job.layer_keys import LayerKeys
from nuqconv.job.sensitivity import Responses
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.compensate import UNIFORM
from nuqconv.quantize.integers import QuantizedWeights
from nuqconv.quantize.plan import LayerPlan, Precision
from nuqconv.search.journal import Journal

__all__ = ["KeptLayers"]

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class _SolutionJson(JsonModel):
    steps: int
    layer: dict[str, Any]
    loss: Annotated[float, Field(ge=0)]


class _ResponsesJson(JsonModel):
    divergences: dict[Text, float]
    unmeasured: dict[Text, Text]
    outputs: list[Text]
    samples: int


_SOLUTIONS, _RESPONSES = TypeAdapter(list[_SolutionJson]), TypeAdapter(_ResponsesJson)


class KeptLayers:
    """What a journal knows of layers, by the names that `LayerKeys` gives.

    It holds what its own search has asked for, and until the search space is there what was carried over from the one before: no more than the
    integers of two searches.

    Args:
        journal: Keeps it.
        quantizer: Gets the integers that are taken, and has those that are kept.
        batches: Inputs of the network on which layers are solved.
    """

    def __init__(self, journal: Journal, quantizer: Quantizer, batches: Sequence[Mapping[str, Array]]) -> None:
        self.keys = LayerKeys(quantizer.graph, batches)
        self._journal = journal
        self._quantizer = quantizer

    def solutions(self, key: str, layer: str) -> dict[int, Chosen] | None:
        """Returns a layer's integers by number of steps; None where they are not known or damaged."""
        return self._read(key, f"layer '{layer}'", lambda text: self._solutions(text, layer))

    def keep_solutions(self, key: str, found: Mapping[int, tuple[LayerPlan, float]]) -> None:
        """Keeps a layer's integers; when this returns they are on the disk.

        Args:
            key: Their name.
            found: For each number of steps what the layer would be in a plan, and its loss.
        """
        rows = [{"steps": steps, "layer": plan.to_dict(), "loss": loss} for steps, (plan, loss) in found.items()]
        digests = [plan.weights for plan, _ in found.values() if plan.weights is not None]
        self._journal.keep_solved(key, _text(rows), self._quantizer.contents(digests))

    def responses(self, key: str) -> Responses | None:
        """Returns what layers do to the outputs, or None where it is not known or damaged."""
        return self._read(key, "the effects of layers on the outputs", _responses)

    def keep_responses(self, key: str, found: Responses) -> None:
        """Keeps what layers do to the outputs."""
        self._journal.keep_solved(key, _text(asdict(found)))

    def _read(self, key: str, what: str, read: Callable[[str], _T]) -> _T | None:
        text = self._journal.solved(key)
        if text is None:
            return None
        try:
            return read(text)
        except (NuqconvError, ValueError, RecursionError) as error:
            _LOG.warning(
                "%s: %s is solved again, since what was kept of it is damaged: %s", self._journal.path, what, error
            )
            return None

    def _solutions(self, text: str, layer: str) -> dict[int, Chosen]:
        found: dict[int, Chosen] = {}
        for row in _checked(_SOLUTIONS, text):
            plan = LayerPlan.from_dict(row.layer, layer)
            steps = UNIFORM if plan.precision is Precision.INT8 else plan.num_steps
            if plan.weights is None or steps != row.steps:
                raise JournalError(f"it is not what a layer is at {row.steps} steps")
            self._quantizer.store(QuantizedWeights.from_bytes(self._journal.asset(plan.weights)))
            # That the integers are of this layer must not be found out in the middle of the search.
            self._quantizer.layer_integers(layer, plan)
            found[row.steps] = Chosen(plan.weights, plan.codebook or (), row.loss)
        return found


def _text(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _responses(text: str) -> Responses:
    found = _checked(_RESPONSES, text)
    return Responses(found.divergences, found.unmeasured, tuple(found.outputs), found.samples)


def _checked(model: TypeAdapter[_T], text: str) -> _T:
    problems: list[str] = []
    found = read_object(model, parse(text), (), problems)
    if found is None:
        raise JournalError("it is not what was kept", problems)
    return found
