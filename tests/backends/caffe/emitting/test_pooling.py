"""Pooling over any windows, in real Caffe against a loop over windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nuqconv.backends.caffe.emitting.pooling import Windows, pool_windows

from .test_parts import floats, probe

pytestmark = pytest.mark.caffe


def pooled(x, axes, method, divisors):
    out = np.zeros((*x.shape[:2], axes[0].count, axes[1].count), np.float32)
    for i in range(axes[0].count):
        for j in range(axes[1].count):
            window = x
            for number, (at, axis) in enumerate(zip((i, j), axes, strict=True)):
                start = at * axis.stride - axis.begin
                places = [at for at in range(start, start + axis.kernel) if 0 <= at < x.shape[2 + number]]
                window = np.take(window, places, 2 + number)
            if method == "MAX":
                out[:, :, i, j] = window.max((2, 3))
            else:
                total = window.astype(np.float64).sum((2, 3))
                out[:, :, i, j] = total / (divisors[0][i] * divisors[1][j])
    return out


@st.composite
def axes(draw, size):
    """Windows that hold at least one element each."""
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    begin = draw(st.integers(0, kernel - 1))
    end = draw(st.integers(0, kernel - 1))
    most = (size + begin + end - kernel) // stride + 1
    if most < 1:
        kernel, stride, begin, most = 1, 1, 0, size
    count = draw(st.integers(1, most))
    inside = draw(st.booleans())
    starts = [number * stride - begin for number in range(count)]
    real = [min(start + kernel, size) - max(start, 0) for start in starts]
    if min(real) < 1:
        return Windows(1, 1, 0, size, (1,) * size)
    return Windows(kernel, stride, begin, count, tuple(real) if inside else (kernel,) * count)


@st.composite
def cases(draw):
    """A size, windows on both axes and a method."""
    sizes = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    return sizes, tuple(draw(axes(size)) for size in sizes), draw(st.sampled_from(["MAX", "AVE"]))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_any_windows(judge, case):
    sizes, both, method = case
    probe(
        judge,
        lambda b, x: pool_windows(b, x, method, both),
        lambda x: pooled(x, both, method, [axis.divisors for axis in both]),
        floats(2, 3, *sizes),
        exact=method == "MAX",
        rtol=1e-5,
    )


def test_padding_as_wide_as_the_kernel(judge):
    both = (Windows(2, 2, 2, 4, (2,) * 4), Windows(2, 1, 1, 4, (2,) * 4))
    probe(
        judge,
        lambda b, x: pool_windows(b, x, "AVE", both),
        lambda x: pooled(x, both, "AVE", [axis.divisors for axis in both]),
        floats(2, 3, 5, 4),
        exact=False,
    )
