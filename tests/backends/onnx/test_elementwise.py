"""Layers on each element, and layers that only hand blobs on, against real Caffe (OpenCV for what it lacks)."""

from __future__ import annotations

import numpy as np
import pytest

from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.frontends.caffe import load_graph, read_model
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text
from tests.oracle.equivalents import against_opencv, against_stock, save

pytestmark = pytest.mark.caffe

IMAGE = (2, 4, 7, 9)


def one(kind, rest="", shape=IMAGE):
    return inputs_text(data=shape) + "\n" + layer_text(kind, rest)


def in_place(kind, rest="", *, more=""):
    """The layer over the blob of another one; Caffe allows no other reader before it."""
    return "\n".join(
        [
            inputs_text(data=IMAGE),
            layer_text("Power", "power_param { scale: 3 shift: 0.5 }", name="out"),
            f'layer {{ name: "over" type: "{kind}" bottom: "out" {more} top: "out" {rest} }}',
            layer_text("TanH", bottoms=("out",), name="after"),
        ]
    )


UNARY = [
    ("AbsVal", ""),
    ("BNLL", ""),
    ("ELU", ""),
    ("ELU", "elu_param { alpha: 0.3 }"),
    ("ELU", "elu_param { alpha: -1.5 }"),
    ("ELU", "elu_param { alpha: 0 }"),
    ("Exp", ""),
    ("Exp", "exp_param { base: 2 }"),
    ("Exp", "exp_param { base: 0.5 scale: 0.7 }"),
    ("Exp", "exp_param { scale: -0.7 shift: 1.3 }"),
    ("Exp", "exp_param { base: 10 scale: 0.5 shift: -0.25 }"),
    ("Exp", "exp_param { base: 1 shift: 3 }"),
    ("Exp", "exp_param { scale: 0 shift: 2 }"),
    ("Exp", "exp_param { base: 3 shift: 1 }"),
    ("Threshold", ""),
    ("Threshold", "threshold_param { threshold: 0.4 }"),
    ("Threshold", "threshold_param { threshold: -1.25 }"),
    ("Swish", ""),
    ("Swish", "swish_param { beta: 1.7 }"),
    ("Swish", "swish_param { beta: -0.4 }"),
    ("Swish", "swish_param { beta: 0 }"),
]
LOG = [
    "",
    "log_param { base: 2 }",
    "log_param { base: 0.5 scale: 3 }",
    "log_param { scale: 2 shift: 0.5 }",
    "log_param { base: 10 scale: 0.1 shift: 1 }",
    "log_param { base: 7 shift: 4 }",
]


@pytest.mark.parametrize(("kind", "rest"), UNARY)
def test_unary(oracle, kind, rest):
    oracle.check(one(kind, rest), atol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (2, 3, 2, 2, 3)])
@pytest.mark.parametrize("kind", ["AbsVal", "BNLL", "ELU", "Exp", "Threshold", "Swish"])
def test_other_ranks(oracle, kind, shape):
    oracle.check(one(kind, "", shape), atol=1e-6)


@pytest.mark.parametrize("kind", ["AbsVal", "BNLL", "ELU", "Exp", "Threshold", "Swish"])
def test_large_numbers(oracle, kind):
    text = [
        inputs_text(data=IMAGE),
        layer_text("Power", "power_param { scale: 30 }", name="far"),
        layer_text(kind, bottoms=("far",)),
    ]
    oracle.check("\n".join(text))


@pytest.mark.parametrize("rest", LOG)
def test_log(oracle, rest):
    text = [
        inputs_text(data=IMAGE),
        layer_text("Sigmoid", name="positive"),
        layer_text("Log", rest, bottoms=("positive",)),
    ]
    oracle.check("\n".join(text))


def test_log_where_it_has_no_value(oracle):
    graph, net = oracle.load(one("Log", "log_param { scale: 2 }", (1, 4)), np.random.default_rng(0))
    data = np.array([[-1, 0, 1, np.inf]], np.float32)
    with net:
        expected = net.run({"data": data}, ["out"])["out"]
    np.testing.assert_allclose(OnnxSession(graph).run({"data": data})["out"], expected)


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        ("BNLL", ""),
        ("ELU", "elu_param { alpha: 0.7 }"),
        ("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }"),
        ("Threshold", "threshold_param { threshold: 0.2 }"),
        ("Swish", "swish_param { beta: 2 }"),
        ("Power", "power_param { power: 2 scale: 0.5 }"),
        ("Sigmoid", ""),
        ("TanH", ""),
        ("Softmax", ""),
        ("Dropout", ""),
        ("ReLU", "relu_param { negative_slope: 0.2 }"),
        ("PReLU", ""),
        ("Bias", ""),
        ("Scale", "scale_param { bias_term: true }"),
        ("Eltwise", "eltwise_param { operation: PROD }"),
    ],
)
def test_in_place(oracle, kind, rest):
    more = 'bottom: "data"' if kind == "Eltwise" else ""
    oracle.check(in_place(kind, rest, more=more))


def test_log_in_place(oracle):
    text = [
        inputs_text(data=IMAGE),
        layer_text("Sigmoid"),
        'layer { name: "over" type: "Log" bottom: "out" top: "out" log_param { base: 2 shift: 0.5 } }',
    ]
    oracle.check("\n".join(text))


@pytest.mark.parametrize("axis", [1, 0, 2, 3, -1, -2, -4])
def test_softmax_axis(oracle, axis):
    oracle.check(one("Softmax", f"softmax_param {{ axis: {axis} }}", (2, 3, 4, 5)))


@pytest.mark.parametrize("bottoms", [2, 3, 5])
@pytest.mark.parametrize(
    ("operation", "with_coefficients"), [("PROD", False), ("SUM", False), ("SUM", True), ("MAX", False), ("MAX", True)]
)
def test_eltwise(oracle, operation, bottoms, with_coefficients):
    names = tuple(f"in{number}" for number in range(bottoms))
    coefficients = [0.5, -2, 1, 0, 3.25][:bottoms] if with_coefficients else []
    rest = f"eltwise_param {{ operation: {operation} coeff: {coefficients} stable_prod_grad: false }}"
    text = [inputs_text(**dict.fromkeys(names, (2, 3, 4))), layer_text("Eltwise", rest, bottoms=names)]
    oracle.check("\n".join(text))


@pytest.mark.parametrize("operation", ["SUM", "MAX"])
def test_eltwise_in_place_is_refused_where_caffe_loses_the_first_bottom(oracle, operation):
    text = inputs_text(data=(1, 3), other=(1, 3)) + "\n" + layer_text("Power", name="out")
    text += f'\nlayer {{ name: "over" type: "Eltwise" bottom: "out" bottom: "other" top: "out" eltwise_param {{ operation: {operation} }} }}'
    graph, net = oracle.load(text, np.random.default_rng(0))
    inputs = {"data": np.full((1, 3), 9, np.float32), "other": np.full((1, 3), 4, np.float32)}
    with net:
        assert net.run(inputs, ["out"])["out"].tolist() == [[4, 4, 4]]
    assert f"{operation} in place" in graph.node["over"].op.reason
    with pytest.raises(UnsupportedError, match="clears the first bottom"):
        OnnxSession(graph)


def test_split_and_silence(oracle):
    text = [
        inputs_text(data=IMAGE),
        'layer { name: "split" type: "Split" bottom: "data" top: "a" top: "b" top: "c" }',
        layer_text("ReLU", bottoms=("a",), name="relu"),
        layer_text("AbsVal", bottoms=("b",), name="abs"),
        'layer { name: "quiet" type: "Silence" bottom: "relu" bottom: "c" }',
    ]
    graph = oracle.check("\n".join(text))
    assert graph.outputs == ("abs",)
    assert OnnxSession(graph).outputs == ("abs",)
    whole = oracle.check("\n".join(text), batch=5)
    assert whole.outputs == ("abs",)


def test_split_into_one(oracle):
    text = inputs_text(data=(2, 3)) + '\nlayer { name: "split" type: "Split" bottom: "data" top: "out" }'
    oracle.check(text)


# Stock layers that compute the same, for real Caffe.
def chain(*layers):
    """Layers one after the other; the last is called out."""
    text, bottom = [], "data"
    for number, (kind, rest) in enumerate(layers, 1):
        name = "out" if number == len(layers) else f"step{number}"
        text.append(layer_text(kind, rest, bottoms=(bottom,), name=name))
        bottom = name
    return "\n".join(text)


def clipped(low, high):
    """low + relu(x - low), then high - relu(high - x)."""
    return (
        ("Power", f"power_param {{ shift: {-low} }}"),
        ("ReLU", ""),
        ("Power", f"power_param {{ scale: -1 shift: {high - low} }}"),
        ("ReLU", ""),
        ("Power", f"power_param {{ scale: -1 shift: {high} }}"),
    )


@pytest.mark.parametrize("shape", [IMAGE, (3, 5), (4,), (2, 3, 2, 2, 2)])
@pytest.mark.parametrize(
    ("kind", "rest", "bounds"),
    [
        ("ReLU6", "", (0, 6)),
        ("Clip", "clip_param { min: -1.5 max: 2.25 }", (-1.5, 2.25)),
        ("Clip", "clip_param { min: 0.5 max: 4 }", (0.5, 4)),
        ("Clip", "clip_param { min: -4 max: -0.5 }", (-4, -0.5)),
        ("Clip", "clip_param { min: 1 max: 1 }", (1, 1)),
    ],
)
def test_clip(oracle, kind, rest, bounds, shape):
    data = inputs_text(data=shape) + "\n"
    against_stock(oracle, data + layer_text(kind, rest), data + chain(*clipped(*bounds)), spread=5)


def test_clip_with_crossed_bounds_gives_the_lower(tmp_path):
    text = one("Clip", "clip_param { min: 2 max: -1 }", (1, 5))
    graph = load_graph(*save(tmp_path, "net", text, {}))
    found = OnnxSession(graph).run({"data": np.linspace(-5, 5, 5, dtype=np.float32).reshape(1, 5)})["out"]
    assert found.tolist() == [[2.0] * 5]


def test_clip_without_bounds_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="needs min and max"):
        OnnxSession(load_graph(*save(tmp_path, "net", one("Clip", "clip_param { min: 2 }"), {})))


@pytest.mark.parametrize("shape", [IMAGE, (3, 5)])
@pytest.mark.parametrize("kind", ["HSwish", "HardSwish", "Hswish", "hswish", "HSigmoid", "Hsigmoid", "hsigmoid"])
def test_hard_sigmoid_and_swish(oracle, kind, shape):
    data = inputs_text(data=shape) + "\n"
    gate = [("Power", "power_param { shift: 3 }"), *clipped(0, 6), ("Power", f"power_param {{ scale: {1 / 6} }}")]
    stock = data + chain(*gate)
    if "wish" in kind:
        stock = stock.replace('"out"', '"gate"') + "\n"
        stock += layer_text("Eltwise", "eltwise_param { operation: PROD }", bottoms=("data", "gate"))
    against_stock(oracle, data + layer_text(kind), stock, spread=3)


@pytest.mark.parametrize("shape", [IMAGE, (3, 5)])
def test_mish(oracle, shape):
    data = inputs_text(data=shape) + "\n"
    stock = data + layer_text("BNLL", name="plus") + "\n" + layer_text("TanH", bottoms=("plus",), name="gate") + "\n"
    stock += layer_text("Eltwise", "eltwise_param { operation: PROD }", bottoms=("data", "gate"))
    against_stock(oracle, data + layer_text("Mish"), stock, spread=3)


@pytest.mark.parametrize("order", [(2, 0, 1, 3), (3, 2, 1, 0)])
def test_transpose_is_permute(oracle, order):
    data = inputs_text(data=(2, 3, 4, 5)) + "\n"
    fork = data + layer_text("Transpose", f"transpose_param {{ {' '.join(f'dim: {axis}' for axis in order)} }}")
    stock = data + layer_text("Permute", f"permute_param {{ {' '.join(f'order: {axis}' for axis in order)} }}")
    against_stock(oracle, fork, stock)


@pytest.mark.parametrize("kind", ["ReLU6", "HardSwish", "AbsVal", "BNLL", "ELU", "TanH", "Sigmoid", "Swish", "Mish"])
def test_opencv_agrees(tmp_path, kind):
    against_opencv(tmp_path, one(kind), spread=4, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("factors", [(2, 4), (2, 4, 1, 1)])
@pytest.mark.parametrize("shape", [IMAGE, (2, 4, 5), (2, 4), (2, 4, 3, 2, 2)])
def test_axpy(oracle, shape, factors):
    data = inputs_text(a=factors, x=shape, y=shape) + "\n"
    stock = [
        layer_text("Reshape", "reshape_param { shape { dim: [2, 4] } }", bottoms=("a",), name="flat"),
        layer_text("Scale", "scale_param { axis: 0 }", bottoms=("x", "flat"), name="scaled"),
        layer_text("Eltwise", bottoms=("scaled", "y")),
    ]
    against_stock(oracle, data + layer_text("Axpy", bottoms=("a", "x", "y")), data + "\n".join(stock))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3), (2, 4, 5, 5), (2, 4, 5, 5)), "the factors have shape 2x3"),
        (((2, 4), (2, 4, 5, 5), (2, 4, 5, 6)), "differ in shape"),
        (((2, 4), (2, 4, 5, 5)), "has 2 inputs, expected 3"),
    ],
)
def test_axpy_that_does_not_fit(tmp_path, shapes, message):
    names = ("a", "x", "y")[: len(shapes)]
    text = inputs_text(**dict(zip(names, shapes, strict=True))) + "\n" + layer_text("Axpy", bottoms=names)
    with pytest.raises(ModelError, match=message):
        load_graph(*save(tmp_path, "net", text, {}))


@pytest.mark.parametrize(
    ("kind", "rest", "reason"),
    [
        ("Exp", "exp_param { base: 0 }", "base 0.0"),
        ("Exp", "exp_param { base: -2 }", "base -2.0"),
        ("Log", "log_param { base: -3 }", "base -3.0"),
        ("Log", "log_param { base: 1 }", "has no logarithm"),
        ("L2Norm", "l2norm_param { eps: 0.1 }", "fields of another fork"),
        ("HardSigmoid", "", "not known"),
    ],
)
def test_refused(tmp_path, kind, rest, reason):
    graph = load_graph(*save(tmp_path, "net", one(kind, rest), {}))
    assert reason in graph.node["out"].op.reason
    with pytest.raises(UnsupportedError, match=reason):
        OnnxSession(graph)


@pytest.mark.parametrize(
    ("kind", "form"), [("HardSwish", "x * min(max(x + 3, 0), 6) / 6"), ("L2Norm", "x / sqrt(sum(x * x))")]
)
def test_what_was_chosen_among_forks_is_noted(tmp_path, kind, form):
    (note,) = read_model(*save(tmp_path, "net", one(kind, "", (2, 3)), {})).notes
    assert f"layer 'out' ({kind}): read as {form}" in note
