"""Layers that pick, cut or repeat parts of their input, against real Caffe."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nuqconv.backends.onnx import batch_problems, to_onnx
from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.ir.ops import BatchReindex, Embed, Filter, OpError, Slice, Tile
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text

pytestmark = pytest.mark.caffe


def slicing(tops, param="", shape=(4, 6, 5, 3)):
    names = " ".join(f'top: "part{number}"' for number in range(tops))
    return f'{inputs_text(data=shape)}\nlayer {{ name: "cut" type: "Slice" bottom: "data" {names} slice_param {{ {param} }} }}'


@pytest.mark.parametrize(
    ("tops", "param"),
    [
        (2, ""),
        (3, ""),
        (6, ""),
        (1, ""),
        (2, "axis: 0"),
        (4, "axis: 0"),
        (5, "axis: 2"),
        (3, "axis: -1"),
        (3, "axis: -3"),
        (2, "slice_point: 1"),
        (2, "slice_point: 5"),
        (3, "slice_point: [2, 3]"),
        (6, "slice_point: [1, 2, 3, 4, 5]"),
        (3, "axis: 2 slice_point: 1 slice_point: 4"),
        (2, "axis: -2 slice_point: 3"),
        (2, "slice_dim: 1"),
        (2, "slice_dim: 0"),
        (2, "slice_dim: 1 slice_point: 4"),
    ],
)
def test_slice(oracle, tops, param):
    oracle.check(slicing(tops, param), rtol=0, atol=0)


@st.composite
def slices(draw):
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    axis = draw(st.integers(0, len(shape) - 1))
    named = draw(st.sampled_from([axis, axis - len(shape)]))
    if draw(st.booleans()):
        tops = draw(st.integers(1, 5))
        shape[axis] = tops * draw(st.integers(1, 3))
        return slicing(tops, f"axis: {named}", tuple(shape))
    shape[axis] = draw(st.integers(2, 12))
    points = sorted(draw(st.sets(st.integers(1, shape[axis] - 1), min_size=1, max_size=6)))
    return slicing(len(points) + 1, f"axis: {named} slice_point: {points}", tuple(shape))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=slices())
def test_any_slice(oracle, text):
    oracle.check(text, rtol=0, atol=0)


def test_parts_feed_further_layers_at_any_batch(oracle):
    text = [
        slicing(3, "slice_point: [1, 4]"),
        layer_text(
            "Convolution", "convolution_param { num_output: 2 kernel_size: 3 }", bottoms=("part1",), name="conv"
        ),
        'layer { name: "relu" type: "ReLU" bottom: "part2" top: "part2" }',
        layer_text("Concat", bottoms=("part2", "part0"), name="joined"),
    ]
    graph = oracle.check("\n".join(text), batch=7)
    assert batch_problems(graph) == []
    names = [node.name for node in to_onnx(graph).graph.node]
    assert len(set(names)) == len(names)
    fixed = oracle.check(slicing(2, "axis: 0 slice_point: 1"))
    assert any("'part1' does not have the batch as axis 0" in problem for problem in batch_problems(fixed))


@pytest.mark.parametrize("tiles", [1, 2, 5])
@pytest.mark.parametrize("axis", ["", "axis: 0", "axis: 2", "axis: 3", "axis: -1", "axis: -4"])
def test_tile(oracle, tiles, axis):
    text = f"{inputs_text(data=(2, 3, 4, 2))}\n{layer_text('Tile', f'tile_param {{ {axis} tiles: {tiles} }}')}"
    oracle.check(text, rtol=0, atol=0)


def test_tile_of_a_vector_and_of_another_batch(oracle):
    oracle.check(f"{inputs_text(data=(3,))}\n{layer_text('Tile', 'tile_param { axis: 0 tiles: 4 }')}", rtol=0, atol=0)
    oracle.check(f"{inputs_text(data=(3, 2))}\n{layer_text('Tile', 'tile_param { tiles: 4 }')}", batch=5)


@pytest.mark.parametrize("rest", [(3, 4, 5), (6,), ()])
@pytest.mark.parametrize("indices", [[0, 1, 2, 3], [3, 3, 0], [2], [1, 0, 3, 2, 1, 0, 0], [0.9, 2.5, 3.99]])
def test_batch_reindex(oracle, rest, indices):
    text = [
        inputs_text(data=(4, *rest), indices=(len(indices),)),
        layer_text("BatchReindex", bottoms=("data", "indices")),
    ]
    oracle.check("\n".join(text), rtol=0, atol=0, feeds={"indices": np.array(indices, np.float32)})


@pytest.mark.parametrize("shape", [(3,), (2, 5), (2, 1, 3), (2, 1, 1, 4)])
@pytest.mark.parametrize("bias", ["", "bias_term: true", "bias_term: false"])
def test_embed(oracle, shape, bias):
    text = [inputs_text(data=shape), layer_text("Embed", f"embed_param {{ num_output: 6 input_dim: 11 {bias} }}")]
    data = np.random.default_rng(1).integers(0, 11, shape).astype(np.float32)
    data.flat[0] = 10
    oracle.check("\n".join(text), rtol=1e-6, atol=1e-6, feeds={"data": data})


def test_embed_of_another_batch(oracle):
    text = [inputs_text(data=(2, 5)), layer_text("Embed", "embed_param { num_output: 6 input_dim: 11 }")]
    oracle.check("\n".join(text), batch=4, feeds={"data": np.arange(20, dtype=np.float32).reshape(4, 5) % 11})


@pytest.mark.parametrize("kind", ["Embed", "BatchReindex"])
@pytest.mark.parametrize("index", [-1, 4, 1e9])
def test_indices_outside_are_an_error(oracle, kind, index):
    if kind == "Embed":
        text = [
            inputs_text(index=(1,)),
            layer_text("Embed", "embed_param { num_output: 6 input_dim: 4 }", bottoms=("index",)),
        ]
    else:
        text = [inputs_text(data=(4, 2), index=(1,)), layer_text("BatchReindex", bottoms=("data", "index"))]
    graph, net = oracle.load("\n".join(text), np.random.default_rng(0))
    net.close()
    inputs = {item.name: np.full(item.shape, index, np.float32) for item in graph.inputs}
    with pytest.raises(ModelError, match="out of data bounds"):
        OnnxSession(graph).run(inputs)


def filtering(count=1, selector=(6,), rest=(3, 8, 8)):
    names = [f"data{number}" for number in range(count)]
    bottoms = " ".join(f'bottom: "{name}"' for name in (*names, "selector"))
    tops = " ".join(f'top: "kept{number}"' for number in range(count))
    inputs = inputs_text(**dict.fromkeys(names, (6, *rest)), selector=selector)
    return f'{inputs}\nlayer {{ name: "filter" type: "Filter" {bottoms} {tops} }}'


def check_filter(oracle, text, selector, rtol=1e-5):
    """Compares what both compute; the shapes depend on the selector's numbers."""
    rng = np.random.default_rng(4)
    graph, net = oracle.load(text, rng)
    with net:
        inputs = {item.name: rng.standard_normal(item.shape).astype(np.float32) for item in graph.inputs}
        inputs["selector"] = np.array(selector, np.float32).reshape(inputs["selector"].shape)
        values = [name for name in graph.consumers if name not in inputs]
        theirs = net.run(inputs, values)
        ours = OnnxSession(graph, outputs=values).run(inputs)
        for name in values:
            assert ours[name].shape == theirs[name].shape
            np.testing.assert_allclose(ours[name], theirs[name], rtol=rtol, atol=1e-5, err_msg=name)
    return graph


SELECTORS = [[1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1], [1] * 6, [0.5, -0.0, 0, -3, 1e-30, 0], [0, 0, 1, 0, 0, 0]]


@pytest.mark.parametrize("values", SELECTORS)
@pytest.mark.parametrize("selector", [(6,), (6, 1), (6, 1, 1, 1)])
def test_filter(oracle, values, selector):
    check_filter(oracle, filtering(selector=selector), values, rtol=0)
    check_filter(oracle, filtering(3, selector, (5,)), values, rtol=0)


@pytest.mark.parametrize("values", SELECTORS)
def test_layers_behind_a_filter_follow_its_count(oracle, values):
    text = [
        filtering(2),
        layer_text(
            "Convolution", "convolution_param { num_output: 4 kernel_size: 3 }", bottoms=("kept0",), name="conv"
        ),
        layer_text("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", bottoms=("conv",), name="pool"),
        layer_text("InnerProduct", "inner_product_param { num_output: 5 }", bottoms=("pool",), name="fc"),
        layer_text("Softmax", bottoms=("fc",), name="prob"),
        layer_text("Permute", "permute_param { order: [0, 2, 3, 1] }", bottoms=("conv",), name="permute"),
        layer_text("Reshape", "reshape_param { shape { dim: [0, -1] } }", bottoms=("permute",), name="reshape"),
        layer_text("Eltwise", bottoms=("kept0", "kept1"), name="sum"),
        layer_text("MVN", bottoms=("sum",), name="mvn"),
    ]
    graph = check_filter(oracle, "\n".join(text), values)
    assert graph.shapes["prob"] == (6, 5)
    described = {item.name: item.type.tensor_type.shape.dim[0] for item in to_onnx(graph).graph.output}
    assert {dim.dim_param for dim in described.values()} == {"filter/selected"}
    assert batch_problems(graph) == []
    batch = {item.name: np.ones((9, *item.shape[1:]), np.float32) for item in graph.inputs}
    batch["selector"][3:] = 0
    assert OnnxSession(graph).run(batch)["prob"].shape == (3, 5)


def test_a_filter_of_what_a_filter_kept(oracle):
    text = [
        filtering(2, rest=(1, 1, 1)),
        'layer { name: "again" type: "Filter" bottom: "kept0" bottom: "kept1" top: "last" }',
    ]
    graph = check_filter(oracle, "\n".join(text), SELECTORS[0])
    outputs = {item.name: item.type.tensor_type.shape.dim[0].dim_param for item in to_onnx(graph).graph.output}
    assert outputs == {"last": "again/selected"}


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (layer_text("Eltwise", bottoms=("kept0", "data0"), name="sum"), "'sum'.*inputs differ in shape"),
        (layer_text("Concat", "concat_param { axis: 0 }", bottoms=("kept0", "data0"), name="sum"), "'sum'.*as axis 0"),
        (layer_text("Flatten", "flatten_param { axis: 0 }", bottoms=("kept0",), name="flat"), "'flat'.*as axis 0"),
        (layer_text("Tile", "tile_param { axis: 0 tiles: 2 }", bottoms=("kept0",), name="more"), "'more'.*as axis 0"),
    ],
)
def test_what_needs_the_count_of_a_filter_is_refused(oracle, layer, reason):
    graph, net = oracle.load(f"{filtering()}\n{layer}", np.random.default_rng(0))
    net.close()
    with pytest.raises(UnsupportedError, match=f"(?s)'filter' selects is known only when it runs.*{reason}"):
        to_onnx(graph)
    with pytest.raises(UnsupportedError, match=reason):
        OnnxSession(graph)


@pytest.mark.parametrize(
    ("op", "shapes", "reason"),
    [
        (Slice(2), [(2, 3)], "3 elements cannot be cut into 2"),
        (Slice(2, 1, (3,)), [(2, 3)], "not ascending within an axis of 3"),
        (Slice(3, 1, (2, 1)), [(2, 3)], "not ascending"),
        (Slice(2, 1, (0,)), [(2, 3)], "not ascending"),
        (Slice(3, 1, (1,)), [(2, 3)], "1 slice points for 3 outputs"),
        (Slice(2, 2), [(2, 3)], "axis 2"),
        (Tile(2, 2), [(2, 3)], "axis 2"),
        (Filter(), [(6, 2), (6, 2)], "all its sizes but the first"),
        (Filter(), [(6, 2), ()], "selector has shape"),
        (Filter(), [(5, 2), (6,)], "chooses among 6"),
        (BatchReindex(), [(4, 2), (3, 1)], "2 dimensions"),
        (BatchReindex(), [(), (3,)], "scalar"),
        (Embed(3, 4), [(2,)], "parameters"),
    ],
)
def test_refused(op, shapes, reason):
    with pytest.raises(OpError, match=reason):
        op.infer(shapes, [])
