"""The search of activation ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuqconv.errors import CalibrationError, ConfigError, QuantizationError
from nuqconv.quantize.activation import ActivationQuant, ifmr, quantizer_for_range
from nuqconv.quantize.histogram import Histogram
from nuqconv.quantize.rounding import dequantize, quantize

RNG = np.random.default_rng(11)
NORMAL = RNG.standard_normal(100_000).astype(np.float32)
DATA = {
    "normal": NORMAL,
    "relu": np.maximum(NORMAL, 0),
    "shifted": NORMAL + 2,
    "laplace": RNG.laplace(size=100_000).astype(np.float32),
    "image": RNG.integers(0, 256, 100_000).astype(np.float32) - 117,
    "negative": -np.abs(NORMAL) - 1,
}


def histogram_of(*arrays):
    hist = Histogram()
    for array in arrays:
        hist.update(np.asarray(array, np.float32))
    return hist


def error_of(x, quant):
    restored = dequantize(quantize(x, quant.scale, quant.offset), quant.scale, quant.offset)
    return float(np.square(restored - x, dtype=np.float64).sum())


@pytest.mark.parametrize("with_offset", [True, False])
@pytest.mark.parametrize("name", DATA)
def test_as_good_as_the_same_search_on_the_raw_values(name, with_offset):
    x = DATA[name]
    found = ifmr(histogram_of(x), with_offset=with_offset)
    count = len(x)
    high = max(0.0, float(np.sort(x)[int(np.ceil(0.999999 * count)) - 1]))
    low = min(0.0, float(np.sort(x)[::-1][int(np.ceil(0.999999 * count)) - 1]))
    ratios = [0.7 + 0.01 * i for i in range(61)]
    errors = [error_of(x, quantizer_for_range(r * low, r * high, with_offset=with_offset)) for r in ratios]
    # A bin is narrower than 1/30 of a step, so binning cannot mislead the search by more than some thousandths of the error.
    assert error_of(x, found) <= min(errors) * 1.005


@pytest.mark.parametrize("name", DATA)
def test_the_order_of_the_data_does_not_matter(name):
    x = DATA[name]
    assert ifmr(histogram_of(x)) == ifmr(histogram_of(*np.sort(x).reshape(10, -1)))


def test_offsets():
    assert ifmr(histogram_of(DATA["relu"])).offset == -128
    assert ifmr(histogram_of(DATA["shifted"] + 9)).offset == -128
    assert ifmr(histogram_of(DATA["negative"])).offset == 127
    assert abs(ifmr(histogram_of(NORMAL, -NORMAL)).offset) <= 1
    for x in DATA.values():
        assert ifmr(histogram_of(x), with_offset=False).offset == 0


def test_outliers_are_cut_by_the_percentile():
    x = np.concatenate([np.linspace(0, 1, 100_000), [1000.0]])
    wide = ifmr(histogram_of(x), max_percentile=1.0)
    cut = ifmr(histogram_of(x), max_percentile=0.9999)
    assert wide.scale >= 0.7 * 1000 / 255 * 0.999
    assert cut.scale <= 1.3 / 255 * 1.01
    mirrored = ifmr(histogram_of(-x), min_percentile=0.9999)
    assert mirrored.scale == pytest.approx(cut.scale, rel=1e-2)


def test_the_search_range_is_closed_and_ordered():
    hist = histogram_of([10.0, 0.0])
    only_two = ifmr(hist, search_range=(0.5, 1.0), search_step=0.5)
    assert only_two.scale == pytest.approx(10 / 255, rel=1e-3)
    one_of_equals = ifmr(histogram_of(np.zeros(5), [0.0]), search_range=(0.5, 2.0))
    assert one_of_equals == ActivationQuant(1.0, -128)


@pytest.mark.parametrize("with_offset", [True, False])
def test_nothing_but_zeros(with_offset):
    assert ifmr(histogram_of(np.zeros(9)), with_offset=with_offset) == ActivationQuant(1.0, -128 if with_offset else 0)


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30),
    st.booleans(),
)
@settings(max_examples=60)
def test_any_finite_data_has_a_quantizer(data, with_offset):
    found = ifmr(histogram_of(data), with_offset=with_offset)
    assert float(np.float32(found.scale)) == found.scale
    assert -128 <= found.offset <= 127
    quantize(np.float32(data), found.scale, found.offset)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_values_name_the_activation(bad):
    with pytest.raises(CalibrationError, match=r"activation 'conv1': 1 of 3 values are NaN"):
        ifmr(histogram_of([1, bad, 2]), name="conv1")


def test_no_values():
    with pytest.raises(CalibrationError, match="activation 'data': no values"):
        ifmr(Histogram(), name="data")


def test_a_range_that_no_float32_scale_covers():
    with pytest.raises(CalibrationError, match=r"activation 'x': the range .* too large"):
        ifmr(histogram_of([3e38]), search_range=(0.5, 1e4), name="x")


@pytest.mark.parametrize(
    ("parameters", "key"),
    [
        ({"max_percentile": 0.5}, "max_percentile"),
        ({"max_percentile": float("nan")}, "max_percentile"),
        ({"min_percentile": 1.01}, "min_percentile"),
        ({"search_range": (1.0, 1.0)}, "search_range"),
        ({"search_range": (0.0, 1.0)}, "search_range"),
        ({"search_range": (0.5, float("inf"))}, "search_range"),
        ({"search_step": 0.0}, "search_step"),
        ({"search_step": 0.7}, "search_step"),
    ],
)
def test_parameters_out_of_range(parameters, key):
    with pytest.raises(ConfigError, match=key):
        ifmr(histogram_of([1.0]), **parameters)


def test_ranges():
    assert quantizer_for_range(0, 255) == ActivationQuant(1.0, -128)
    assert quantizer_for_range(-255, 0) == ActivationQuant(1.0, 127)
    assert quantizer_for_range(5, 255) == ActivationQuant(1.0, -128)
    assert quantizer_for_range(-100, 155) == ActivationQuant(1.0, -28)
    assert quantizer_for_range(-254, 100, with_offset=False) == ActivationQuant(2.0, 0)
    assert quantizer_for_range(0, 1e-45).scale == 2.0**-126
    for bad in (np.inf, np.nan):
        with pytest.raises(QuantizationError, match="too large"):
            quantizer_for_range(-bad if bad == bad else -1, bad if bad == bad else float("inf"))


@pytest.mark.parametrize(
    ("scale", "offset"),
    [
        (0.1, 0),
        (0.0, 0),
        (-1.0, 0),
        (float("nan"), 0),
        (float("inf"), 0),
        (1.0, 128),
        (1.0, -129),
        (1, 0),
        (1.0, 0.0),
        (1.0, True),
    ],
)
def test_bad_quantizers(scale, offset):
    with pytest.raises(QuantizationError):
        ActivationQuant(scale, offset)
