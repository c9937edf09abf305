"""Weight scales, integer weights, bias and the bounds that keep them in int32."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nuqconv.errors import QuantizationError
from nuqconv.quantize.weights import (
    bias_floor,
    check_accumulator,
    quantize_bias,
    quantize_weights,
    weight_importance,
    weight_scales,
)

shapes = hnp.array_shapes(min_dims=2, max_dims=4, max_side=6)
weights = hnp.arrays(np.float32, shapes, elements=st.floats(-1e6, 1e6, width=32))
axes = st.sampled_from([None, 0, 1])


def spread(scales, axis, ndim):
    shape = [1] * ndim
    if axis is not None:
        shape[axis] = -1
    return scales.reshape(shape)


@given(weights, axes)
def test_weights_use_the_whole_range_and_are_near(w, axis):
    scales = weight_scales(w, axis)
    assert scales.dtype == np.float32
    assert scales.shape == ((1,) if axis is None else (w.shape[axis],))
    assert (scales > 0).all()
    q = quantize_weights(w, scales, axis)
    assert q.dtype == np.int8
    assert q.shape == w.shape
    assert q.min() >= -127
    step = spread(scales, axis, w.ndim).astype(np.float64)
    assert (np.abs(q * step - w) <= step * 0.5000001).all()
    np.testing.assert_array_equal(q, np.clip(np.rint(w.astype(np.float64) / step), -128, 127))
    if np.abs(w).max() > 1e-30:
        assert np.abs(q.astype(int)).max() == 127


def test_known_scales():
    w = np.array([[127.0, -254.0], [0.0, 0.0], [1.27, 0.5]], np.float32)
    assert weight_scales(w, 0).tolist() == np.float32([2.0, 2.0, 0.01]).tolist()
    assert weight_scales(w, 1).tolist() == [1.0, 2.0]
    assert weight_scales(w, None).tolist() == [2.0]
    assert weight_scales(np.zeros((2, 3), np.float32), 0).tolist() == [1.0, 1.0]
    denormal = np.float32([[1e-40], [1.27]])
    assert weight_scales(denormal, 0).tolist() == np.float32([0.01, 0.01]).tolist()


def test_large_tensors_are_done_in_blocks():
    w = np.random.default_rng(0).standard_normal((3, 700, 701)).astype(np.float32)
    for axis in (None, 0, 1):
        scales = weight_scales(w, axis)
        expected = np.rint(w / spread(scales, axis, 3).astype(np.float64))
        np.testing.assert_array_equal(quantize_weights(w, scales, axis), expected)


@given(
    hnp.arrays(np.float32, 5, elements=st.floats(-1e6, 1e6, width=32)),
    st.floats(1e-3, 10),
    st.floats(2.0**-23, 1, width=32),
)
def test_the_floor_keeps_the_bias_in_range(bias, scale_d, magnitude):
    w = np.full((5, 4), magnitude, np.float32)
    for axis in (0, None):
        scales = weight_scales(w, axis, floor=bias_floor(bias, scale_d))
        q_bias = quantize_bias(bias, scale_d, scales, "conv")
        assert q_bias.dtype == np.int32
        assert np.abs(q_bias.astype(np.int64)).max() <= 2**30 + 2**8
        step = scales.astype(np.float64) * np.float32(scale_d)
        assert (np.abs(q_bias * step - bias) <= 0.5 * step * (1 + 1e-6)).all()
        check_accumulator(quantize_weights(w, scales, axis), q_bias, 0, "conv")


def test_bias_overflow_names_layer_and_channel():
    with pytest.raises(QuantizationError, match=r"layer 'conv7': the bias 100 of output channel 2 .*skip the layer"):
        quantize_bias(np.float32([0, 1, 100]), 1e-4, np.float32([1e-5] * 3), "conv7")
    with pytest.raises(QuantizationError, match="channel 0 is nan"):
        quantize_bias(np.float32([np.nan]), 1.0, np.float32([1.0]), "conv7")
    top = quantize_bias(np.float64([2**31 - 1, 1 - 2**31]), 1.0, np.float32([1.0]), "fc")
    assert top.tolist() == [2**31 - 1, 1 - 2**31]
    with pytest.raises(QuantizationError, match="beyond int32"):
        quantize_bias(np.float64([2.0**31]), 1.0, np.float32([1.0]), "fc")


@pytest.mark.parametrize(("sign", "extra"), [(1, 0), (-1, 0), (1, 1), (-1, 1)])
def test_accumulator_bound_is_exact(sign, extra):
    q = np.full((2, 1000), 100 * sign, np.int8)
    q[0] = 1
    room = 2**31 - 1 - 255 * 100 * 1000
    bias = np.array([0, room + extra], np.int32)
    if not extra:
        check_accumulator(q, bias, 0, "fc")
        return
    with pytest.raises(
        QuantizationError, match=r"layer 'fc': the accumulator of output channel 1 could reach 2147483648"
    ):
        check_accumulator(q, bias, 0, "fc")


def test_accumulator_without_bias_and_along_axis_1():
    q = np.full((70000, 2), 127, np.int8)
    check_accumulator(q, None, 0, "deconv")
    with pytest.raises(QuantizationError, match="output channel 0 "):
        check_accumulator(q, None, 1, "deconv")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_weights_name_the_layer(bad):
    w = np.ones((3, 2), np.float32)
    w[1, 1] = bad
    with pytest.raises(QuantizationError, match=r"layer 'c': weights of output channel\(s\) \[1\]"):
        weight_scales(w, 0, layer="c")
    with pytest.raises(QuantizationError, match="layer 'c': weights hold NaN"):
        quantize_weights(w, np.ones(3, np.float32), 0, layer="c")


def test_misfits():
    w = np.ones((3, 2), np.float32)
    with pytest.raises(QuantizationError, match="no weights"):
        weight_scales(np.zeros((0, 2), np.float32), 0)
    with pytest.raises(QuantizationError, match="2 least scales for 3"):
        weight_scales(w, 0, floor=np.ones(2, np.float32))
    with pytest.raises(QuantizationError, match="not finite"):
        weight_scales(w, 0, floor=np.full(3, np.inf, np.float32))
    with pytest.raises(QuantizationError, match="out of range"):
        weight_scales(w, 0, floor=np.full(3, 1e38, np.float32))
    with pytest.raises(QuantizationError, match="for 3 output"):
        quantize_weights(w, np.ones(2, np.float32), 0)
    with pytest.raises(QuantizationError, match="must be finite and > 0"):
        quantize_weights(w, np.zeros(3, np.float32), 0)
    with pytest.raises(QuantizationError, match="2 weight scales for 3 bias"):
        quantize_bias(np.zeros(3), 1.0, np.ones(2, np.float32), "")


@pytest.mark.parametrize(
    ("axis", "shape", "input_axis"), [(0, (4, 3, 2, 2), 1), (1, (3, 4, 2, 2), 0), (None, (4, 3), 1)]
)
def test_importance_is_the_output_error(axis, shape, input_axis):
    rng = np.random.default_rng(1)
    scales = rng.random(1 if axis is None else 4).astype(np.float32)
    moment = rng.random(3)
    importance = weight_importance(scales, axis, shape, moment)
    expected = spread(scales.astype(np.float64), axis, len(shape)) ** 2 * spread(moment, input_axis, len(shape))
    np.testing.assert_allclose(np.broadcast_to(importance, shape), np.broadcast_to(expected, shape))
    plain = weight_importance(scales, axis, shape)
    np.testing.assert_allclose(plain, spread(scales.astype(np.float64), axis, len(shape)) ** 2)
    with pytest.raises(QuantizationError, match="for 3 inputs"):
        weight_importance(scales, axis, shape, moment[:2])
    with pytest.raises(QuantizationError, match="not negative"):
        weight_importance(scales, axis, shape, -moment)
    with pytest.raises(QuantizationError, match="output channel"):
        weight_importance(np.ones(7, np.float32), axis, shape)
