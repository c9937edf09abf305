"""What a run was asked for, and on what: for its result, its journal and its report."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nuqconv.errors import FormatError
from nuqconv.search.evaluator_facts import EvaluatorFacts
from nuqconv.search.objective import NearestMetric, Objective, SmallestBytes

__all__ = ["UNKNOWN", "About", "Budget", "command_line", "now", "objective_words", "versions"]

_PACKAGES = ("nuqconv", "numpy", "onnx", "onnxruntime", "protobuf")


@dataclass(frozen=True)
class Budget:
    """How long a search may take; None is any number.

    Attributes:
        max_evaluations: Most evaluations.
        timeout: Seconds after which no further evaluation is begun.
        patience: Evaluations without a better result after which it ends.
    """

    max_evaluations: int | None
    timeout: float | None
    patience: int | None


@dataclass(frozen=True)
class About:
    """What a run was asked for.

    Attributes:
        network: Name of the network.
        evaluator: What the evaluator measures and demands.
        aim: What the search is for, in words.
        max_layers: How many layers may have a codebook, if that is limited.
        max_bytes: The size that is demanded, if one is.
        strategy: How it searches.
        budget: How long it may take.
        files: The files read, by what they are.
        hashes: Their SHA-256.
        versions: Versions of the programs that took part, by name.
        date: When the run began, UTC, ISO 8601.
        command: What was typed to start it, or None if that is not known.
    """

    network: str
    evaluator: EvaluatorFacts
    aim: str
    max_layers: int | None
    max_bytes: float | None
    strategy: str
    budget: Budget
    files: Mapping[str, str]
    hashes: Mapping[str, str]
    versions: Mapping[str, str]
    date: str
    command: str | None

    def to_json(self) -> str:
        """Returns the whole as JSON on one line; equal ones give equal text."""
        return _ADAPTER.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> About:
        """Reads what `to_json` returned.

        Raises:
            FormatError: The text is damaged.
        """
        try:
            return _ADAPTER.validate_json(text)
        except ValidationError as error:
            raise FormatError(f"the description of the run is damaged: {error.errors()[0]['msg']}") from error

    def fields(self) -> dict[str, Any]:
        """Returns the fields of a `Document` that it knows."""
        told = self.evaluator
        return {
            "network": self.network,
            "metric_name": told.metric,
            **{
                name: getattr(told, name)
                for name in ("demand", "better", "limit", "data", "preparation", "samples", "runtime")
            },
            "aim": self.aim,
            "strategy": self.strategy,
            "budget": vars(self.budget),
            "model": dict(self.files),
            "hashes": dict(self.hashes),
            "versions": dict(self.versions),
            "date": self.date,
            "command": self.command,
        }

    @property
    def objective(self) -> Objective:
        """What the search is for, as far as it is one of this package's aims."""
        return SmallestBytes(self.max_layers) if self.max_bytes is None else NearestMetric(self.max_bytes)


_ADAPTER = TypeAdapter(About)

UNKNOWN: Mapping[str, Any] = {"network": "", "metric_name": "metric", "demand": "", "better": None, "limit": None}
"""The fields of a `Document` that it has to have, where nobody has described the run."""


def objective_words(objective: Objective) -> tuple[str, int | None, float | None]:
    """Returns what a search is for in words, with the number of layers or the size that limits it."""
    if isinstance(objective, NearestMetric):
        return f"the best metric in {objective.max_bytes:,.0f} bytes", None, objective.max_bytes
    if isinstance(objective, SmallestBytes):
        limit = objective.max_layers
        some = "" if limit is None else f" with at most {limit} layers that have a codebook"
        return f"the smallest size{some}", limit, None
    return type(objective).__name__, None, None


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that take part."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}


def command_line() -> str | None:
    """Returns what was typed to start this process; None in an interactive one."""
    program, *arguments = sys.argv or [""]
    path = Path(program)
    if path.name == "__main__.py":
        return shlex.join(["python", "-m", path.parent.name, *arguments])
    if path.stem == "nuqconv":
        return shlex.join(["nuqconv", *arguments])
    # What has no file of its own is a shell, a notebook or a worker.
    if path.suffix != ".py" or "ipykernel" in sys.modules:
        return None
    return shlex.join(["python", program, *arguments])


def now() -> str:
    """Returns the time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
