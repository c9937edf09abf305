"""The constructs that emitters share, each by itself in real Caffe against numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from nuqconv.backends.caffe.emitting.parts import moves, numbers, totals
from nuqconv.backends.caffe.emitting.parts.constructs import contract, cut
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Op

from .test_constructs import finite_floats

pytestmark = pytest.mark.caffe
IMAGE = (2, 4, 7, 9)


@dataclass(frozen=True)
class Probe(Op, traits=()):
    """An operator that stands for one construct."""

    write: Callable[..., Any]
    shape: tuple[int, ...]

    max_inputs: ClassVar[int | None] = None

    def infer(self, inputs, params):
        return (self.shape,)


@emits(Probe, construct="", exact="")
def write_probe(b, op):
    b.finish(op.write(b, *b.inputs))


def probe(judge, write, expect, *arrays, exact=True, rtol=1e-6, atol=1e-6):
    """Runs a construct on arrays in real Caffe; the result must be what numpy has."""
    wanted = expect(*arrays)
    names = tuple(f"x{number}" for number in range(len(arrays)))
    inputs = tuple(Input(name, array.shape) for name, array in zip(names, arrays, strict=True))
    graph = Graph("probe", inputs, (Node("node", Probe(write, wanted.shape), names, ("y",)),), {}, ("y",))
    judge.check(graph, {"y": wanted}, feeds=dict(zip(names, arrays, strict=True)), exact=exact, rtol=rtol, atol=atol)


def floats(*shape, seed=3):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 2), (0, 2), (1, None)])
def test_cut(judge, axis, start, stop):
    stop = stop or IMAGE[axis]
    where = (*(slice(None),) * axis, slice(start, stop))
    probe(judge, lambda b, x: cut(b, x, axis, start, stop), lambda x: x[where], floats(*IMAGE))


@pytest.mark.parametrize("shape", [IMAGE, (5, 6), (6,), (2, 3, 4), (1, 2, 3, 2, 3)], ids=str)
def test_contract(judge, shape):
    for axis, size in enumerate(shape):
        matrix = floats(5, size, seed=axis)
        probe(
            judge,
            lambda b, x, axis=axis, matrix=matrix: contract(b, x, axis, matrix),
            lambda x, axis=axis, matrix=matrix: np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis),
            floats(*shape),
            exact=False,
            rtol=1e-5,
        )


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize(("begin", "end"), [(0, 1), (2, 0), (1, 1), (3, 5), (0, 0)])
def test_padded(judge, axis, begin, end):
    wide = [(0, 0)] * 4
    wide[axis] = (begin, end)
    probe(
        judge,
        lambda b, x: moves.padded(b, x, axis, begin, end, -1.5),
        lambda x: np.pad(x, wide, constant_values=np.float32(-1.5)),
        floats(*IMAGE),
    )


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize(
    "indices",
    [
        (0,),
        (2, 3, 4),
        (1, 3, 5),
        (0, 4),
        (5, 4, 3, 2, 1, 0),
        (2, 1, 0, 1, 2, 3, 4, 5, 4, 3),
        (0, 0, 0, 1, 2, 3, 5, 5),
        (3, 3),
        (4, 0, 2),
        tuple(range(6)),
        tuple(range(5, -1, -1)) * 12,
    ],
    ids=lambda value: ",".join(map(str, value[:12])),
)
def test_picked(judge, axis, indices):
    probe(
        judge,
        lambda b, x: moves.picked(b, x, axis, indices),
        lambda x: np.take(x, indices, axis),
        floats(6, 6, 6),
    )


def test_broadcast(judge):
    shape = (2, 3, 4, 5)
    for part in ((1,), (5,), (4, 1), (3, 1, 1), (2, 1, 4, 1), shape):
        probe(
            judge,
            lambda b, x: moves.broadcast(b, x, shape),
            lambda x: np.broadcast_to(x, shape),
            floats(*part),
        )


def test_broadcast_of_a_scalar(judge):
    def write(b, x):
        total = b.add("total", "Reduction", [x], (), reduction_param={"operation": "SUM", "axis": 0})
        return moves.broadcast(b, total, x.shape)

    data = np.arange(12, dtype=np.float32).reshape(3, 4)
    probe(judge, write, lambda x: np.full(x.shape, x.sum()), data)


EDGES = np.float32(
    [0, 0.5, 1.5, 2.5, 2**22 - 0.5, 2**22 + 0.5, 2**22 + 1.5, 2**23 - 0.5, 2**23, 2**23 + 1, 2**24 + 2, 1e30]
)


@pytest.mark.parametrize(
    ("write", "expect"),
    [
        (numbers.rounded, np.rint),
        (numbers.floor, np.floor),
        (numbers.ceiling, np.ceil),
        (numbers.sign, np.sign),
    ],
    ids=["rounded", "floor", "ceiling", "sign"],
)
def test_rounding_of_every_number(judge, write, expect):
    data = np.concatenate([finite_floats(2000), EDGES, -EDGES, np.linspace(-9, 9, 800, dtype=np.float32)])
    probe(judge, write, expect, data.reshape(2, -1))


def pairs():
    left = np.concatenate([finite_floats(2000) / np.float32(4), np.float32([1, 1, 0, 2])])
    right = np.concatenate([np.roll(finite_floats(2000), 1) / np.float32(4), np.float32([1, 2, 0, 1])])
    right[:300] = left[:300]
    right[300:500] = np.nextafter(left[300:500], np.float32(np.inf))
    return left.reshape(4, -1), right.reshape(4, -1)


@pytest.mark.parametrize(
    ("write", "expect"),
    [
        (numbers.above, lambda x, y: (x > y).astype(np.float32)),
        (numbers.same, lambda x, y: (x == y).astype(np.float32)),
        (numbers.minimum, np.minimum),
    ],
    ids=["above", "same", "minimum"],
)
def test_comparisons(judge, write, expect):
    probe(judge, write, expect, *pairs())


def test_chosen(judge):
    truth = (floats(4, 9) > 0).astype(np.float32)
    probe(
        judge, numbers.chosen, lambda t, x, y: np.where(t > 0, x, y), truth, floats(4, 9, seed=1), floats(4, 9, seed=2)
    )


def test_reciprocal(judge):
    probe(judge, numbers.reciprocal, lambda x: 1 / x, floats(4, 9), exact=False)


AXES = [(0,), (1,), (3,), (1, 2), (2, 3), (0, 3), (0, 2), (1, 2, 3), (0, 1, 2, 3)]


@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize(
    ("write", "expect"),
    [
        (totals.most_over, np.max),
        (totals.least_over, np.min),
        (totals.mean_over, np.mean),
        (totals.sum_over, np.sum),
        (totals.product_over, np.prod),
    ],
    ids=["most", "least", "mean", "sum", "product"],
)
def test_over_axes(judge, write, expect, axes):
    probe(
        judge,
        lambda b, x: write(b, x, axes),
        lambda x: expect(x.astype(np.float64), axes, keepdims=True).astype(np.float32),
        floats(2, 3, 4, 5),
        exact=expect in (np.max, np.min),
        rtol=1e-5,
    )


def test_over_axes_of_other_ranks(judge):
    for shape, axes in (((7,), (0,)), ((3, 7), (1,)), ((2, 3, 2, 3, 2), (1, 3, 4))):
        for write, expect in ((totals.mean_over, np.mean), (totals.sum_over, np.sum), (totals.most_over, np.max)):
            probe(
                judge,
                lambda b, x, write=write, axes=axes: write(b, x, axes),
                lambda x, expect=expect, axes=axes: expect(x, axes, keepdims=True),
                floats(*shape),
                exact=False,
                rtol=1e-5,
            )


def test_squares_and_magnitudes(judge):
    data = floats(2, 3, 4, 5)
    for operation, change in (("ASUM", np.abs), ("SUMSQ", np.square)):
        probe(
            judge,
            lambda b, x, operation=operation: totals.sum_over(b, x, (1, 3), operation=operation),
            lambda x, change=change: change(x).sum((1, 3), keepdims=True),
            data,
            exact=False,
            rtol=1e-5,
        )


def test_a_long_product_is_refused(judge):
    with pytest.raises(UnsupportedError, match="a product of 600 elements"):
        probe(judge, lambda b, x: totals.product_over(b, x, (1,)), lambda x: x.prod(1, keepdims=True), floats(1, 600))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 8, 6, 3), (2, 8, 3, 6)),
        ((2, 1, 6, 3), (4, 3, 5)),
        ((1, 7), (7, 1)),
    ],
    ids=str,
)
def test_product(judge, left, right):
    probe(judge, totals.product, np.matmul, floats(*left), floats(*right, seed=4), exact=False, rtol=1e-5, atol=1e-5)


def test_a_large_product_is_refused(judge):
    with pytest.raises(UnsupportedError, match="no stock layer multiplies blobs as matrices"):
        probe(judge, totals.product, lambda x, y: np.zeros((1024, 1024)), floats(1024, 128), floats(128, 1024))


def test_centred(judge):
    data = floats(2, 6, 5, 4) * np.float32(3) + np.float32(2)
    parts = data.reshape(12, -1).astype(np.float64)
    normal = (parts - parts.mean(1, keepdims=True)) / np.sqrt(parts.var(1, keepdims=True) + 1e-3)
    probe(
        judge,
        lambda b, x: totals.centred(b, x, 12, 1e-3),
        lambda x: normal.reshape(x.shape).astype(np.float32),
        data,
        exact=False,
        rtol=1e-5,
        atol=1e-6,
    )


def test_softmax_logarithm(judge):
    data = floats(3, 5) * np.float32(60)

    def write(b, x):
        rest, logarithm = totals.softmax_logarithm(b, x, (1,))
        return numbers.difference(b, rest, moves.broadcast(b, logarithm, x.shape))

    def expect(x):
        rest = (x - x.max(1, keepdims=True)).astype(np.float64)
        return (rest - np.log(np.exp(rest).sum(1, keepdims=True))).astype(np.float32)

    probe(judge, write, expect, data, exact=False, rtol=1e-6, atol=1e-6)
