"""Operators of ONNX's kind in every opset, against numpy and against the newest opset."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest

from nuqconv.backends.onnx import MIN_OPSET, newest_opset, to_onnx
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import (
    ArgReduce,
    Binary,
    Celu,
    CumSum,
    DepthToSpace,
    Einsum,
    Expand,
    Gather,
    GatherElements,
    GatherND,
    GroupNorm,
    Hardmax,
    HardSigmoid,
    InstanceNorm,
    LayerNorm,
    LogSoftmax,
    LpNorm,
    MatMul,
    MeanVarianceNorm,
    Pad,
    Reduce,
    Resize,
    ScatterElements,
    ScatterND,
    Selu,
    Shrink,
    SpaceToDepth,
    StridedSlice,
    ThresholdedReLU,
    TopK,
    Trilu,
    Unary,
    Where,
    WindowPool,
)
from nuqconv.ir.ops.binary import BINARY_FUNCTIONS
from nuqconv.ir.ops.elementwise import UNARY_FUNCTIONS
from nuqconv.runtimes.onnxruntime import OnnxSession

IMAGE = (2, 4, 6, 9)


def floats(*shape, seed=3):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def graph_of(op, arrays, params=()):
    inputs = tuple(Input(f"x{number}", array.shape) for number, array in enumerate(arrays))
    names = tuple(f"p{number}" for number in range(len(params)))
    made = op.infer([array.shape for array in arrays], [array.shape for array in params])
    outputs = tuple(f"y{number}" for number in range(len(made)))
    node = Node("node", op, tuple(item.name for item in inputs), outputs, names)
    return Graph("one", inputs, (node,), dict(zip(names, params, strict=True)), outputs).verify()


def feeds_of(arrays):
    return {f"x{number}": array for number, array in enumerate(arrays)}


def run(op, *arrays, params=()):
    found = OnnxSession(graph_of(op, arrays, params), threads=1).run(feeds_of(arrays))
    return list(found.values())


_ERF = np.vectorize(math.erf)
_UNARY = {
    "ceil": np.ceil,
    "erf": _ERF,
    "gelu": lambda x: x * (1 + _ERF(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "isinf": np.isinf,
    "isnan": np.isnan,
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "neg": np.negative,
    "nonzero": lambda x: x != 0,
    "not": lambda x: x == 0,
    "round": np.rint,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    **{f"a{name}": getattr(np, f"arc{name}") for name in ("cos", "cosh", "sin", "sinh", "tan", "tanh")},
    **{
        name: getattr(np, name)
        for name in ("cos", "cosh", "exp", "floor", "log", "reciprocal", "sign", "sin", "sinh", "sqrt", "tan", "trunc")
    },
}


@pytest.mark.parametrize("function", sorted(UNARY_FUNCTIONS))
def test_functions_of_one_value(function):
    data = np.linspace(-0.96, 0.99, 60, dtype=np.float32).reshape(3, 20)
    if function in ("acosh", "log", "sqrt"):
        data = np.abs(data) + np.float32(1.01)
    elif function in ("ceil", "floor", "round", "trunc"):
        data = np.concatenate([data * np.float32(9), np.float32([[0.5, 1.5, 2.5, -0.5] * 5])])
    elif function in ("nonzero", "not", "sign"):
        data = np.rint(data)
    elif function in ("isinf", "isnan"):
        data[0, :3] = [np.inf, -np.inf, np.nan]
    (found,) = run(Unary(function), data)
    np.testing.assert_allclose(found, _UNARY[function](data.astype(np.float64)), rtol=1e-5, atol=1e-6)
    assert found.dtype == np.float32


_BINARY = {
    "add": np.add,
    "and": np.logical_and,
    "div": np.divide,
    "equal": np.equal,
    "fmod": np.fmod,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "integer_div": lambda x, y: np.trunc(x.astype(np.float64) / y),
    "less": np.less,
    "less_equal": np.less_equal,
    "max": np.maximum,
    "min": np.minimum,
    "mod": np.mod,
    "mul": np.multiply,
    "or": np.logical_or,
    "pow": np.power,
    "prelu": lambda x, slope: np.where(x > 0, x, slope * x),
    "sub": np.subtract,
    "xor": np.logical_xor,
}


@pytest.mark.parametrize("function", sorted(BINARY_FUNCTIONS))
def test_functions_of_two_values(function):
    x, y = np.rint(floats(2, 3, 5) * np.float32(20)), np.rint(floats(3, 1, seed=1) * np.float32(4)) + np.float32(9)
    if function in ("and", "or", "xor"):
        x, y = np.rint(x / 20), np.float32([[0], [1], [2]])
    elif function == "pow":
        x = np.abs(x) / np.float32(40)
    (found,) = run(Binary(function), x, y)
    np.testing.assert_allclose(found, _BINARY[function](x, y), rtol=1e-6, atol=1e-6)
    assert found.dtype == np.float32


def test_indices():
    data = floats(4, 5, 6)
    places = np.array([[1, -1], [0, 3]], np.float32)
    whole = places.astype(int)
    np.testing.assert_array_equal(run(Gather(1), data, places)[0], np.take(data, whole, 1))
    rows = np.float32(np.random.default_rng(0).integers(0, 4, (2, 5, 6)))
    np.testing.assert_array_equal(run(GatherElements(0), data, rows)[0], np.take_along_axis(data, rows.astype(int), 0))
    np.testing.assert_array_equal(run(GatherND(), data, places)[0], data[whole[:, 0], whole[:, 1]])
    (scattered,) = run(ScatterElements(0), data, rows[:1], floats(1, 5, 6, seed=8))
    wanted = data.copy()
    np.put_along_axis(wanted, rows[:1].astype(int), floats(1, 5, 6, seed=8), 0)
    np.testing.assert_array_equal(scattered, wanted)
    (scattered,) = run(ScatterND("add"), data, np.float32([[2], [2]]), floats(2, 5, 6, seed=8))
    wanted = data.copy()
    np.add.at(wanted, [2, 2], floats(2, 5, 6, seed=8))
    np.testing.assert_allclose(scattered, wanted, rtol=1e-6)


X = floats(*IMAGE)
INDICES = np.float32([[0, 1, 1]])
CASES = [
    (Pad((0, 0, 1, 2), (0, 1, 3, 0), "constant", 2.0), [X]),
    (Pad((0, 0, 1, 2), (0, 1, 3, 0), "reflect"), [X]),
    (Pad((0, 0, 1, 2), (0, 1, 3, 0), "edge"), [X]),
    (Pad((0, 0, 1, 2), (0, 1, 3, 0), "wrap"), [X]),
    (Pad((0, -1, 1, 0), (0, 0, -2, 3)), [X]),
    (WindowPool("MAX", (3, 2), (2, 1), (1, 0), (0, 1), (1, 2), ceil=True), [X]),
    (WindowPool("AVE", (3, 2), (2, 1), (1, 0), (0, 1), (1, 1), count_include_pad=True), [X]),
    (WindowPool("LP", (3, 2), (2, 1), (1, 0), (0, 1), (1, 1), p=2), [X]),
    (HardSigmoid(0.3, 0.4), [X]),
    (ThresholdedReLU(0.5), [X]),
    (Selu(), [X]),
    (Celu(2.0), [X]),
    (Shrink(0.5, 0.75), [X]),
    (LogSoftmax(1), [X]),
    (Hardmax(2), [X]),
    (CumSum(-2, exclusive=True, reverse=True), [X]),
    (Where(), [(X > 0).astype(np.float32), X[:1], X[:, :, :1]]),
    *(
        (Reduce(name, (1, -1)), [np.abs(X)])
        for name in ["sum", "mean", "max", "min", "prod", "l1", "l2", "logsum", "logsumexp", "sumsquare"]
    ),
    (Reduce("mean", (0, 2), keepdims=False), [X]),
    (ArgReduce("argmin", 1, last=True), [np.rint(X)]),
    (TopK(2, -1, largest=False), [np.rint(X)]),
    (MatMul(), [X, floats(4, 9, 2)]),
    (Einsum("nchw,ncxw->nhx"), [X, floats(2, 4, 3, 9)]),
    (Resize((2, 4, 12, 4), mode="linear"), [X]),
    (Resize((2, 4, 12, 4), (1.0, 1.0, 2.0, 0.45), "cubic", "asymmetric", exclude_outside=True), [X]),
    (Resize((2, 4, 3, 4), mode="linear", coordinates="tf_crop_and_resize", roi=(0, 0, 0.2, 0.1, 1, 1, 0.8, 0.7)), [X]),
    (DepthToSpace(2, "CRD"), [X]),
    (SpaceToDepth(3), [X]),
    (StridedSlice((0, 3, 5, 0), (2, -1, 0, 9), (1, -1, -2, 4)), [X]),
    (StridedSlice((0,) * 4, IMAGE, (1,) * 4), [X]),
    (Gather(2), [X, INDICES]),
    (Expand((3, 1, 4, 6, 1)), [X]),
    (Trilu(upper=False, k=-1), [X]),
    (LpNorm(1, 1), [X]),
    (MeanVarianceNorm(), [X]),
    *((Unary(name), [X]) for name in ("gelu", "mish", "trunc", "nonzero")),
    *((Binary(name), [X, floats(9) + np.float32(3)]) for name in ("mod", "fmod", "less_equal", "xor", "prelu")),
]
NORMS = [(InstanceNorm(1e-3), (4,), 2), (GroupNorm(2), (4,), 2), (LayerNorm(2), (6, 9), 1), (LayerNorm(-1), (9,), 2)]
CASES += [(op, [X], [floats(*shape, seed=n) for n in range(count)]) for op, shape, count in NORMS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].kind} {case[0].describe()}"[:60])
def test_every_opset_gives_the_same_numbers(case):
    op, arrays, *more = case
    graph = graph_of(op, arrays, more[0] if more else ())
    wanted = OnnxSession(graph, threads=1).run(feeds_of(arrays))
    for opset in range(MIN_OPSET, newest_opset()):
        model = to_onnx(graph, opset=opset).SerializeToString()
        found = onnxruntime.InferenceSession(model).run(list(graph.outputs), feeds_of(arrays))
        for name, array in zip(graph.outputs, found, strict=True):
            assert array.shape == graph.shapes[name] == wanted[name].shape
            np.testing.assert_allclose(array, wanted[name], rtol=1e-5, atol=1e-6, err_msg=f"opset {opset}")


@pytest.mark.parametrize(
    ("op", "arrays", "opset"),
    [
        (WindowPool("AVE", (2, 2), (1, 1), (0, 0), (0, 0), (2, 1)), [X], 18),
        (WindowPool("LP", (2, 2), (1, 1), (0, 0), (0, 0), (2, 1)), [X], 17),
        (Resize((2, 4, 3, 4), mode="linear", antialias=True), [X], 17),
        (Resize((2, 4, 3, 4), mode="linear", coordinates="half_pixel_symmetric"), [X], 18),
        (ScatterElements(0, "max"), [X, np.zeros_like(X), X], 17),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else "",
)
def test_what_an_opset_lacks_is_refused(op, arrays, opset):
    graph = graph_of(op, arrays)
    to_onnx(graph, opset=opset + 1)
    with pytest.raises(UnsupportedError, match=f"needs opset {opset + 1}"):
        to_onnx(graph, opset=opset)
