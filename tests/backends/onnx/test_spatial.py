"""Layers over neighbourhoods, and the masks and expectations of pooling, against real Caffe."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nuqconv.backends.onnx import MAX_OPSET, MIN_OPSET, batch_problems, newest_opset, to_onnx
from nuqconv.errors import ModelError
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import LRN, SPP, Im2col, OpError, Pooling
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text
from tests.support.nets import write_net

from .graphs import single

pytestmark = pytest.mark.caffe

SHAPE = (2, 6, 7, 9)


def one(kind, rest="", shape=SHAPE):
    return inputs_text(data=shape) + "\n" + layer_text(kind, rest)


LRN_PARAMS = [
    "",
    "local_size: 3",
    "local_size: 1",
    "local_size: 9",
    "local_size: 15",
    "alpha: 0.0001 beta: 0.75",
    "alpha: 5 beta: 0.5",
    "beta: 2",
    "k: 2",
    "k: 0.5 local_size: 3 alpha: 3 beta: 1",
    "alpha: 0",
    "alpha: 0 k: 3",
    "alpha: -0.01 k: 2",
    "beta: 0",
    "beta: -0.5 k: 2",
]


@pytest.mark.parametrize("region", ["", "norm_region: WITHIN_CHANNEL"])
@pytest.mark.parametrize("param", LRN_PARAMS)
def test_lrn(oracle, region, param):
    graph = oracle.check(one("LRN", f"lrn_param {{ {region} {param} }}"))
    assert batch_problems(graph) == []


@pytest.mark.parametrize(
    "param", ["norm_region: ACROSS_CHANNELS", "alpha: -0.01", "norm_region: WITHIN_CHANNEL local_size: 3"]
)
def test_lrn_of_another_batch_and_shape(oracle, param):
    oracle.check(one("LRN", f"lrn_param {{ {param} }}", (2, 1, 1, 4)), batch=3)
    oracle.check(one("LRN", f"lrn_param {{ {param} }}", (1, 12, 3, 2)))


@pytest.mark.parametrize("pool", ["", "pool: MAX", "pool: AVE"])
@pytest.mark.parametrize(
    ("height", "shape"),
    [(1, SHAPE), (2, SHAPE), (3, (2, 3, 13, 10)), (3, (1, 2, 4, 4)), (4, (2, 2, 16, 31)), (2, (1, 3, 3, 8))],
)
def test_spp(oracle, pool, height, shape):
    graph = oracle.check(one("SPP", f"spp_param {{ pyramid_height: {height} {pool} }}", shape))
    assert batch_problems(graph) == []
    oracle.check(one("SPP", f"spp_param {{ pyramid_height: {height} {pool} }}", shape), batch=3)


@pytest.mark.parametrize(
    ("param", "shape"),
    [
        ("kernel_size: 3", SHAPE),
        ("kernel_size: 1", SHAPE),
        ("kernel_size: 3 pad: 1", SHAPE),
        ("kernel_size: 3 stride: 2 pad: 2", SHAPE),
        ("kernel_size: 3 dilation: 2", SHAPE),
        ("kernel_size: 2 dilation: 3 pad: 1 stride: 2", SHAPE),
        ("kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 0 pad_w: 1", SHAPE),
        ("kernel_size: [2, 4] stride: [1, 3] pad: [1, 0] dilation: [2, 1]", SHAPE),
        ("kernel_size: 3 pad: 1 force_nd_im2col: true", SHAPE),
        ("kernel_size: 2 pad: 1 dilation: 2", (2, 3, 4, 5, 6)),
        ("kernel_size: [1, 2, 3] stride: [2, 1, 1]", (2, 3, 4, 5, 6)),
        ("kernel_size: 3 stride: 2 pad: 1", (2, 3, 8)),
        ("axis: 2 kernel_size: 3 pad: 1", (2, 2, 3, 5, 6)),
        ("axis: -3 kernel_size: 2", (2, 2, 3, 5, 6)),
        ("axis: 0 kernel_size: 2", (3, 5, 6)),
    ],
)
def test_im2col(oracle, param, shape):
    oracle.check(one("Im2col", f"convolution_param {{ {param} }}", shape), rtol=0, atol=0)


def test_im2col_of_another_batch_and_of_no_numbers(oracle):
    text = one("Im2col", "convolution_param { kernel_size: 3 pad: 1 }")
    oracle.check(text, batch=3)
    data = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    data[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    oracle.check(text, rtol=0, atol=0, feeds={"data": data})


def masked(param, shape=SHAPE):
    layer = (
        'layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" top: "mask" pooling_param { pool: MAX %s } }'
    )
    return f"{inputs_text(data=shape)}\n{layer % param}"


MASKED = [
    "kernel_size: 2 stride: 2",
    "kernel_size: 3 stride: 2",
    "kernel_size: 3 stride: 1 pad: 1",
    "kernel_size: 3 stride: 2 pad: 2",
    "kernel_h: 2 kernel_w: 4 stride_h: 1 stride_w: 3 pad_h: 1 pad_w: 2",
    "kernel_size: 1 stride: 4",
    "kernel_size: 2 stride: 5",
    "kernel_size: 7 stride: 5 pad: 3",
    "global_pooling: true",
    "kernel_size: 1",
]


@pytest.mark.parametrize("param", MASKED)
@pytest.mark.parametrize("batch", [None, 5])
def test_mask(oracle, param, batch):
    graph = oracle.check(masked(param), rtol=0, atol=0, batch=batch)
    assert batch_problems(graph) == []


@pytest.mark.parametrize("param", MASKED)
def test_mask_of_equal_elements(oracle, param):
    data = np.random.default_rng(0).integers(0, 2, SHAPE).astype(np.float32)
    oracle.check(masked(param), rtol=0, atol=0, feeds={"data": data})


@pytest.mark.parametrize("param", MASKED)
@pytest.mark.parametrize("value", [np.finfo(np.float32).min, 0.0, np.inf])
def test_mask_of_planes_of_one_number(oracle, param, value):
    data = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    data[0] = value
    oracle.check(masked(param), rtol=0, atol=0, feeds={"data": data})


def test_mask_below_the_lowest_float():
    data = np.full((1, 1, 5, 5), -np.inf, np.float32)
    for op in (Pooling("MAX", (2, 2), (2, 2), mask=True), Pooling("MAX", (1, 1), (5, 5), mask=True)):
        node = Node("pool", op, ("data",), ("pool", "mask"))
        graph = Graph("net", (Input("data", data.shape),), (node,), {}, ("pool", "mask")).verify()
        assert (OnnxSession(graph).run({"data": data})["mask"] == -1).all()


def test_a_mask_that_feeds_a_layer(oracle):
    text = [
        masked("kernel_size: 3 stride: 2"),
        layer_text("Convolution", "convolution_param { num_output: 2 kernel_size: 2 }", bottoms=("mask",), name="conv"),
        layer_text("Eltwise", bottoms=("pool", "mask"), name="sum"),
    ]
    oracle.check("\n".join(text), rtol=1e-4)


@st.composite
def poolings(draw):
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    method, mask = draw(st.sampled_from([("MAX", True), ("MAX", False), ("AVE", False)]))
    fields = [f"pool: {method}"]
    if draw(st.integers(0, 9)) == 0:
        fields.append("global_pooling: true")
    else:
        kernel, stride, pad = [], [], []
        for size in shape[2:]:
            kernel.append(draw(st.integers(1, size + 2)))
            pad.append(draw(st.integers(0, kernel[-1] - 1)))
            stride.append(draw(st.integers(1, 4)))
            assume(kernel[-1] <= size + 2 * pad[-1])
            if method == "AVE":
                assume(stride[-1] <= kernel[-1])
        for name, (down, across) in (("kernel", kernel), ("stride", stride), ("pad", pad)):
            fields.append(f"{name}_h: {down} {name}_w: {across}")
        fields.append(draw(st.sampled_from(["", "round_mode: CEIL", "round_mode: FLOOR"])))
    tops = 'top: "pool"' + (' top: "mask"' if mask else "")
    layer = f'layer {{ name: "pool" type: "Pooling" bottom: "data" {tops} pooling_param {{ {" ".join(fields)} }} }}'
    return f"{inputs_text(data=shape)}\n{layer}", shape


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=poolings(), seed=st.integers(0, 2**31), ties=st.booleans())
def test_any_pooling(oracle, case, seed, ties):
    text, shape = case
    feeds = {"data": np.random.default_rng(seed).integers(-3, 3, shape).astype(np.float32)} if ties else None
    oracle.check(text, rtol=1e-5, atol=1e-5, seed=seed, feeds=feeds)


def expectation(data, kernel, stride):
    """The rule of Caffe's GPU kernel for TEST, window for window; its CPU code has none."""
    batch, channels, height, width = data.shape
    down, across = (-(-(size - kernel) // stride) + 1 for size in (height, width))
    made = np.zeros((batch, channels, down, across))
    for row in range(down):
        for column in range(across):
            window = data[:, :, row * stride :, column * stride :][:, :, :kernel, :kernel].astype(np.float64)
            total, squares = window.sum((2, 3)), (window**2).sum((2, 3))
            made[:, :, row, column] = np.where(total > 0, squares / np.where(total > 0, total, 1), 0)
    return made


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 1), (1, 3), (1, 4), (2, 5)])
@pytest.mark.parametrize("size", [(6, 6), (7, 9)])
def test_stochastic_pooling(kernel, stride, size):
    data = np.maximum(np.random.default_rng(0).standard_normal((2, 3, *size)), 0).astype(np.float32)
    data[0, 0, :4, :4] = 0
    data[1, 2] *= -1
    graph = single(Pooling("STOCHASTIC", (kernel, kernel), (stride, stride)), data.shape)
    found = OnnxSession(graph).run({"data": data})["out"]
    np.testing.assert_allclose(found, expectation(data, kernel, stride), rtol=1e-5, atol=1e-6)
    assert found.shape == graph.shapes["out"]


def test_stochastic_pooling_of_whole_planes():
    data = np.abs(np.random.default_rng(0).standard_normal((2, 3, 5, 5))).astype(np.float32)
    found = OnnxSession(single(Pooling("STOCHASTIC", global_pooling=True), data.shape)).run({"data": data})["out"]
    np.testing.assert_allclose(found, expectation(data, 5, 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("op", "shape", "reason"),
    [
        (LRN(), (2, 3, 4), "3 dimensions, expected 4"),
        (LRN(4), SHAPE, "not odd"),
        (SPP(2), (2, 3), "2 dimensions, expected 4"),
        (SPP(3), (1, 1, 5, 8), "level 2 of the pyramid: pad 2 is not smaller than kernel 2"),
        (SPP(2, "STOCHASTIC"), (1, 1, 5, 8), "level 1 of the pyramid: STOCHASTIC cannot be padded"),
        (Im2col((3,)), (2, 3), "no axis is left"),
        (Im2col((3, 3, 3)), SHAPE, "kernel has 3 entries for 2"),
        (Im2col((3,), dilation=(1, 2, 3)), SHAPE, "dilation has 3 entries for 2"),
        (Im2col((9,)), SHAPE, "exceeds the padded input"),
        (Pooling("STOCHASTIC", (2, 2), pad=(1, 1)), SHAPE, "cannot be padded"),
        (Pooling("AVE", (2, 2), mask=True), SHAPE, "AVE has no mask"),
    ],
)
def test_refused(op, shape, reason):
    with pytest.raises(OpError, match=reason):
        op.infer([shape], [])


@pytest.mark.parametrize(
    ("kind", "rest", "reason"),
    [
        ("Im2col", "", "kernel_size is missing"),
        ("Im2col", "convolution_param { kernel_size: 2 kernel_h: 2 kernel_w: 2 }", "stands beside"),
        ("Im2col", "convolution_param { kernel_size: 2 dilation: 0 }", "dilation 0"),
        ("Pooling", 'top: "mask" pooling_param { pool: AVE kernel_size: 2 }', "a second top of AVE"),
        ("Pooling", 'top: "mask" pooling_param { pool: STOCHASTIC kernel_size: 2 }', "a second top of STOCHASTIC"),
        ("Pooling", "pooling_param { kernel_h: 2 }", "kernel_h and kernel_w belong together"),
        ("Pooling", "pooling_param { kernel_size: 2 kernel_h: 2 kernel_w: 2 }", "without kernel_size"),
        ("Pooling", "pooling_param { kernel_size: 3 pad_w: 1 }", "pad_h and pad_w belong together"),
    ],
)
def test_parameters_that_caffe_refuses_make_a_layer_opaque(tmp_path, kind, rest, reason):
    files = write_net(tmp_path, one(kind, rest), {})
    assert reason in load_graph(files.model, files.weights).node["out"].op.reason


@pytest.mark.parametrize(
    ("kind", "rest", "reason"),
    [
        ("LRN", "lrn_param { local_size: 4 }", "local_size 4"),
        ("SPP", "spp_param { pyramid_height: 0 }", "pyramid_height 0"),
        ("SPP", "", "pyramid_height 0"),
        ("SPP", "spp_param { pyramid_height: 32 }", "pyramid_height 32"),
        ("Im2col", "convolution_param { kernel_size: 2 stride: 0 }", "must be positive"),
        ("Pooling", "pooling_param { kernel_size: 2 stride: 0 }", "must be positive"),
        ("Pooling", "pooling_param { }", "must be positive"),
    ],
)
def test_sizes_without_a_meaning_are_refused(tmp_path, kind, rest, reason):
    files = write_net(tmp_path, one(kind, rest), {})
    with pytest.raises(ModelError, match=reason):
        load_graph(files.model, files.weights)


@pytest.mark.parametrize("opset", range(MIN_OPSET, MAX_OPSET + 1))
def test_every_opset(oracle, opset):
    if opset > newest_opset():
        pytest.skip(f"the installed onnxruntime ends at opset {newest_opset()}")
    text = [
        masked("kernel_size: 3 stride: 2"),
        layer_text("LRN", bottoms=("pool",), name="lrn"),
        layer_text("LRN", "lrn_param { beta: -1 }", bottoms=("lrn",), name="negative"),
        layer_text("LRN", "lrn_param { norm_region: WITHIN_CHANNEL }", bottoms=("negative",), name="within"),
        layer_text("MVN", bottoms=("within",), name="mvn"),
        layer_text("SPP", "spp_param { pyramid_height: 2 }", bottoms=("mvn",), name="spp"),
        layer_text("Im2col", "convolution_param { kernel_size: 2 }", bottoms=("mvn",), name="col"),
        layer_text("ArgMax", "argmax_param { top_k: 2 }", bottoms=("spp",), name="best"),
        *(
            layer_text("Reduction", f"reduction_param {{ operation: {name} axis: 1 }}", bottoms=("spp",), name=name)
            for name in ("SUM", "ASUM", "SUMSQ", "MEAN")
        ),
        'layer { name: "cut" type: "Slice" bottom: "mask" top: "left" top: "right" }',
        layer_text("Tile", "tile_param { tiles: 2 }", bottoms=("left",), name="tiled"),
        layer_text("Embed", "embed_param { num_output: 2 input_dim: 63 }", bottoms=("right",), name="embedded"),
        layer_text("Reduction", "reduction_param { axis: 1 }", bottoms=("best",), name="chosen"),
        'layer { name: "filter" type: "Filter" bottom: "tiled" bottom: "chosen" top: "kept" }',
    ]
    graph, net = oracle.load("\n".join(text), np.random.default_rng(0))
    with net:
        data = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
        theirs = net.run({"data": data}, list(graph.outputs))
    for dynamic in (False, True):
        model = to_onnx(graph, opset=opset, dynamic_batch=dynamic)
        onnx.checker.check_model(model, full_check=True)
        ours = OnnxSession(model).run({"data": data})
        for name in graph.outputs:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_stochastic_pooling_at_the_oldest_opset():
    graph = single(Pooling("STOCHASTIC", (2, 2), (3, 3)), SHAPE)
    onnx.checker.check_model(to_onnx(graph, opset=MIN_OPSET, dynamic_batch=True), full_check=True)
