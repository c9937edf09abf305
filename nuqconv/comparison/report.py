"""What a comparison found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

__all__ = ["BlobComparison", "CompareReport", "Divergence"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class BlobComparison:
    """One blob in both runtimes.

    Attributes:
        name: The blob; ``blob@layer`` is the state that an in-place layer overwrites later.
        layer: The layer that makes it.
        layer_type: That layer's type.
        shapes: Its shape on each side; they count as equal if they differ only in axes of size 1.
        agrees: Whether all numbers are within the tolerance.
        differing: How many numbers are not.
        max_abs: Largest absolute difference; NaN where one side is NaN or infinite and the other is not, or shapes differ.
        relative: Euclidean norm of the difference over the norm of the second side.
        cosine: Cosine of the angle between both; 1.0 where both are zero.
        top1: Share of samples whose largest class is the same, for blobs of one number for each class; else None.
    """

    name: str
    layer: str
    layer_type: str
    shapes: tuple[Shape, Shape]
    agrees: bool
    differing: int
    max_abs: float
    relative: float
    cosine: float
    top1: float | None


@dataclass(frozen=True)
class Divergence:
    """The first layer, in the order of execution, whose result differs.

    Attributes:
        layer: Its name.
        layer_type: Its type.
        blob: The value that differs.
        place: File and line of the layer, or the model's name where the format has no lines.
        parameters: Its parameters, those that are not the default.
        index: Where the difference is largest, or None where the shapes differ.
        values: The two numbers there.
        causes: What is likely to be behind it, the most likely first.
        suspects: Layers before it whose own results could not be compared, the cause may lie in one of these.
    """

    layer: str
    layer_type: str
    blob: str
    place: str
    parameters: str
    index: tuple[int, ...] | None
    values: tuple[float, float] | None
    causes: tuple[str, ...]
    suspects: tuple[str, ...]


@dataclass(frozen=True)
class CompareReport:
    """The result of `nuqconv.compare`.

    Attributes:
        sides: What was run on each side: the runtime and the model.
        inputs: Shape of each input.
        source: Where the inputs came from.
        rtol: Relative tolerance.
        atol: Absolute tolerance, for blobs whose largest number is at most 1; a multiple of that number in others.
        blobs: The common blobs in the order of execution.
        first: The first diverging layer, or None.
        not_compared: Outputs that were wanted and could not be compared, each with the reason.
        notes: What else should be known.
    """

    sides: tuple[str, str]
    inputs: Mapping[str, Shape]
    source: str
    rtol: float
    atol: float
    blobs: tuple[BlobComparison, ...]
    first: Divergence | None
    not_compared: Mapping[str, str]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        bad = sum(not item.agrees for item in self.blobs)
        first = "" if self.first is None else f", the first in layer {self.first.layer!r}"
        found = f"{bad} of {len(self.blobs)} blobs differ{first}" if bad else f"{len(self.blobs)} blobs agree"
        left = f", {len(self.not_compared)} not compared" if self.not_compared else ""
        return f"<CompareReport {self.sides[0]} and {self.sides[1]}: {found}{left}>"

    @property
    def agrees(self) -> bool:
        """Whether all common blobs agree and every wanted output is among them."""
        return self.first is None and not self.not_compared and all(blob.agrees for blob in self.blobs)

    @property
    def blob(self) -> Mapping[str, BlobComparison]:
        """The comparisons by blob."""
        return {item.name: item for item in self.blobs}

    def to_json(self) -> str:
        """Returns everything as JSON text; numbers that are not finite are null."""
        content = {"agrees": self.agrees, **asdict(self)}
        return json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
