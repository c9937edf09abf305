"""What counts as equal, and how much would have to."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import ConfigError

__all__ = ["Needed", "Tolerance", "Tolerances", "parse_tolerances"]


@dataclass(frozen=True)
class Tolerance:
    """When two blobs count as equal: where ``|a - b| <= atol * max(1, largest |b|) + rtol * |b|``.

    The absolute part grows with the blob's largest number, as the rounding of a sum grows with its terms.

    Attributes:
        rtol: Relative tolerance.
        atol: Absolute tolerance; in a blob with numbers above 1 a multiple of its largest.
        quantile: The share of the numbers that must be that near, 1 for all. NaN or infinity on one side only is never passed over.

    Raises:
        ConfigError: A number is out of range.
    """

    rtol: float = 1e-3
    atol: float = 1e-5
    quantile: float = 1.0

    def __post_init__(self) -> None:
        if not (self.rtol >= 0 and self.atol >= 0):
            raise ConfigError(f"rtol {self.rtol} and atol {self.atol} must not be negative")
        if not 0 < self.quantile <= 1:
            raise ConfigError(f"quantile {self.quantile}: expected a share of the numbers, above 0 and at most 1")

    def differs(
        self, a: NDArray[np.float64], b: NDArray[np.float64], largest: float | None = None
    ) -> NDArray[np.bool_]:
        """Returns where two arrays of one shape differ; NaN equals NaN, an infinity itself.

        Args:
            a: One.
            b: The other.
            largest: The largest finite magnitude of the whole blob, where these are parts of it.
        """
        size = np.abs(b)
        if largest is None:
            finite = size[np.isfinite(size)]
            largest = float(finite.max()) if finite.size else 0.0
        bound = self.atol * max(1.0, largest) + self.rtol * size
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= bound
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        both = np.isfinite(a) & np.isfinite(b)
        wrong: NDArray[np.bool_] = ~(same | (near & both))
        return wrong

    def allows(self, differing: int, size: int) -> bool:
        """Whether so many of ``size`` numbers may differ."""
        return differing <= math.floor(size * (1 - self.quantile) + 1e-9)


@dataclass(frozen=True)
class Needed:
    """The smallest tolerances that would pass, rounded up to two digits.

    Attributes:
        rtol: The relative one, with the absolute one as it is; None where no relative one is enough.
        atol: The absolute one, with the relative one as it is.
    """

    rtol: float | None
    atol: float

    @staticmethod
    def of_all(items: Iterable[Needed | None]) -> Needed | None:
        """Returns what all of them need; None where one of them would pass with none."""
        found = list(items)
        known = [item for item in found if item is not None]
        if len(known) < len(found):
            return None
        relative = [item.rtol for item in known]
        rtol = None if None in relative else max((item for item in relative if item is not None), default=0.0)
        return Needed(rtol, max((item.atol for item in known), default=0.0))


@dataclass(frozen=True)
class Tolerances:
    """A tolerance for each blob.

    Attributes:
        default: That of blobs of which nothing is said.
        by_blob: Those of others, by name or by a pattern such as ``fc*``; a name goes before patterns, and of these the last that fits counts.
    """

    default: Tolerance = field(default_factory=Tolerance)
    by_blob: Mapping[str, Tolerance] = field(default_factory=dict)

    def of(self, name: str) -> Tolerance:
        """Returns the tolerance of a blob."""
        if name in self.by_blob:
            return self.by_blob[name]
        fitting = [found for pattern, found in self.by_blob.items() if fnmatchcase(name, pattern)]
        return fitting[-1] if fitting else self.default

    def check(self, names: Collection[str]) -> None:
        """Checks that each name and pattern fits a blob.

        Args:
            names: The blobs that are compared.

        Raises:
            ConfigError: One does not; all are listed.
        """
        unused = [item for item in self.by_blob if not any(item == name or fnmatchcase(name, item) for name in names)]
        if unused:
            shown = ", ".join([*names][:8]) + (", ..." if len(names) > 8 else "")
            raise ConfigError(
                "a tolerance is given for what is not compared",
                [f"'{item}' fits none of the {len(names)} blobs: {shown}" for item in unused],
            )


def parse_tolerances(texts: Sequence[str] | None, default: Tolerance) -> dict[str, Tolerance]:
    """Returns tolerances of blobs from texts such as ``prob:rtol=1e-2,atol=1e-4``; what a text does not say is as in the default.

    Args:
        texts: The texts; what stands before the last colon is a blob's name or a pattern.
        default: The tolerance of other blobs.

    Raises:
        ConfigError: A text is not of that form, or a number is out of range; all faults are listed.
    """
    known = [item.name for item in fields(Tolerance)]
    found: dict[str, Tolerance] = {}
    problems = []
    for text in texts or ():
        name, _, said = text.rpartition(":")
        values = dict(_number(part) for part in said.split(","))
        numbers = {key: value for key, value in values.items() if value is not None}
        if not name or not set(values) <= set(known) or len(numbers) < len(values):
            problems.append(f"'{text}': expected NAME:{','.join(f'{item}=NUMBER' for item in known)}, or some of these")
            continue
        try:
            found[name] = replace(default, **numbers)
        except ConfigError as error:
            problems.append(f"'{text}': {error}")
    if problems:
        raise ConfigError("a tolerance is wrong", problems)
    return found


def _number(text: str) -> tuple[str, float | None]:
    key, _, value = text.partition("=")
    try:
        return key.strip(), float(value)
    except ValueError:
        return key.strip(), None
