"""Sizes by D7."""

from __future__ import annotations

import pytest

from nuqconv.errors import QuantizationError
from nuqconv.quantize.plan import Precision
from nuqconv.quantize.rate import bits_per_weight, layer_bytes


@pytest.mark.parametrize(
    ("levels", "bits"), [(1, 0), (2, 1), (3, 2), (4, 2), (16, 4), (17, 5), (32, 5), (33, 6), (255, 8), (256, 8)]
)
def test_bits(levels, bits):
    assert bits_per_weight(levels) == bits


def test_sizes():
    assert layer_bytes(1000, Precision.FLOAT, n_scales=10, n_bias=10) == 4040
    assert layer_bytes(1000, Precision.INT8, n_scales=10, n_bias=10) == 1080
    assert layer_bytes(1001, Precision.NUQ, levels=16, n_scales=10, n_bias=10) == 501 + 16 + 80
    assert layer_bytes(1000, Precision.NUQ, levels=32) == 625 + 32
    assert layer_bytes(1000, Precision.NUQ, levels=1) == 1


def test_errors():
    for levels in (0, 257):
        with pytest.raises(QuantizationError, match="1 to 256"):
            bits_per_weight(levels)
    with pytest.raises(QuantizationError, match="nuq layers only"):
        layer_bytes(10, Precision.NUQ)
    with pytest.raises(QuantizationError, match="nuq layers only"):
        layer_bytes(10, Precision.INT8, levels=16)
