"""Operators that stock Caffe has no layer for, computed by layers that it has."""

import numpy as np
import pytest

from nuqconv.errors import UnsupportedError
from nuqconv.ir.ops import (
    Axpy,
    Clip,
    HSigmoid,
    HSwish,
    Interp,
    L2Norm,
    Mish,
    Normalize,
    PriorBox,
    Reorg,
    Reverse,
    ShuffleChannel,
    Swish,
    Upsample,
)
from tests.oracle.caffe_written import one

pytestmark = pytest.mark.caffe
IMAGE = (2, 4, 7, 9)


def floats(*shape, seed=3):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def finite_floats(count):
    """Floats of all sizes, with the borders, their neighbours and the largest ones there are."""
    bits = np.random.default_rng(0).integers(0, 2**32, count, dtype=np.uint64).astype(np.uint32)
    found = bits.view(np.float32)
    largest = np.finfo(np.float32).max
    borders = np.float32([0, 6, -1, 1, 0.3, largest, 1e-38])
    with np.errstate(over="ignore"):
        found[: 6 * len(borders)] = np.concatenate(
            [s * np.nextafter(borders, np.float32(to)) for s in (1, -1) for to in (-np.inf, 0, np.inf)]
        )
    return np.where(np.isfinite(found), found, np.float32(largest))


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 6.0), (-1.0, 1.0), (0.3, np.inf), (-np.inf, 0.3), (0.0, np.inf), (2.0, 1.0), (-3.0, -2.0)]
)
def test_clip_is_exact_for_every_number(judge, low, high):
    low, high = float(np.float32(low)), float(np.float32(high))
    data = finite_floats(4000).reshape(4, 10, 10, 10)
    expected = np.maximum(np.float32(low), np.minimum(data, np.float32(high)))
    judge.check(one(Clip(low, high), data.shape), {"y0": expected}, feeds={"x0": data}, exact=True)


def test_clip_without_bounds_hands_on(judge):
    judge.check(one(Clip(-np.inf, np.inf), IMAGE), exact=True)


@pytest.mark.parametrize("op", [Swish(), Swish(1.7), Mish(), HSwish(), HSigmoid()], ids=str)
def test_gates(judge, op):
    judge.check(one(op, IMAGE))


def test_hard_sigmoid_reaches_its_bounds(judge):
    data = np.float32([[-1e30, -3, -2.9999, 0, 2.9999, 3, 1e30]])
    found = judge.check(one(HSigmoid(), (1, 7)), feeds={"x0": data})["y0"]
    assert (found[0, [0, 1]] == 0).all()
    assert (found[0, [5, 6]] == np.float32(6) * np.float32(1 / 6)).all()


@pytest.mark.parametrize("factor", [(2, 4), (2, 4, 1, 1)])
def test_axpy(judge, factor):
    judge.check(one(Axpy(), factor, IMAGE, IMAGE))


def test_l2_norm(judge):
    data = floats(3, 5, 1, 1)
    data[1] = 0
    data[2] *= np.float32(1e-15)
    expected = data / np.maximum(np.sqrt((data.astype(np.float64) ** 2).sum((1, 2, 3), keepdims=True)), 1e-300)
    # The ONNX form adds a small number, as some forks do.
    found = judge.run(one(L2Norm(), data.shape), {"x0": data})["y0"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=0)
    with pytest.raises(UnsupportedError, match="more than one position"):
        judge.run(one(L2Norm(), IMAGE), {})


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("shape", [IMAGE, (2, 4), (2, 4, 5)], ids=str)
def test_normalize(judge, across, shared, shape):
    op = Normalize(across, shared)
    data, scales = floats(*shape), floats(1 if shared else 4, seed=9)
    axes = tuple(range(1, len(shape))) if across else 1
    length = np.sqrt((data.astype(np.float64) ** 2).sum(axes, keepdims=True) + op.eps)
    expected = data / length * scales.reshape(-1, *(1,) * (len(shape) - 2))
    judge.check(one(op, shape, params=[scales]), {"y0": expected}, feeds={"x0": data})


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        (ShuffleChannel(2), (2, 6, 3, 5)),
        (ShuffleChannel(3), (2, 6, 3, 5)),
        (Reorg(2), (2, 8, 4, 6)),
        (Reorg(2, reverse=True), (2, 8, 4, 6)),
        (Reverse(0), IMAGE),
        (Reverse(-1), IMAGE),
        (Reverse(1), (2, 1, 3)),
        (Upsample((2, 2)), IMAGE),
        (Upsample((3, 1)), IMAGE),
    ],
    ids=lambda value: f"{value.kind} {value.describe()}" if hasattr(value, "kind") else "",
)
def test_numbers_only_move(judge, op, shape):
    judge.check(one(op, shape), exact=True)


@pytest.mark.parametrize(
    "op",
    [
        Interp((14, 20)),
        Interp((3, 9)),
        Interp((1, 1)),
        Interp(zoom=3),
        Interp(shrink=2, crop=(1, 2)),
    ],
    ids=lambda op: op.describe(),
)
def test_interp(judge, op):
    judge.check(one(op, IMAGE), rtol=1e-5, atol=1e-5)


def test_interp_of_one_row(judge):
    judge.check(one(Interp((4, 3)), (1, 2, 1, 5)))


def test_prior_boxes_are_stored(judge):
    op = PriorBox((20.0,), (50.0,), (2.0,), clip=True)
    judge.check(one(op, (1, 4, 5, 6), (1, 3, 100, 120)), exact=True)
    with pytest.raises(UnsupportedError, match="not finite"):
        judge.run(one(PriorBox((3e38,), offset=3e38), (1, 4, 5, 6), (1, 3, 100, 120)), {})
