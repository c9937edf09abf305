"""Scale and Bias, with their own blobs and with a second bottom, against real Caffe."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nuqconv.backends.onnx import batch_problems
from nuqconv.errors import ModelError
from nuqconv.frontends.caffe import load_graph
from nuqconv.passes import fold_affine
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text
from tests.oracle.equivalents import floats, random_inputs, save

pytestmark = pytest.mark.caffe

IMAGE = (2, 4, 7, 9)


def one(kind, rest="", shape=IMAGE):
    return inputs_text(data=shape) + "\n" + layer_text(kind, rest)


def two(kind, rest, shape, part):
    return inputs_text(data=shape, other=part) + "\n" + layer_text(kind, rest, bottoms=("data", "other"))


OWN = [
    "",
    "axis: 0",
    "axis: 2",
    "axis: -1",
    "axis: -3",
    "num_axes: 2",
    "num_axes: 3",
    "axis: 0 num_axes: 4",
    "axis: -2 num_axes: 2",
    "num_axes: 0",
    "axis: 3 num_axes: 0",
    "num_axes: -1",
    "axis: 0 num_axes: -1",
    "axis: 2 num_axes: -1",
    "axis: -1 num_axes: -1",
]


@pytest.mark.parametrize("param", OWN)
@pytest.mark.parametrize("kind", ["Scale", "Bias"])
def test_own_blob(oracle, kind, param):
    oracle.check(one(kind, f"{kind.lower()}_param {{ {param} }}"))


@pytest.mark.parametrize("param", OWN)
def test_scale_with_bias(oracle, param):
    oracle.check(one("Scale", f"scale_param {{ {param} bias_term: true }}"))


PARTS = [
    ("", (4,)),
    ("", (4, 7)),
    ("", (4, 7, 9)),
    ("axis: 0", IMAGE),
    ("axis: 0", (2,)),
    ("axis: 0", (2, 4)),
    ("axis: 2", (7,)),
    ("axis: 2", (7, 9)),
    ("axis: -1", (9,)),
    ("axis: -3", (4, 7)),
    ("axis: -4", (2, 4, 7)),
    # With a second bottom num_axes has no meaning.
    ("axis: 0 num_axes: 1", (2, 4)),
    ("num_axes: 0", (4, 7)),
    ("num_axes: -1", (4,)),
]


@pytest.mark.parametrize(("param", "part"), PARTS)
@pytest.mark.parametrize("kind", ["Scale", "Bias", "Scale with bias"])
def test_two_bottoms(oracle, kind, param, part):
    layer, _, bias = kind.partition(" with ")
    more = "bias_term: true" if bias else ""
    graph = oracle.check(two(layer, f"{layer.lower()}_param {{ {param} {more} }}", IMAGE, part))
    assert graph.node["out"].op.kind == layer
    assert len(graph.node["out"].params) == int(bool(bias))


@pytest.mark.parametrize("kind", ["Scale", "Bias"])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (2, 3, 2, 2, 2)])
@pytest.mark.parametrize("other", [False, True])
def test_ranks(oracle, kind, shape, other):
    rest = f"{kind.lower()}_param {{ axis: 0 }}"
    oracle.check(two(kind, rest, shape, shape[:1]) if other else one(kind, rest, shape))


@pytest.mark.parametrize("kind", ["Scale", "Bias"])
def test_two_bottoms_in_place_and_twice_the_same(oracle, kind):
    text = [
        inputs_text(data=IMAGE),
        layer_text("Pooling", "pooling_param { pool: AVE global_pooling: true }", name="gap"),
        layer_text("Flatten", bottoms=("gap",), name="gate"),
        layer_text("Power", "power_param { scale: 2 }", name="out"),
        f'layer {{ name: "over" type: "{kind}" bottom: "out" bottom: "gate" top: "out" {kind.lower()}_param {{ axis: 0 }} }}',
        layer_text(kind, f"{kind.lower()}_param {{ axis: 0 }}", bottoms=("out", "out"), name="self"),
    ]
    oracle.check("\n".join(text), rtol=1e-4)
    graph = oracle.check("\n".join(text), rtol=1e-4, batch=5)
    assert batch_problems(graph) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_layout(oracle, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)))
    kind = data.draw(st.sampled_from(["Scale", "Bias"]))
    start = data.draw(st.integers(0, len(shape) - 1))
    axis = data.draw(st.sampled_from([start, start - len(shape)]))
    count = data.draw(st.integers(0, len(shape) - start))
    bias = "bias_term: true" if kind == "Scale" and data.draw(st.booleans()) else ""
    rest = f"{kind.lower()}_param {{ axis: {axis} {bias} "
    if count and data.draw(st.booleans()):
        oracle.check(two(kind, rest + "}", shape, shape[start : start + count]))
        return
    to_the_end = start + count == len(shape) and count and data.draw(st.booleans())
    oracle.check(one(kind, rest + f"num_axes: {-1 if to_the_end else count} }}", shape))


@pytest.mark.parametrize(
    ("kind", "rest", "part", "message"),
    [
        ("Scale", "", (3,), "parameters have shapes 3, expected 4"),
        ("Scale", "scale_param { axis: 0 }", (4,), "parameters have shapes 4, expected 2"),
        ("Bias", "", (4, 7, 9, 1), "expected 4x7x9"),
        ("Bias", "bias_param { axis: 4 }", (4,), "axis 4 is outside a shape of 4 dimensions"),
    ],
)
def test_a_second_bottom_that_does_not_fit(tmp_path, kind, rest, part, message):
    with pytest.raises(ModelError, match=message):
        load_graph(*save(tmp_path, "net", two(kind, rest, IMAGE, part), {}))


@pytest.mark.parametrize("kind", ["Scale", "Bias"])
def test_num_axes_below_minus_one_is_refused(tmp_path, kind):
    text = one(kind, f"{kind.lower()}_param {{ num_axes: -2 }}")
    graph = load_graph(*save(tmp_path, "net", text, {"out": (kind, [floats(4)])}))
    assert "num_axes -2" in graph.node["out"].op.reason


def test_only_a_scale_with_its_own_factors_is_folded(oracle):
    """A computed factor is no constant, whichever of its bottoms the convolution makes."""
    text = [
        inputs_text(data=(1, 3, 6, 6), other=(1, 4, 6, 6)),
        layer_text("Convolution", "convolution_param { num_output: 4 kernel_size: 1 }", name="conv"),
        layer_text("Scale", "scale_param { bias_term: true }", bottoms=("conv",), name="own"),
        layer_text("Scale", "scale_param { axis: 0 bias_term: true }", bottoms=("own", "other"), name="first"),
        layer_text(
            "Convolution", "convolution_param { num_output: 4 kernel_size: 1 }", bottoms=("first",), name="conv2"
        ),
        layer_text("Scale", "scale_param { axis: 0 }", bottoms=("other", "conv2"), name="second"),
    ]
    graph = oracle.check("\n".join(text), rtol=1e-4)
    result = fold_affine(graph)
    assert dict(result.folded) == {"conv": ("own",)}
    inputs = random_inputs(graph)
    expected = OnnxSession(graph).run(inputs)["second"]
    np.testing.assert_allclose(OnnxSession(result.graph).run(inputs)["second"], expected, rtol=1e-4, atol=1e-5)
