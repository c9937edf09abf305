"""One trial as the journal has it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nuqconv.quantize.plan import Plan

__all__ = ["COLUMNS", "JournalRecord", "parse_row"]

COLUMNS = "sequence, number, step, digest, plan, metric, accepted, bytes, float_layers, seconds, worker, finished"
"""Columns of a trial in the order that `parse_row` takes them in."""

_KINDS = (int, int, str, str, str, float, int, float, str, float, str, str)


@dataclass(frozen=True)
class JournalRecord:
    """One trial as the journal has it.

    Attributes:
        sequence: From 1, in the order in which evaluations were finished.
        number: Number of the trial in its search.
        step: What was tried, in words.
        digest: SHA-256 of `plan_json`.
        plan_json: What was evaluated, as `Plan.to_json` writes it.
        metric: What the evaluator returned.
        accepted: Whether that satisfied the demand of the search that recorded it last.
        bytes: Size of all parameters of the model in the plan.
        float_layers: Layers that the plan leaves in float.
        seconds: Time that the evaluation took.
        worker: Who evaluated it.
        finished: When it was recorded, UTC, ISO 8601.
    """

    sequence: int
    number: int
    step: str
    digest: str
    plan_json: str
    metric: float
    accepted: bool
    bytes: float
    float_layers: tuple[str, ...]
    seconds: float
    worker: str
    finished: str

    @property
    def plan(self) -> Plan:
        """What was evaluated.

        Raises:
            ConfigError: The stored text is no plan.
        """
        return Plan.from_json(self.plan_json)


def parse_row(row: Sequence[Any]) -> JournalRecord:
    """Returns a row as a record; a file that others have made may hold anything anywhere.

    Raises:
        ValueError: The row is no trial; the message says which and why.
    """
    where = f"trial {row[0]!r:.20}"
    if any(type(value) is not kind for value, kind in zip(row, _KINDS, strict=True)):
        raise ValueError(f"{where} has values of the wrong kind")
    sequence, number, step, digest, plan, metric, accepted, size, floats, seconds, worker, finished = row
    if not all(map(math.isfinite, (metric, size, seconds))):
        raise ValueError(f"{where} has numbers that are not finite")
    if hashlib.sha256(plan.encode("utf-8")).hexdigest() != digest:
        raise ValueError(f"{where} has another plan than its hash says")
    try:
        names = json.loads(floats)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where} has no list of layers in float")
    return JournalRecord(
        sequence, number, step, digest, plan, metric, bool(accepted), size, tuple(names), seconds, worker, finished
    )
