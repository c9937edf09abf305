"""Operators of ONNX's kind in real Caffe, against numpy."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

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
    Parameter,
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
from tests.oracle.caffe_written import one, random_feeds

from .test_parts import floats

pytestmark = pytest.mark.caffe
IMAGE = (2, 4, 7, 9)


def runtime(op_type, inputs, outputs=1, opset=18, constants=(), **attributes):
    """What onnxruntime makes of one ONNX node; ``constants`` follow the inputs."""
    names = [f"x{number}" for number in range(len(inputs))]
    tensors = [helper.make_tensor(f"c{n}", *item) for n, item in enumerate(constants) if item is not None]
    others = [f"c{n}" if item is not None else "" for n, item in enumerate(constants)]
    made = [f"y{number}" for number in range(outputs)]
    node = helper.make_node(op_type, [*names, *others], made, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in zip(names, inputs, strict=True)],
        [helper.make_empty_tensor_value_info(name) for name in made],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, dict(zip(names, inputs, strict=True)))
    return {f"y{number}": np.asarray(array, np.float32) for number, array in enumerate(found)}


def named(*arrays):
    return {f"y{number}": np.asarray(array, np.float32) for number, array in enumerate(arrays)}


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize(
    ("begins", "ends"),
    [((0, 0, 0, 0), (0, 0, 1, 1)), ((0, 1, 2, 0), (1, 0, 3, 4)), ((0, 0, 6, 8), (0, 0, 6, 8)), ((0,) * 4, (0,) * 4)],
    ids=str,
)
def test_pad(judge, mode, begins, ends):
    op = Pad(begins, ends, mode, 0.75 if mode == "constant" else 0.0)
    data = floats(*IMAGE)
    more = {"constant_values": np.float32(0.75)} if mode == "constant" else {}
    wanted = np.pad(data, list(zip(begins, ends, strict=True)), mode=mode, **more)
    judge.check(one(op, IMAGE), named(wanted), feeds={"x0": data}, exact=True)


def test_negative_pads_cut(judge):
    data = floats(*IMAGE)
    wanted = np.pad(data[:, :, 2:, :-3], ((0, 0), (1, 0), (0, 2), (0, 0)))
    judge.check(one(Pad((0, 1, -2, 0), (0, 0, 2, -3)), IMAGE), named(wanted), feeds={"x0": data}, exact=True)


POOLS = [
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]},
    {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [2, 0, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [2, 2], "strides": [3, 2], "pads": [0, 0, 0, 0]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 0, 0], "ceil_mode": 1},
    {"kernel_shape": [3, 4], "strides": [2, 3], "pads": [1, 1, 0, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "dilations": [2, 3]},
    {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [3, 1]},
]


def window_pool(method, attributes, rank=2, **more):
    given = attributes["pads"]
    ones = [1] * rank
    return WindowPool(
        method,
        tuple(attributes["kernel_shape"]),
        tuple(attributes.get("strides", ones)),
        tuple(given[:rank]),
        tuple(given[rank:]),
        tuple(attributes.get("dilations", ones)),
        ceil=bool(attributes.get("ceil_mode", 0)),
        **more,
    )


@pytest.mark.parametrize("attributes", POOLS, ids=str)
def test_max_pool(judge, attributes):
    data = floats(*IMAGE)
    wanted = runtime("MaxPool", [data], **attributes)
    judge.check(one(window_pool("MAX", attributes), IMAGE), wanted, feeds={"x0": data}, exact=True)


@pytest.mark.parametrize("attributes", POOLS, ids=str)
@pytest.mark.parametrize("include", [False, True])
def test_average_pool(judge, attributes, include):
    data = floats(*IMAGE)
    wanted = runtime("AveragePool", [data], opset=19, count_include_pad=int(include), **attributes)
    op = window_pool("AVE", attributes, count_include_pad=include)
    judge.check(one(op, IMAGE), wanted, feeds={"x0": data})


@pytest.mark.parametrize("attributes", POOLS[:4], ids=str)
@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool(judge, attributes, p):
    data = floats(*IMAGE)
    wanted = runtime("LpPool", [data], p=p, **attributes)
    judge.check(one(window_pool("LP", attributes, p=p), IMAGE), wanted, feeds={"x0": data})


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((2, 3, 9), {"kernel_shape": [3], "strides": [2], "pads": [1, 0]}),
        ((2, 3, 5, 6, 7), {"kernel_shape": [3, 2, 3], "strides": [2, 1, 2], "pads": [1, 0, 1, 0, 1, 1]}),
        ((2, 3, 9), {"kernel_shape": [2], "strides": [2], "pads": [1, 1], "dilations": [2]}),
    ],
    ids=["one axis", "three axes", "dilated"],
)
@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_pools_of_other_ranks(judge, method, shape, attributes):
    data = floats(*shape)
    wanted = runtime({"MAX": "MaxPool", "AVE": "AveragePool"}[method], [data], opset=19, **attributes)
    op = window_pool(method, attributes, len(shape) - 2)
    judge.check(one(op, shape), wanted, feeds={"x0": data})


@pytest.mark.parametrize(
    ("op", "function"),
    [
        (HardSigmoid(0.3, 0.6), lambda x: np.clip(np.float32(0.3) * x + np.float32(0.6), 0, 1)),
        (ThresholdedReLU(0.7), lambda x: np.where(x > np.float32(0.7), x, 0)),
        (Selu(1.5, 2.0), lambda x: 2.0 * np.where(x > 0, x, 1.5 * np.expm1(x))),
        (Celu(0.5), lambda x: np.maximum(x, 0) + np.minimum(0.5 * np.expm1(x / 0.5), 0)),
        (Shrink(0.25, 0.5), lambda x: np.where(x > 0.5, x - 0.25, np.where(x < -0.5, x + 0.25, 0))),
        (Unary("erf"), np.vectorize(math.erf)),
        (Unary("floor"), np.floor),
        (LogSoftmax(1), lambda x: x - np.log(np.exp(x).sum(1, keepdims=True))),
        (LogSoftmax(-1), lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))),
        (CumSum(2), lambda x: np.cumsum(x, 2)),
        (CumSum(-1, exclusive=True), lambda x: np.cumsum(x, -1) - x),
        (CumSum(1, reverse=True), lambda x: np.cumsum(x[:, ::-1], 1)[:, ::-1]),
        (Trilu(upper=True, k=1), lambda x: np.triu(x, 1)),
        (Trilu(upper=False, k=-1), lambda x: np.tril(x, -1)),
        (Expand((3, 2, 4, 7, 9)), lambda x: np.broadcast_to(x, (3, *IMAGE))),
    ],
    ids=lambda value: f"{value.kind} {value.describe()}" if hasattr(value, "kind") else "",
)
def test_functions(judge, op, function):
    data = floats(*IMAGE)
    judge.check(one(op, IMAGE), named(function(data.astype(np.float64))), feeds={"x0": data})


def test_functions_that_are_refused(judge):
    nodes = [Node(name, Unary(name), ("x",), (name,)) for name in ("sin", "isnan", "cos")]
    graph = Graph("net", (Input("x", (1, 3)),), tuple(nodes), {}, ("sin", "isnan", "cos"))
    with pytest.raises(UnsupportedError) as caught:
        judge.run(graph, {})
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_hardmax_takes_the_first(judge, axis):
    data = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.float32)
    wanted = np.zeros_like(data)
    np.put_along_axis(wanted, np.expand_dims(data.argmax(axis), axis), 1, axis)
    judge.check(one(Hardmax(axis), data.shape), named(wanted), feeds={"x0": data}, exact=True)


@pytest.mark.parametrize("function", ["argmax", "argmin"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axis", [0, 2, -1])
def test_arg_reduce(judge, function, last, keep, axis):
    data = np.random.default_rng(0).integers(0, 4, (4, 5, 6, 3)).astype(np.float32)
    name = {"argmax": "ArgMax", "argmin": "ArgMin"}[function]
    wanted = runtime(name, [data], axis=axis, keepdims=int(keep), select_last_index=int(last))
    judge.check(one(ArgReduce(function, axis, keep, last), data.shape), wanted, feeds={"x0": data}, exact=True)


def test_arg_reduce_of_one_element(judge):
    judge.check(one(ArgReduce("argmax", 1), (3, 1, 2)), named(np.zeros((3, 1, 2))), exact=True)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_top_k(judge, largest, axis):
    data = np.random.default_rng(0).integers(0, 5, (4, 5, 6)).astype(np.float32)
    wanted = runtime("TopK", [data], 2, constants=[(TensorProto.INT64, [1], [3])], axis=axis, largest=int(largest))
    judge.check(one(TopK(3, axis, largest), data.shape), wanted, feeds={"x0": data}, exact=True)


@pytest.mark.parametrize(
    "function", ["sum", "mean", "max", "min", "prod", "l1", "l2", "logsum", "logsumexp", "sumsquare"]
)
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axes", [(0,), (1,), (-1,), (1, 3), (2, 3), (0, 1, 2, 3)], ids=str)
def test_reduce(judge, function, keep, axes):
    kinds = {"l1": "L1", "l2": "L2", "logsum": "LogSum", "logsumexp": "LogSumExp", "sumsquare": "SumSquare"}
    data = np.abs(floats(2, 3, 4, 5)) if function == "logsum" else floats(2, 3, 4, 5)
    constants = [(TensorProto.INT64, [len(axes)], axes)]
    name = f"Reduce{kinds.get(function, function.capitalize())}"
    wanted = runtime(name, [data], constants=constants, keepdims=int(keep))
    if not keep and len(axes) == 4:
        wanted = {key: array.reshape(()) for key, array in wanted.items()}
    judge.check(one(Reduce(function, axes, keep), data.shape), wanted, feeds={"x0": data})


@pytest.mark.parametrize(
    ("left", "right"),
    [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((4,), (2, 4, 5)), ((2, 3, 4), (4,)), ((2, 5, 3, 4), (2, 5, 4, 3))],
    ids=str,
)
def test_mat_mul(judge, left, right):
    x, y = floats(*left), floats(*right, seed=5)
    judge.check(one(MatMul(), left, right), named(x @ y), feeds={"x0": x, "x1": y})


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("bhwc,hkc->bhwk", [(2, 3, 4, 5), (3, 6, 5)]),
        ("ij,jk", [(3, 4), (4, 5)]),
        ("ij->ji", [(3, 4)]),
        ("ij->", [(3, 4)]),
        ("i,j,k->kij", [(3,), (4,), (2,)]),
    ],
)
def test_einsum(judge, equation, shapes):
    arrays = [floats(*shape, seed=number) for number, shape in enumerate(shapes)]
    feeds = {f"x{number}": array for number, array in enumerate(arrays)}
    judge.check(one(Einsum(equation), *shapes), named(np.einsum(equation, *arrays)), feeds=feeds)


def test_einsums_that_are_refused(judge):
    with pytest.raises(UnsupportedError, match="a label twice"):
        judge.run(one(Einsum("ii->i"), (3, 3)), {})


def bound(op, shape, constant, place=1, outputs=1):
    """A graph of an operator with a constant operand."""
    constant = np.asarray(constant, np.float32)
    shapes = [shape, constant.shape] if place == 1 else [constant.shape, shape]
    made = op.infer(shapes, [])
    names = ("x0", "c") if place == 1 else ("c", "x0")
    nodes = (
        Node("constant", Parameter(constant.shape), (), ("c",), ("p",)),
        Node("node", op, names, tuple(f"y{number}" for number in range(len(made)))),
    )
    return Graph("g", (Input("x0", shape),), nodes, {"p": constant}, nodes[1].outputs).verify()


def test_powers(judge):
    data = np.abs(floats(*IMAGE)) + np.float32(0.1)
    judge.check(bound(Binary("pow"), IMAGE, [1.7]), named(data ** np.float32(1.7)), feeds={"x0": data})
    assert "Parameter" not in judge.model.read_text()
    with pytest.raises(UnsupportedError, match="differ from element to element"):
        judge.run(bound(Binary("pow"), (2, 2), [1.0, 2.0]), {})
    with pytest.raises(UnsupportedError, match="are computed"):
        judge.run(one(Binary("pow"), (2, 2), (2, 2)), {})


CONSTANT_FUNCTIONS = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "less": np.less,
    "prelu": lambda x, slope: np.where(x > 0, x, slope * x),
}


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("shape", [(), (1,), (4, 1, 1), (1, 4, 1, 1), (9,), (2, 4, 7, 9), (3, 2, 1, 1, 1)], ids=str)
def test_constant_operands(judge, place, shape):
    data, constant = floats(*IMAGE), floats(*shape, seed=8)
    pair = (data, constant) if place else (constant, data)
    wanted = {name: np.asarray(function(*pair), np.float32) for name, function in CONSTANT_FUNCTIONS.items()}
    names = ("x0", "c") if place else ("c", "x0")
    nodes = [Node("constant", Parameter(np.shape(constant)), (), ("c",), ("p",))]
    nodes += [Node(f"{name}_", Binary(name), names, (name,)) for name in wanted]
    params = {"p": np.asarray(constant, np.float32)}
    graph = Graph("g", (Input("x0", IMAGE),), tuple(nodes), params, tuple(wanted)).verify()
    judge.check(graph, wanted, feeds={"x0": data}, rtol=1e-5)


@pytest.mark.parametrize("function", ["add", "sub", "mul", "div"])
@pytest.mark.parametrize("shape", [(1,), (4, 1, 1), (9,)], ids=str)
def test_one_layer_holds_a_constant(judge, function, shape):
    judge.check(bound(Binary(function), IMAGE, floats(*shape, seed=8)), rtol=1e-5)
    assert "Parameter" not in judge.model.read_text()


@pytest.mark.parametrize("number", [6.0, 3.0, 5.0, 0.625, 10.0, 11.0, 255.0, -6.0, 4.0])
def test_quotients_by_small_whole_numbers_are_those_of_a_division(judge, number):
    data = np.abs(floats(200, 300)) * np.exp2(np.random.default_rng(0).integers(-20, 20, (200, 300))).astype(np.float32)
    graph = bound(Binary("div"), data.shape, [number])
    judge.check(graph, named(data / np.float32(number)), feeds={"x0": data}, exact=True)


def test_a_quotient_by_zero_is_computed(judge):
    data = np.float32([[1.0, 2.0, -3.0]])
    graph = bound(Binary("div"), (1, 3), [2.0, 0.0, 0.0])
    with np.errstate(divide="ignore"):
        judge.check(graph, named(data / np.float32([2.0, 0.0, 0.0])), feeds={"x0": data})


def test_a_constant_that_several_nodes_read(judge):
    constant = floats(4, 7, 9)
    nodes = (
        Node("constant", Parameter((4, 7, 9)), (), ("c",), ("p",)),
        Node("a", Binary("max"), ("x0", "c"), ("a",)),
        Node("b", Binary("mul"), ("c", "a"), ("b",)),
    )
    graph = Graph("g", (Input("x0", IMAGE),), nodes, {"p": constant}, ("b", "c")).verify()
    data = floats(*IMAGE, seed=1)
    wanted = {"b": np.maximum(data, constant) * constant, "c": constant}
    judge.check(graph, wanted, feeds={"x0": data}, exact=True)


def test_where(judge):
    truth = (floats(2, 4, 1, 9) > 0).astype(np.float32)
    x, y = floats(7, 1, seed=1), floats(*IMAGE, seed=2)
    graph = one(Where(), truth.shape, x.shape, y.shape)
    judge.check(graph, named(np.where(truth > 0, x, y)), feeds={"x0": truth, "x1": x, "x2": y}, exact=True)


@pytest.mark.parametrize(
    ("starts", "ends", "steps"),
    [
        ((0, 1, 0, 0), (2, 3, 7, 9), (1, 1, 1, 1)),
        ((0, 0, 1, 0), (2, 4, 7, 9), (1, 1, 2, 3)),
        ((0, 0, 6, 8), (2, 4, -1, 2), (1, 1, -1, -3)),
        ((0, 0, 0, 0), (2, 4, 7, 9), (1, 1, 1, 1)),
    ],
    ids=str,
)
def test_strided_slice(judge, starts, ends, steps):
    data = floats(*IMAGE)
    wanted = data
    for axis, bounds in enumerate(zip(starts, ends, steps, strict=True)):
        wanted = np.take(wanted, list(range(*bounds)), axis)
    graph = one(StridedSlice(starts, ends, steps), IMAGE)
    judge.check(graph, named(wanted), feeds={"x0": data}, exact=True)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [1, [2], [0, -1, 1, 1], [[0, 1], [3, 2]]], ids=str)
def test_gather(judge, axis, indices):
    data, places = floats(4, 5, 6), np.asarray(indices, np.float32)
    wanted = named(np.take(data, places.astype(int), axis))
    judge.check(bound(Gather(axis), data.shape, places), wanted, feeds={"x0": data}, exact=True)
    if places.ndim:
        graph = one(Gather(axis), data.shape, places.shape)
        judge.check(graph, wanted, feeds={"x0": data, "x1": places}, exact=True)


def with_indices(op, indices, *shapes):
    """A graph of an operator whose second operand is constant."""
    indices = np.asarray(indices, np.float32)
    made = op.infer([shapes[0], indices.shape, *shapes[1:]], [])
    inputs = tuple(Input(f"x{number}", shape) for number, shape in enumerate(shapes))
    nodes = (
        Node("constant", Parameter(indices.shape), (), ("c",), ("p",)),
        Node("node", op, ("x0", "c", *(item.name for item in inputs[1:])), ("y0",)),
    )
    graph = Graph("g", inputs, nodes, {"p": indices}, ("y0",)).verify()
    assert graph.shapes["y0"] == made[0]
    return graph


@pytest.mark.parametrize(
    ("op", "shape", "indices", "updates"),
    [
        (GatherElements(1), (3, 4, 5), np.arange(24).reshape(3, 2, 4) % 4, None),
        (GatherElements(-1), (3, 40), np.arange(120)[::-1].reshape(3, 40) % 40 - 20, None),
        (GatherND(), (3, 4, 5), [[0, 1], [2, -1]], None),
        (GatherND(1), (2, 4, 5), [[[1, 1], [3, 0]], [[0, 4], [2, 2]]], None),
        (ScatterElements(0), (3, 4, 5), [[[2] * 5] * 4], (1, 4, 5)),
        (ScatterElements(1), (2, 6), [[1, -1], [0, 2]], (2, 2)),
        (ScatterND(), (3, 4, 5), [[0, 1], [2, -1]], (2, 5)),
        (ScatterND(), (2, 6), [[[0, 0], [0, 1]], [[1, 2], [1, 5]]], (2, 2)),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else "",
)
def test_single_elements(judge, op, shape, indices, updates):
    graph = with_indices(op, indices, shape, *([updates] if updates else []))
    # onnxruntime is the judge of both here.
    judge.check(graph, exact=True)


@pytest.mark.parametrize(
    ("op", "shapes", "message"),
    [
        (GatherElements(), [(3, 4), (3, 4)], "indices are computed"),
        (ScatterND(), [(3, 4), (2, 1), (2, 4)], "indices are computed"),
    ],
)
def test_computed_indices_are_refused(judge, op, shapes, message):
    with pytest.raises(UnsupportedError, match=message):
        judge.run(one(op, *shapes), {})


def test_reductions_of_a_scatter_are_refused(judge):
    graph = with_indices(ScatterND("add"), [[0]], (3, 4), (1, 4))
    with pytest.raises(UnsupportedError, match="reduction add"):
        judge.run(graph, {})


def test_gather_from_a_table(judge):
    table, places = floats(6, 3), np.float32([[5, 0], [-1, 2]])
    graph = bound(Gather(0), places.shape, table, 0)
    judge.check(graph, named(table[places.astype(int)]), feeds={"x0": places}, exact=True)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_and_space(judge, mode):
    data = floats(2, 8, 3, 5)
    wanted = runtime("DepthToSpace", [data], blocksize=2, mode=mode)
    judge.check(one(DepthToSpace(2, mode), data.shape), wanted, feeds={"x0": data}, exact=True)
    data = floats(2, 3, 4, 6)
    wanted = runtime("SpaceToDepth", [data], blocksize=2)
    judge.check(one(SpaceToDepth(2), data.shape), wanted, feeds={"x0": data}, exact=True)


@pytest.mark.parametrize(
    ("mode", "coordinates", "nearest", "size"),
    [
        ("nearest", "asymmetric", "floor", (14, 27)),
        ("nearest", "half_pixel", "round_prefer_floor", (14, 18)),
        ("nearest", "half_pixel", "round_prefer_ceil", (10, 5)),
        ("linear", "half_pixel", "floor", (14, 18)),
        ("linear", "align_corners", "floor", (13, 4)),
        ("cubic", "pytorch_half_pixel", "floor", (14, 18)),
    ],
)
def test_resize(judge, mode, coordinates, nearest, size):
    data = floats(*IMAGE)
    sizes = (2, 4, *size)
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
    wanted = runtime("Resize", [data], constants=[None, None, (TensorProto.INT64, [4], sizes)], **attributes)
    scales = tuple(new / old for new, old in zip(sizes, IMAGE, strict=True))
    op = Resize(sizes, scales, mode, coordinates, nearest)
    judge.check(one(op, IMAGE), wanted, feeds={"x0": data}, exact=mode == "nearest")
    whole = all(new % old == 0 for new, old in zip(sizes, IMAGE, strict=True))
    assert ("Deconvolution" in judge.model.read_text()) == (mode == "nearest" and whole)


def test_resize_that_is_refused(judge):
    op = Resize((2, 4, 3, 3), (1.0, 1.0, 3 / 7, 1 / 3), "linear", antialias=True)
    with pytest.raises(UnsupportedError, match="antialias"):
        judge.run(one(op, IMAGE), {})


def test_norms(judge):
    data, scale, bias = floats(*IMAGE) * np.float32(3), floats(4), floats(4, seed=9)
    x = data.astype(np.float64)

    def normal(x, axes, eps):
        return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)

    line = (scale.reshape(1, 4, 1, 1), bias.reshape(1, 4, 1, 1))
    instance = normal(x, (2, 3), 1e-3) * line[0] + line[1]
    judge.check(one(InstanceNorm(1e-3), IMAGE, params=[scale, bias]), named(instance), feeds={"x0": data})
    group = normal(x.reshape(2, 2, -1), 2, 1e-5).reshape(IMAGE) * line[0] + line[1]
    judge.check(one(GroupNorm(2, 1e-5), IMAGE, params=[scale, bias]), named(group), feeds={"x0": data})
    wide, more = floats(7, 9), floats(7, 9, seed=2)
    layer = normal(x, (2, 3), 1e-5) * wide
    judge.check(one(LayerNorm(2, 1e-5), IMAGE, params=[wide]), named(layer), feeds={"x0": data})
    graph = one(LayerNorm(-2, 1e-5), IMAGE, params=[wide, more])
    judge.check(graph, named(layer + more), feeds={"x0": data})


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [1, -1])
def test_lp_norm(judge, p, axis):
    data = floats(*IMAGE)
    length = (np.abs(data.astype(np.float64)) ** p).sum(axis, keepdims=True) ** (1 / p)
    judge.check(one(LpNorm(axis, p), IMAGE), named(data / length), feeds={"x0": data})


@pytest.mark.parametrize("axes", [(0, 2, 3), (1,), (2, 3)], ids=str)
def test_mean_variance_norm(judge, axes):
    data = floats(*IMAGE)
    wanted = runtime("MeanVarianceNormalization", [data], axes=axes)
    judge.check(one(MeanVarianceNorm(axes), IMAGE), wanted, feeds={"x0": data})
    assert random_feeds


def test_scalars_and_nothing(judge):
    nodes = (
        Node("constant", Parameter(()), (), ("c",), ("p",)),
        Node("node", Binary("less"), ("x", "c"), ("y",)),
        Node("sum", Reduce("sum", (0, 1), keepdims=False), ("y",), ("s",)),
    )
    params = {"p": np.asarray(0.5, np.float32)}
    judge.check(Graph("g", (Input("x", (2, 3)),), nodes, params, ("y", "c", "s")).verify(), exact=True)
    nodes = (Node("cut", StridedSlice((0, 2), (2, 2), (1, 1)), ("x",), ("y",)),)
    with pytest.raises(UnsupportedError, match="of shape 2x0 holds nothing"):
        judge.run(Graph("g", (Input("x", (2, 3)),), nodes, {}, ("y",)).verify(), {})
