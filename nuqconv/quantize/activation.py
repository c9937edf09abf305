"""Choosing the scale and offset of an activation from its histogram.

Source: the IFMR search ("input feature map reconstruction") of the toolkit whose files this package writes, as its public manual
describes it: start from percentiles, try a range of ratios, keep the one with the least squared error. The quantizer that is measured
is the real one (`nuqconv.quantize.rounding`), with the scale already rounded to float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import CalibrationError, ConfigError, QuantizationError
from nuqconv.quantize.histogram import Histogram
from nuqconv.quantize.rounding import INT8_MAX, INT8_MIN, SCALE_MAX, SCALE_MIN, dequantize, quantize

__all__ = ["ActivationQuant", "check_histogram", "ifmr", "quantizer_for_range", "relative_noise"]

_STEPS = INT8_MAX - INT8_MIN


@dataclass(frozen=True, slots=True)
class ActivationQuant:
    """How one activation is quantized.

    Attributes:
        scale: Step size, in units of the activation; a float that float32 holds exactly.
        offset: The integer that stands for 0.0, in [-128, 127].

    Raises:
        QuantizationError: A value is of the wrong type or out of range.
    """

    scale: float
    offset: int

    def __post_init__(self) -> None:
        if type(self.scale) is not float or type(self.offset) is not int:
            raise QuantizationError(
                f"scale must be a float and offset an int, found {self.scale!r} and {self.offset!r}"
            )
        if not SCALE_MIN <= self.scale <= SCALE_MAX or float(np.float32(self.scale)) != self.scale:
            raise QuantizationError(
                f"scale must be a float32 value in [{SCALE_MIN:g}, {SCALE_MAX:g}], found {self.scale!r}; round it with numpy.float32"
            )
        if not INT8_MIN <= self.offset <= INT8_MAX:
            raise QuantizationError(f"offset must lie in [{INT8_MIN}, {INT8_MAX}], found {self.offset}")


def quantizer_for_range(minimum: float, maximum: float, *, with_offset: bool = True) -> ActivationQuant:
    """Spread the 256 integers over a range of values, which is widened to hold 0.

    With offset the scale is ``(max - min) / 255`` and the offset ``rint(-128 - min / scale)``, so an input that is never negative has
    offset -128. Without, the scale is ``max(|min|, |max|) / 127`` and the offset 0. A range of nothing but 0 has scale 1.

    Args:
        minimum: Lower end, finite, in units of the activation.
        maximum: Upper end, finite.
        with_offset: Whether the offset may differ from 0.

    Raises:
        QuantizationError: The range is not finite or too large for float32.
    """
    low, high = min(float(minimum), 0.0), max(float(maximum), 0.0)
    span = (high - low) / _STEPS if with_offset else max(-low, high) / INT8_MAX
    if not span <= SCALE_MAX:
        raise QuantizationError(f"the range [{minimum:g}, {maximum:g}] is too large to quantize; skip the layer")
    scale = float(np.float32(max(span, SCALE_MIN))) if span > 0 else 1.0
    offset = int(np.clip(np.rint(INT8_MIN - low / scale), INT8_MIN, INT8_MAX)) if with_offset else 0
    return ActivationQuant(scale=scale, offset=offset)


def ifmr(
    hist: Histogram,
    *,
    max_percentile: float = 0.999999,
    min_percentile: float = 0.999999,
    search_range: tuple[float, float] = (0.7, 1.3),
    search_step: float = 0.01,
    with_offset: bool = True,
    name: str = "",
) -> ActivationQuant:
    """Search the scale and offset of least squared error.

    The range starts at the percentiles of the values, with 0 in it, and both ends are multiplied by each ratio of
    ``search_range``, ends included. The error of a ratio is that of the bin centers (exact zeros apart, which no quantizer misses).
    Of equal errors the first ratio wins. The result depends on the bins and the exact extremes alone, so not on the order of the data.

    Args:
        hist: The values seen.
        max_percentile: Share of the values that the upper end must reach, in (0.5, 1].
        min_percentile: The same for the lower end.
        search_range: Least and largest ratio (a, b), 0 < a < b.
        search_step: Step between ratios, in (0, b - a].
        with_offset: Whether the offset may differ from 0.
        name: Name of the activation for error messages.

    Returns:
        The quantizer of least error; for nothing but zeros, scale 1.

    Raises:
        CalibrationError: The histogram is empty or has seen NaN or infinities, or its range is too large.
        ConfigError: A parameter is out of range.
    """
    _check_parameters(max_percentile, min_percentile, search_range, search_step)
    check_histogram(hist, name)
    low, high = _percentile_range(hist, min_percentile, max_percentile)
    if low == high:
        return quantizer_for_range(0.0, 0.0, with_offset=with_offset)
    centers, counts = _nonzero_bins(hist)
    start, stop = search_range
    number = math.floor((stop - start) / search_step + 1e-6) + 1
    best: ActivationQuant | None = None
    least = math.inf
    for i in range(number):
        ratio = start + i * search_step
        try:
            candidate = quantizer_for_range(ratio * low, ratio * high, with_offset=with_offset)
        except QuantizationError as error:
            raise CalibrationError(f"activation {name!r}: {error}") from error
        error_sum = _squared_error(centers, counts, candidate)
        if best is None or error_sum < least:
            best, least = candidate, error_sum
    if best is None:
        raise CalibrationError(f"activation {name!r}: the search range {search_range} holds no ratio")
    return best


def check_histogram(hist: Histogram, name: str) -> None:
    """Raises CalibrationError if no range can be found from a histogram."""
    if hist.nonfinite:
        raise CalibrationError(
            f"activation {name!r}: {hist.nonfinite} of {hist.nonfinite + hist.count} values are NaN or infinite; "
            "look for the layer that produces them, or skip the layers that read it"
        )
    if not hist.count:
        raise CalibrationError(f"activation {name!r}: no values were seen; give calibration at least one batch")


def relative_noise(hist: Histogram, quant: ActivationQuant) -> float:
    """Returns the squared error that a quantizer makes, relative to the square of the values.

    Args:
        hist: The values, counted; those of a bin are taken as its centre, exact zeros as 0.
        quant: The quantizer.

    Returns:
        Noise power over signal power; 0 where there is no signal.
    """
    centers, counts = _nonzero_bins(hist)
    signal = float(np.sum(counts * np.square(centers, dtype=np.float64)))
    return _squared_error(centers, counts, quant) / signal if signal else 0.0


def _check_parameters(
    max_percentile: float, min_percentile: float, search_range: tuple[float, float], search_step: float
) -> None:
    start, stop = search_range
    problems = [
        f"{key} must lie in (0.5, 1], found {value!r}"
        for key, value in (("max_percentile", max_percentile), ("min_percentile", min_percentile))
        if not 0.5 < value <= 1.0
    ]
    if not 0.0 < start < stop < math.inf:
        problems.append(f"search_range must be (a, b) with 0 < a < b, found {search_range!r}")
    elif not 0.0 < search_step <= stop - start + 1e-9:
        problems.append(f"search_step must lie in (0, {stop - start:g}], found {search_step!r}")
    if problems:
        raise ConfigError("the parameters of the activation search are out of range", problems)


def _percentile_range(hist: Histogram, min_percentile: float, max_percentile: float) -> tuple[float, float]:
    """Outer edges of the bins in which the percentiles fall, within the exact extremes, and with 0 in between."""
    counts, width = hist.counts, 2.0**hist.exponent
    upper = int(np.searchsorted(np.cumsum(counts), math.ceil(max_percentile * hist.count)))
    lower = counts.size - 1 - int(np.searchsorted(np.cumsum(counts[::-1]), math.ceil(min_percentile * hist.count)))
    high = min((hist.origin + upper + 1) * width, hist.maximum)
    low = max((hist.origin + lower) * width, hist.minimum)
    return min(low, 0.0), max(high, 0.0)


def _nonzero_bins(hist: Histogram) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Centers and counts of the bins that hold anything but exact zeros."""
    counts = hist.counts
    counts[-hist.origin] -= hist.zeros
    used = np.flatnonzero(counts)
    centers = (used + (hist.origin + 0.5)) * 2.0**hist.exponent
    return centers.astype(np.float32), counts[used].astype(np.float64)


def _squared_error(centers: NDArray[np.float32], counts: NDArray[np.float64], quant: ActivationQuant) -> float:
    restored = dequantize(quantize(centers, quant.scale, quant.offset), quant.scale, quant.offset)
    error = np.subtract(restored, centers, dtype=np.float64)
    return float(np.sum(counts * error * error))
