"""Metrics of nets that make pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array
from nuqconv.search.metrics.base import Answers, MeanMetric, Terms, Truth, one_output

__all__ = ["Psnr", "Ssim"]

_LUMA = np.array([65.481, 128.553, 24.966]) / 255
_LUMA_START = 16 / 255
"""ITU-R BT.601: luma of R, G and B from 0 to 1, as a part of 255."""

BEST_PSNR = 100.0
"""What equal pictures count, since a metric must be finite."""


@dataclass(frozen=True)
class _Likeness(MeanMetric):
    """How much pictures are alike.

    Attributes:
        border: Pixels at each edge that do not count.
        range: What white is above black: 255 or 1.
        y: Whether to compare the luma of colour pictures only.
        bgr: Whether their channels are blue, green, red.
        against: ``truth`` for the pictures that should come out, ``float`` for those that the original net makes.
    """

    border: int = 0
    range: float = 255
    y: bool = False
    bgr: bool = False
    against: str = "truth"

    tolerance: ClassVar[float] = 1e-3

    def __post_init__(self) -> None:
        problems = []
        if self.border < 0:
            problems.append(f"border is {self.border}: expected a number of pixels")
        if not 0 < self.range < np.inf:
            problems.append(f"range is {self.range}: expected what white is above black, 255 or 1")
        if self.against not in ("truth", "float"):
            problems.append(f"against is '{self.against}': expected truth or float")
        if self.bgr and not self.y:
            problems.append("bgr says the order of channels for the luma; it needs y")
        if problems:
            raise EvaluatorError(f"metric '{self.names[0]}' has wrong parameters", problems)

    @property
    def truth(self) -> Truth:
        """The picture, unless pictures are held against the original net's."""
        return Truth.NONE if self.against_float else Truth.PICTURE

    @property
    def against_float(self) -> bool:
        """As the parameter says."""
        return self.against == "float"

    def terms(self, answers: Answers) -> Terms:
        """Returns the likeness of each picture."""
        return Terms(answers.count, np.array([[self._alike(*pair)] for pair in self._pairs(answers)], np.float64))

    @abstractmethod
    def _alike(self, one: Array, other: Array) -> float:
        """Returns the likeness of two pictures (channels, height, width)."""

    def _pairs(self, answers: Answers) -> Iterator[tuple[Array, Array]]:
        found = one_output(self, answers.outputs)
        wanted = one_output(self, answers.reference) if self.against_float else answers.truths
        if found.ndim not in (3, 4) or found.shape[:1] != (answers.count,):
            raise EvaluatorError(f"expected pictures (samples, channels, height, width), found {found.shape}")
        for number, (picture, truth) in enumerate(zip(found, wanted, strict=True)):
            where = f"sample {answers.first + number}"
            pair = [_picture(one, where) for one in (picture, np.asarray(truth))]
            if pair[0].shape != pair[1].shape:
                raise EvaluatorError(
                    f"{where}: the output is {pair[0].shape}, the picture it should be {pair[1].shape}"
                )
            self._check_range(pair[1], where)
            yield self._part(pair[0], where), self._part(pair[1], where)

    def _check_range(self, picture: Array, where: str) -> None:
        """A wrong range makes every number wrong, by 48 dB."""
        least, largest = float(picture.min()), float(picture.max())
        if largest - least > 1.5 * self.range:
            raise EvaluatorError(
                f"{where}: the picture has values from {least:g} to {largest:g}; write {self.names[0]}:range=255"
            )
        if self.range == 255 and 0 < largest <= 1 and (picture != np.floor(picture)).any():
            raise EvaluatorError(
                f"{where}: the picture has values from {least:g} to {largest:g}; write {self.names[0]}:range=1"
            )

    def _part(self, picture: Array, where: str) -> Array:
        """Returns what of a picture counts."""
        if self.y:
            if len(picture) != 3:
                raise EvaluatorError(f"{where}: y needs three channels, found {len(picture)}; leave it out")
            luma = np.tensordot(_LUMA[::-1] if self.bgr else _LUMA, picture, axes=1) + _LUMA_START * self.range
            picture = luma[np.newaxis]
        if min(picture.shape[1:]) <= 2 * self.border:
            raise EvaluatorError(f"{where}: a border of {self.border} leaves nothing of {picture.shape}")
        end = -self.border or None
        return picture[:, self.border : end, self.border : end]


@dataclass(frozen=True)
class Psnr(_Likeness):
    """Peak signal-to-noise ratio."""

    names: ClassVar[tuple[str, ...]] = ("psnr",)
    share: ClassVar[bool] = False
    definition: ClassVar[str] = (
        "the mean over pictures of 10 log10(range^2 / mean squared difference), in dB; equal pictures count 100"
    )
    source: ClassVar[str] = "peak signal-to-noise ratio; luma of ITU-R BT.601"

    def shown(self, value: float) -> str:
        """Returns the value in dB."""
        return f"{value:.3f} dB"

    def _alike(self, one: Array, other: Array) -> float:
        error = float(np.square(one - other).mean())
        return min(10 * np.log10(self.range**2 / error), BEST_PSNR) if error else BEST_PSNR


@dataclass(frozen=True)
class Ssim(_Likeness):
    """Structural similarity."""

    names: ClassVar[tuple[str, ...]] = ("ssim",)
    definition: ClassVar[str] = (
        "the mean over pictures, channels and places of the structural similarity in a Gaussian window of 11x11 (sigma 1.5), K1 0.01, K2 0.03; "
        "windows lie within the picture"
    )
    source: ClassVar[str] = "Wang, Bovik, Sheikh, Simoncelli: Image quality assessment, 2004"

    def _alike(self, one: Array, other: Array) -> float:
        if min(one.shape[1:]) < len(_WINDOW):
            raise EvaluatorError(f"pictures of {one.shape} are smaller than the window of 11x11")
        means = [_blurred(array) for array in (one, other)]
        squares = [_blurred(array * array) - mean * mean for array, mean in zip((one, other), means, strict=True)]
        product = _blurred(one * other) - means[0] * means[1]
        c1, c2 = (0.01 * self.range) ** 2, (0.03 * self.range) ** 2
        above = (2 * means[0] * means[1] + c1) * (2 * product + c2)
        below = (means[0] ** 2 + means[1] ** 2 + c1) * (squares[0] + squares[1] + c2)
        return float((above / below).mean(axis=(1, 2)).mean())


def _window() -> Array:
    weights = np.exp(-0.5 * np.square(np.arange(-5, 6) / 1.5))
    window: Array = weights / weights.sum()
    return window


_WINDOW = _window()


def _blurred(pictures: Array) -> Array:
    """Returns the weighted means of all windows within the pictures."""
    rows = sliding_window_view(pictures, len(_WINDOW), axis=1) @ _WINDOW
    found: Array = sliding_window_view(rows, len(_WINDOW), axis=2) @ _WINDOW
    return found


def _picture(array: Array, where: str) -> Array:
    if array.ndim not in (2, 3) or not array.size or array.dtype.kind not in "fiub":
        raise EvaluatorError(f"{where}: expected a picture (channels, height, width), found {array.shape}")
    picture = array.astype(np.float64)
    if not np.isfinite(picture).all():
        raise EvaluatorError(f"{where}: the picture holds NaN or infinity")
    return picture if picture.ndim == 3 else picture[np.newaxis]
