"""What a comparison found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum

from nuqconv.comparison.tolerance import Needed, Tolerance

__all__ = ["BlobComparison", "Column", "CompareReport", "Divergence", "Role", "Verdict"]

Shape = tuple[int, ...]


class Role(Enum):
    """What a blob is in the search for the layers that differ."""

    EQUAL = "equal"
    ROOT = "root"
    """Its layer differs although its inputs agree, or also when it is fed the reference's inputs."""
    INHERITED = "inherited"
    """It differs because what it is computed from does."""
    MEMORY = "memory"
    """The runtime has used its memory again: all that is computed from it agrees."""


class Verdict(Enum):
    """What may be said of one side."""

    AGREE = "agree"
    NOT_PROVEN = "not proven"
    """What was compared agrees, and yet it proves little; `Column.doubt` says why."""
    DIFFER = "differ"
    FAILED = "failed"
    """It did not run."""


@dataclass(frozen=True)
class BlobComparison:
    """One blob on both sides.

    Attributes:
        name: The blob; ``blob@layer`` is the state that an in-place layer overwrites later.
        layer: The layer that makes it.
        layer_type: That layer's type.
        shapes: Its shape on each side, the reference's first; they count as equal if they differ only in axes of size 1.
        agrees: Whether the numbers are within the tolerance, or the compare function says so.
        differing: How many numbers are not within the tolerance.
        max_abs: Largest absolute difference; NaN where one side is NaN or infinite and the other is not, or shapes differ.
        relative: Euclidean norm of the difference over the norm of the reference.
        cosine: Cosine of the angle between both; 1.0 where both are zero.
        top1: Share of samples whose largest class is the same, for blobs of one number for each class; else None.
        quantiles: The absolute difference that a share of the numbers does not exceed, by share; empty where shapes differ.
        tolerance: What counted as equal.
        needed: The smallest tolerances with which it would pass; None where none would.
        role: What it is in the search for the layers that differ.
        said: What the compare function said of it.
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
    quantiles: Mapping[float, float]
    tolerance: Tolerance
    needed: Needed | None
    role: Role = Role.EQUAL
    said: str = ""

    @property
    def differs(self) -> bool:
        """Whether it is a difference, which memory that was used again is not."""
        return not self.agrees and self.role is not Role.MEMORY


@dataclass(frozen=True)
class Divergence:
    """A layer whose result differs for a reason of its own.

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
        alone: Whether its inputs differ too, so that index, values and causes are of the layer alone, fed the reference's inputs.
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
    alone: bool = False


@dataclass(frozen=True)
class Column:
    """One side, held against the reference.

    Attributes:
        side: What was run: the runtime and the model.
        runtime: The runtime's name.
        blobs: The blobs that it shares with the reference, in the order of execution.
        roots: The layers that differ for a reason of their own, in the order of execution; all other differences are inherited.
        not_compared: Outputs that were wanted and could not be compared, each with the reason.
        needed: The smallest tolerances with which all blobs without a tolerance of their own would pass; None where none would.
        doubt: Why agreement would prove little, or an empty text.
        failure: Why it did not run, or an empty text.
    """

    side: str
    runtime: str
    blobs: tuple[BlobComparison, ...] = ()
    roots: tuple[Divergence, ...] = ()
    not_compared: Mapping[str, str] = field(default_factory=dict)
    needed: Needed | None = None
    doubt: str = ""
    failure: str = ""

    @property
    def verdict(self) -> Verdict:
        """What may be said of it."""
        if self.failure:
            return Verdict.FAILED
        if any(item.differs for item in self.blobs):
            return Verdict.DIFFER
        return Verdict.NOT_PROVEN if self.not_compared or self.doubt else Verdict.AGREE

    @property
    def agrees(self) -> bool:
        """Whether all blobs agree and every wanted output is among them."""
        return not self.failure and not self.not_compared and not any(item.differs for item in self.blobs)


@dataclass(frozen=True)
class CompareReport:
    """The result of `nuqconv.compare`.

    Attributes:
        reference: What the other sides are held against: the runtime and the model.
        columns: The other sides.
        inputs: Shape of each input.
        source: Where the inputs came from.
        tolerance: What counts as equal where nothing else is said of a blob.
        notes: What else should be known.
    """

    reference: str
    columns: tuple[Column, ...]
    inputs: Mapping[str, Shape]
    source: str
    tolerance: Tolerance
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        bad = sum(item.differs for item in self.blobs)
        first = "" if self.first is None else f", the first in layer {self.first.layer!r}"
        found = f"{bad} of {len(self.blobs)} blobs differ{first}" if bad else f"{len(self.blobs)} blobs agree"
        left = f", {len(self.not_compared)} not compared" if self.not_compared else ""
        return f"<CompareReport {' and '.join(self.sides)}: {found}{left}>"

    @property
    def sides(self) -> tuple[str, ...]:
        """All sides, the reference first."""
        return (self.reference, *(column.side for column in self.columns))

    @property
    def verdict(self) -> Verdict:
        """The worst of the columns' verdicts."""
        found = {column.verdict for column in self.columns}
        return next(
            item for item in (Verdict.FAILED, Verdict.DIFFER, Verdict.NOT_PROVEN, Verdict.AGREE) if item in found
        )

    @property
    def agrees(self) -> bool:
        """Whether all common blobs agree and every wanted output is among them; whether that proves anything, `verdict` says."""
        return all(column.agrees for column in self.columns)

    @property
    def blobs(self) -> tuple[BlobComparison, ...]:
        """The blobs of all columns, column by column."""
        return tuple(item for column in self.columns for item in column.blobs)

    @property
    def blob(self) -> Mapping[str, BlobComparison]:
        """The comparisons by blob: of several columns the first in which it differs, else the first."""
        found: dict[str, BlobComparison] = {}
        for item in self.blobs:
            if item.name not in found or (item.differs and not found[item.name].differs):
                found[item.name] = item
        return found

    @property
    def roots(self) -> tuple[Divergence, ...]:
        """The layers that differ for a reason of their own, column by column."""
        return tuple(root for column in self.columns for root in column.roots)

    @property
    def first(self) -> Divergence | None:
        """The first of them, or None."""
        return next(iter(self.roots), None)

    @property
    def not_compared(self) -> Mapping[str, str]:
        """Outputs that could not be compared in one of the columns, with the reason."""
        return {name: why for column in self.columns for name, why in column.not_compared.items()}

    def to_json(self) -> str:
        """Returns everything as JSON text; numbers that are not finite are null."""
        content = {"verdict": self.verdict, "agrees": self.agrees, **asdict(self)}
        for place, column in zip(content["columns"], self.columns, strict=True):
            place.update(verdict=column.verdict, agrees=column.agrees)
        return json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
