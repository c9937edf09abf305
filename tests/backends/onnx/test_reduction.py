"""Layers that sum up or rank along axes, against real Caffe."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nuqconv.backends.onnx import batch_problems
from nuqconv.errors import ModelError
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir.ops import MVN, ArgMax, OpError, Reduction
from tests.oracle.caffe_layers import inputs_text, layer_text
from tests.support.nets import write_net

pytestmark = pytest.mark.caffe

SHAPE = (2, 4, 7, 9)


def one(kind, rest="", shape=SHAPE):
    return inputs_text(data=shape) + "\n" + layer_text(kind, rest)


@pytest.mark.parametrize("operation", ["", "operation: SUM", "operation: ASUM", "operation: SUMSQ", "operation: MEAN"])
@pytest.mark.parametrize(
    "rest", ["", "axis: 1", "axis: 2", "axis: 3", "axis: -1", "axis: -4 coeff: -2.5", "axis: 1 coeff: 0", "coeff: 0.3"]
)
def test_reduction(oracle, operation, rest):
    oracle.check(one("Reduction", f"reduction_param {{ {operation} {rest} }}"), rtol=1e-5, atol=2e-5)


@st.composite
def reductions(draw):
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=5)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    operation = draw(st.sampled_from(["SUM", "ASUM", "SUMSQ", "MEAN"]))
    coeff = draw(st.sampled_from([1.0, 0.0, -1.0, 0.125, 3.7]))
    return one("Reduction", f"reduction_param {{ operation: {operation} axis: {axis} coeff: {coeff} }}", shape)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=reductions(), seed=st.integers(0, 2**31))
def test_any_reduction(oracle, text, seed):
    oracle.check(text, rtol=1e-5, atol=2e-5, seed=seed)


def test_a_reduction_of_the_batch_follows_its_size(oracle):
    for operation in ("SUM", "MEAN"):
        oracle.check(one("Reduction", f"reduction_param {{ operation: {operation} }}"), batch=5, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("shape", [(2, 4, 7, 9), (3, 5), (2, 3, 4), (2, 2, 2, 2, 3), (1, 7)])
@pytest.mark.parametrize("top_k", [1, 3])
@pytest.mark.parametrize("out_max_val", ["false", "true"])
def test_arg_max_of_everything(oracle, shape, top_k, out_max_val):
    oracle.check(one("ArgMax", f"argmax_param {{ top_k: {top_k} out_max_val: {out_max_val} }}", shape), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("axis", "shape"),
    [
        (0, (4, 3, 5)),
        (1, SHAPE),
        (2, SHAPE),
        (-1, SHAPE),
        (-4, (3, 2, 2, 2)),
        (1, (2, 5)),
        (0, (6,)),
        (-2, (2, 3, 4, 3, 2)),
    ],
)
@pytest.mark.parametrize("top_k", [1, 2, 3])
@pytest.mark.parametrize("out_max_val", ["false", "true"])
def test_arg_max_of_an_axis(oracle, axis, shape, top_k, out_max_val):
    param = f"axis: {axis} top_k: {top_k} out_max_val: {out_max_val}"
    oracle.check(one("ArgMax", f"argmax_param {{ {param} }}", shape), rtol=0, atol=0)


@pytest.mark.parametrize(
    "param", ["", "axis: 1", "axis: 0", "axis: -1", "axis: 1 out_max_val: true", "out_max_val: true"]
)
@pytest.mark.parametrize("top_k", [1, 4])
def test_arg_max_of_equal_elements(oracle, param, top_k):
    shape = (4, 5, 6)
    data = np.random.default_rng(3).integers(-1, 2, shape).astype(np.float32)
    oracle.check(
        one("ArgMax", f"argmax_param {{ {param} top_k: {top_k} }}", shape), rtol=0, atol=0, feeds={"data": data}
    )


@pytest.mark.parametrize("param", ["top_k: 3", "axis: 1 top_k: 2", "axis: 0 top_k: 2", "out_max_val: true", "axis: 0"])
def test_arg_max_of_another_batch(oracle, param):
    oracle.check(one("ArgMax", f"argmax_param {{ {param} }}"), batch=5, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [SHAPE, (3, 5), (4,), (2, 3, 8), (1, 1, 6, 6), (2, 3, 1, 1)])
@pytest.mark.parametrize(
    "param",
    [
        "",
        "normalize_variance: false",
        "across_channels: true",
        "across_channels: true normalize_variance: false",
        "eps: 0.5",
    ],
)
def test_mvn(oracle, param, shape):
    graph = oracle.check(one("MVN", f"mvn_param {{ {param} }}", shape), rtol=1e-5, atol=1e-5)
    assert batch_problems(graph) == []


def test_mvn_of_another_batch(oracle):
    for shape in (SHAPE, (2, 6)):
        oracle.check(one("MVN", "mvn_param { across_channels: true }", shape), batch=5)


def test_results_feed_further_layers(oracle):
    text = [
        inputs_text(data=SHAPE),
        layer_text("MVN", name="mvn"),
        layer_text("Reduction", "reduction_param { axis: 2 operation: MEAN }", bottoms=("mvn",), name="mean"),
        layer_text("InnerProduct", "inner_product_param { num_output: 6 }", bottoms=("mean",), name="fc"),
        layer_text("ArgMax", "argmax_param { axis: 1 }", bottoms=("fc",), name="best"),
    ]
    graph = oracle.check("\n".join(text), batch=3)
    assert batch_problems(graph) == []
    oracle.check("\n".join(text))


@pytest.mark.parametrize(
    ("op", "shape", "reason"),
    [
        (Reduction(axis=4), (2, 3), "axis 4 is outside"),
        (Reduction(), (), "axis 0 is outside"),
        (ArgMax(), (), "scalar"),
        (ArgMax(top_k=7), (5, 2, 3), "top_k 7 of 6"),
        (ArgMax(axis=1, top_k=3), (5, 2, 3), "top_k 3 of 2"),
        (ArgMax(axis=3), (5, 2, 3), "axis 3"),
        (MVN(), (1, 2, 3, 4, 5), "5 dimensions"),
        (MVN(), (), "0 dimensions"),
    ],
)
def test_refused(op, shape, reason):
    with pytest.raises(OpError, match=reason):
        op.infer([shape], [])


def test_wrong_parameters_are_named(tmp_path):
    files = write_net(tmp_path, one("ArgMax", "argmax_param { top_k: 0 }"), {})
    with pytest.raises(ModelError, match="top_k must be positive"):
        load_graph(files.model, files.weights)
    files = write_net(tmp_path, one("ArgMax", "argmax_param { axis: 9 }"), {})
    with pytest.raises(ModelError, match="axis 9"):
        load_graph(files.model, files.weights)
