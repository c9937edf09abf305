"""The quantizer against its definition, one value at a time in Python's own integers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.errors import QuantizationError
from nuqconv.quantize.rounding import SCALE_MAX, SCALE_MIN, dequantize, quantize, reciprocal

scales = st.floats(2.0**-30, 2.0**30, width=32)
offsets = st.integers(-128, 127)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


def rounded_half_even(value: Fraction) -> int:
    return round(value)


@given(st.lists(floats, min_size=1, max_size=50), scales, offsets)
def test_quantize_is_its_definition(values, scale, offset):
    x = np.array(values, np.float32)
    with np.errstate(over="ignore"):
        product = x * (np.float32(1) / np.float32(scale))
    expected = [
        (127 if p > 0 else -128)
        if math.isinf(p)
        else min(127, max(-128, rounded_half_even(Fraction(float(p))) + offset))
        for p in product
    ]
    result = quantize(x, scale, offset)
    assert result.dtype == np.int8
    assert result.tolist() == expected


@given(st.integers(-128, 127), scales, offsets)
def test_dequantized_values_are_fixed_points(q, scale, offset):
    levels = np.array([q], np.int8)
    restored = dequantize(levels, scale, offset)
    assert restored.dtype == np.float32
    assert restored[0] == np.float32(q - offset) * np.float32(scale)
    assert quantize(restored, scale, offset)[0] == q


@given(st.floats(-1.0, 1.0), scales)
def test_error_is_at_most_half_a_step_inside_the_range(share, scale):
    x = np.float32(share * 127) * np.float32(scale)
    error = abs(float(dequantize(quantize(x, scale, 0), scale, 0)) - float(x))
    assert error <= scale * (0.5 + 1e-4)


def test_ties_go_to_even_and_the_reciprocal_multiplies():
    assert quantize([0.5, 1.5, 2.5, -0.5, -1.5], 1.0, 0).tolist() == [0, 2, 2, 0, -2]
    scale = np.float32(0.1)
    x = np.arange(-3000, 3000, dtype=np.float32) * np.float32(0.005)
    by_division = np.clip(np.rint(x / scale), -128, 127).astype(np.int8)
    assert (quantize(x, scale, 0) != by_division).any(), "this scale tells multiplication from division"


def test_shapes_infinities_and_empty():
    assert quantize(np.float32(3), 1.0, 0).shape == ()
    assert quantize(np.zeros((0, 3)), 1.0, 0).shape == (0, 3)
    assert quantize([np.inf, -np.inf], 0.5, 3).tolist() == [127, -128]
    assert dequantize(np.zeros((2, 3), np.int8), 0.5, -128).tolist() == [[64.0] * 3] * 2


def test_the_argument_is_not_changed():
    x = np.array([1.25, -7.0], np.float32)
    quantize(x, 0.5, 1)
    assert x.tolist() == [1.25, -7.0]


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, 1e-39, 1e38, 1e300, SCALE_MAX * 2, SCALE_MIN / 2])
def test_bad_scales(scale):
    for call in (reciprocal, lambda s: quantize([1.0], s, 0), lambda s: dequantize(np.zeros(1, np.int8), s, 0)):
        with pytest.raises(QuantizationError, match="scale must be a float32"):
            call(scale)


@pytest.mark.parametrize("scale", [SCALE_MIN, SCALE_MAX, 0.1])
def test_reciprocal(scale):
    assert reciprocal(scale) == np.float32(1) / np.float32(scale)
    assert reciprocal(scale).dtype == np.float32


def test_bad_offset_and_nan():
    with pytest.raises(QuantizationError, match=r"\[-128, 127\], found 128"):
        quantize([1.0], 1.0, 128)
    with pytest.raises(QuantizationError, match="2 NaN among 3"):
        quantize([1.0, np.nan, np.nan], 1.0, 0)
