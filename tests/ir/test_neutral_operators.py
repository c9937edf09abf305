"""Shapes of the operators of ONNX's kind, against numpy; and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from nuqconv.ir.ops import (
    ArgReduce,
    Binary,
    CumSum,
    DepthToSpace,
    Einsum,
    Expand,
    Gather,
    GatherElements,
    GatherND,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LpNorm,
    MatMul,
    MeanVarianceNorm,
    OpError,
    Pad,
    Reduce,
    Resize,
    ScatterElements,
    ScatterND,
    SpaceToDepth,
    StridedSlice,
    TopK,
    Trilu,
    Unary,
    Where,
    WindowPool,
)

IMAGE = (2, 4, 6, 9)


def test_pads():
    assert Pad((0, 1, 2, -1), (0, 0, 3, -2)).infer([IMAGE], []) == ((2, 5, 11, 6),)
    for mode in ("constant", "reflect", "edge", "wrap"):
        (shape,) = Pad((0, 0, 2, 1), (0, 0, 0, 3), mode).infer([IMAGE], [])
        assert shape == np.pad(np.empty(IMAGE), ((0, 0), (0, 0), (2, 0), (1, 3)), mode=mode).shape


@pytest.mark.parametrize(
    ("op", "shape", "expected"),
    [
        (WindowPool("MAX", (3, 2), (2, 1), (1, 0), (0, 1), (1, 1)), IMAGE, (2, 4, 3, 9)),
        (WindowPool("AVE", (3,), (2,), (0,), (0,), (2,)), (1, 2, 10), (1, 2, 3)),
        (WindowPool("AVE", (3,), (2,), (0,), (0,), (1,), ceil=True), (1, 2, 10), (1, 2, 5)),
        # The last window would start in the padding behind the input.
        (WindowPool("MAX", (1,), (2,), (0,), (1,), (1,), ceil=True), (1, 2, 4), (1, 2, 2)),
        (Reduce("sum", (1, -1)), IMAGE, (2, 1, 6, 1)),
        (Reduce("sum", (1, -1), keepdims=False), IMAGE, (2, 6)),
        (ArgReduce("argmin", -2, keepdims=False), IMAGE, (2, 4, 9)),
        (Resize((2, 4, 3, 18)), IMAGE, (2, 4, 3, 18)),
        (Resize((-1, 4, 3, -1)), IMAGE, (*IMAGE[:1], 4, 3, IMAGE[3])),
        (DepthToSpace(2), IMAGE, (2, 1, 12, 18)),
        (SpaceToDepth(3), IMAGE, (2, 36, 2, 3)),
        (StridedSlice((0, 3, 5, 0), (2, -1, 0, 9), (1, -1, -2, 4)), IMAGE, (2, 4, 3, 3)),
        (Expand((3, 1, 4, 6, 1)), IMAGE, (3, 2, 4, 6, 9)),
        (Trilu(), IMAGE, IMAGE),
        (CumSum(1), IMAGE, IMAGE),
        (LpNorm(), IMAGE, IMAGE),
        (MeanVarianceNorm(), IMAGE, IMAGE),
        (Unary("erf"), IMAGE, IMAGE),
    ],
    ids=lambda value: f"{value.kind} {value.describe()}" if hasattr(value, "kind") else "",
)
def test_one_input(op, shape, expected):
    assert op.infer([shape], []) == (expected,)


@pytest.mark.parametrize(
    ("left", "right"), [((3, 4), (4, 5)), ((4,), (2, 4, 5)), ((2, 3, 4), (4,)), ((4,), (4,)), ((2, 1, 3, 4), (5, 4, 2))]
)
def test_matrices(left, right):
    assert MatMul().infer([left, right], []) == (np.matmul(np.empty(left), np.empty(right)).shape,)


@pytest.mark.parametrize("equation", ["bij,bjk->bik", "bij,bjk", "ij->", "i j, j k -> k i"])
def test_einsum(equation):
    sizes = {"b": 2, "i": 3, "j": 4, "k": 5}
    terms, _ = Einsum(equation).terms()
    shapes = [tuple(sizes[label] for label in term) for term in terms]
    assert Einsum(equation).infer(shapes, []) == (np.einsum(equation, *map(np.empty, shapes)).shape,)


def test_several_inputs():
    assert Binary("add").infer([(4, 1, 9), IMAGE], []) == (IMAGE,)
    assert Where().infer([(1,), (6, 1), IMAGE], []) == (IMAGE,)
    assert Gather(1).infer([IMAGE, (3, 2)], []) == ((2, 3, 2, 6, 9),)
    assert GatherElements(1).infer([IMAGE, (2, 7, 6, 9)], []) == ((2, 7, 6, 9),)
    assert GatherND(1).infer([IMAGE, (2, 5, 2)], []) == ((2, 5, 9),)
    assert ScatterElements(1).infer([IMAGE, (2, 1, 6, 9), (2, 1, 6, 9)], []) == (IMAGE,)
    assert ScatterND().infer([IMAGE, (5, 2), (5, 6, 9)], []) == (IMAGE,)
    assert TopK(3, 2).infer([IMAGE], []) == ((2, 4, 3, 9),) * 2
    assert InstanceNorm().infer([IMAGE], [(4,), (4,)]) == (IMAGE,)
    assert GroupNorm(2).infer([IMAGE], [(4,), (4,)]) == (IMAGE,)
    assert LayerNorm(2).infer([IMAGE], [(6, 9)]) == (IMAGE,)
    assert LayerNorm(-1).infer([IMAGE], [(9,), (9,)]) == (IMAGE,)


@pytest.mark.parametrize(
    ("op", "inputs", "params", "message"),
    [
        (Pad((1,), (1,)), [IMAGE], [], "pads for 1 and 1 axes"),
        (Pad((-3,), (-3,)), [(6,)], [], "nothing is left"),
        (Pad((1,), (0,), "reflect"), [(1,)], [], "mirrored"),
        (WindowPool("MAX", (3,), (1,), (0,), (0,), (1,)), [IMAGE], [], "entries"),
        (WindowPool("MAX", (7, 1), (1, 1), (0, 0), (0, 0), (1, 1)), [IMAGE], [], "exceeds"),
        (Unary("cosecant"), [IMAGE], [], "'cosecant'"),
        (Binary("cosecant"), [IMAGE, IMAGE], [], "'cosecant'"),
        (Binary("add"), [(2, 3), (2,)], [], "2x3, 2 do not go together"),
        (Reduce("sum", (1, -3)), [IMAGE], [], "one twice"),
        (Reduce("sum", ()), [IMAGE], [], "name none"),
        (TopK(7, 2), [IMAGE], [], "7 of 6"),
        (MatMul(), [(3, 4), (3, 4)], [], "do not go together"),
        (MatMul(), [(), (3, 4)], [], "scalar"),
        (Einsum("i...->i"), [(3, 4)], [], "letters"),
        (Einsum("ij,jk->ii"), [(3, 4), (4, 5)], [], "twice"),
        (Einsum("ij,jk"), [(3, 4), (5, 6)], [], "label j"),
        (Einsum("ij,jk"), [(3, 4)], [], "does not fit"),
        (Resize((1, 2)), [IMAGE], [], "do not fit"),
        (Resize((2, 4, 0, 9)), [IMAGE], [], "positive"),
        (DepthToSpace(3), [IMAGE], [], "do not divide"),
        (SpaceToDepth(2), [IMAGE], [], "does not divide"),
        (StridedSlice((0,) * 4, IMAGE, (1, 1, 0, 1)), [IMAGE], [], "do not fit"),
        (StridedSlice((0,) * 4, (2, 4, 7, 9), (1,) * 4), [IMAGE], [], "axis 2"),
        (GatherElements(1), [IMAGE, (3, 7, 6, 9)], [], "do not fit"),
        (GatherND(), [IMAGE, (2, 5)], [], "5 indices"),
        (ScatterND(), [IMAGE, (5, 2), (5, 6)], [], "updates"),
        (InstanceNorm(), [(2, 4)], [(4,), (4,)], "dimensions"),
        (GroupNorm(3), [IMAGE], [(4,), (4,)], "3 groups"),
        (LayerNorm(2), [IMAGE], [(9,)], "parameters"),
        (LpNorm(p=3), [IMAGE], [], "p is 3"),
    ],
)
def test_what_does_not_fit(op, inputs, params, message):
    with pytest.raises(OpError, match=message):
        op.infer(inputs, params)
