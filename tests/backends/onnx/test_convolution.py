"""Convolutions and their relatives, every parameter, against real Caffe."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from nuqconv.backends.caffe import write_caffe
from nuqconv.backends.onnx import batch_problems, to_onnx
from nuqconv.backends.onnx.styles import INTEGER
from nuqconv.errors import ModelError, QuantizationError, UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Convolution, Opaque, Quantize
from nuqconv.passes import fold_affine
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.apply import apply_plan
from nuqconv.quantize.capability import capabilities
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text, write_weights

KINDS = ("Convolution", "Deconvolution")


def one(kind, rest="", shape=(2, 4, 7, 9)):
    return inputs_text(data=shape) + "\n" + layer_text(kind, rest)


def many(kind, param, shapes):
    """One layer with several bottoms and as many tops."""
    bottoms = " ".join(f'bottom: "{name}"' for name in shapes)
    tops = " ".join(f'top: "{name}_out"' for name in shapes)
    layer = f'layer {{ name: "out" type: "{kind}" {bottoms} {tops} convolution_param {{ {param} }} }}'
    return inputs_text(**shapes) + "\n" + layer


@pytest.mark.caffe
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("param", "shape"),
    [
        # One dimension, with single entries and lists.
        ("kernel_size: 3", (2, 4, 9)),
        ("kernel_size: 3 stride: 2 pad: 1 dilation: 2 group: 2", (2, 4, 11)),
        ("kernel_size: [5] stride: [3] pad: [2] bias_term: false", (3, 4, 12)),
        # Three dimensions.
        ("kernel_size: 2", (2, 4, 4, 5, 3)),
        ("kernel_size: [1, 3, 2] stride: 2 pad: [0, 1, 1] dilation: [1, 1, 2] group: 4", (1, 4, 5, 6, 7)),
        # Four dimensions.
        ("kernel_size: 2 stride: [1, 2, 1, 1] pad: 1", (1, 4, 3, 4, 2, 3)),
        # The channels on another axis; all before it is batch.
        ("kernel_size: 3 axis: 1", (2, 4, 7, 9)),
        ("kernel_size: 3 axis: -3", (2, 4, 7, 9)),
        ("kernel_size: 3 axis: 2 pad: 1", (2, 3, 4, 7)),
        ("kernel_size: 3 axis: -2 stride: 2 group: 2", (2, 3, 4, 7)),
        ("kernel_size: 3 axis: 2 pad: [1, 0]", (2, 3, 4, 7, 5)),
        ("kernel_h: 3 kernel_w: 2 axis: 2", (2, 3, 4, 7, 5)),
        ("kernel_size: 3 axis: 0", (4, 7, 9)),
        ("kernel_size: 3 axis: 0 group: 4", (4, 7)),
        ("kernel_size: 3 axis: -4", (4, 7, 5, 3)),
        # The other code path of the same result.
        ("kernel_size: 3 pad: 1 force_nd_im2col: true", (2, 4, 7, 9)),
        ("kernel_size: 3 stride: 2 dilation: 2 group: 2 force_nd_im2col: true", (2, 4, 7, 9)),
        ("kernel_size: 1 engine: CAFFE", (2, 4, 7, 9)),
        # Rectangular, by pairs and by lists.
        ("kernel_h: 1 kernel_w: 3 pad_h: 0 pad_w: 1", (2, 4, 7, 9)),
        ("kernel_h: 3 kernel_w: 1 stride_h: 2 stride_w: 1", (2, 4, 7, 9)),
        ("kernel_h: 3 kernel_w: 2 stride: [2, 3] pad: 1 dilation: [1, 2]", (2, 4, 7, 9)),
        ("kernel_size: [2, 3] stride_h: 3 stride_w: 2 pad_w: 1", (2, 4, 7, 9)),
        ("kernel_size: [2, 3] pad_h: 1", (2, 4, 7, 9)),
    ],
)
def test_parameters(oracle, kind, param, shape):
    oracle.check(one(kind, f"convolution_param {{ num_output: 8 {param} }}", shape))


@pytest.mark.caffe
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("param", "count", "shape"),
    [
        ("kernel_size: 3", 2, (2, 4, 7, 9)),
        ("kernel_size: 3 stride: 2 pad: 1 bias_term: false", 3, (2, 4, 7, 9)),
        ("kernel_size: 3 group: 2 dilation: 2", 2, (1, 4, 9, 9)),
        ("kernel_size: 3 axis: 2", 2, (2, 3, 4, 7)),
    ],
)
def test_several_bottoms_share_the_weights(oracle, kind, param, count, shape):
    shapes = {f"data{number}": shape for number in range(count)}
    graph = oracle.check(many(kind, f"num_output: 4 {param}", shapes))
    (can,) = capabilities(graph)
    assert (can.int8, can.nuq, can.reason) == (False, False, f"its weights are shared by its {count} inputs")


@pytest.mark.caffe
@pytest.mark.parametrize("kind", KINDS)
def test_several_bottoms_are_written_back_to_the_letter(oracle, kind):
    shapes = {"a": (2, 4, 5, 5), "b": (2, 4, 5, 5)}
    text = many(kind, "num_output: 4 kernel_size: 3", shapes)
    text += "\n" + layer_text("InnerProduct", "inner_product_param { num_output: 3 }", bottoms=("a_out",), name="fc")
    graph = oracle.check(text, rtol=1e-4, atol=1e-4)
    activation = ActivationQuant(0.0625, 3)
    quantized = apply_plan(graph, Plan.of({"fc": LayerPlan(Precision.INT8, activation=activation)}))
    with pytest.raises(QuantizationError, match="its weights are shared by its 2 inputs"):
        apply_plan(graph, Plan.of({"out": LayerPlan(Precision.INT8, activation=activation)}))
    for number, written in enumerate((graph, quantized)):
        files = oracle.folder / f"{number}.prototxt", oracle.folder / f"{number}.caffemodel"
        write_caffe(written, *files)
        assert text.splitlines()[2] in files[0].read_text()
        again = load_graph(*files)
        assert again.node["out"] == graph.node["out"]
        for name in graph.node["out"].params:
            np.testing.assert_array_equal(again.params[name], graph.params[name])


@pytest.mark.caffe
def test_several_bottoms_with_any_batch(oracle):
    graph = oracle.check(
        many("Convolution", "num_output: 4 kernel_size: 3", {"a": (2, 4, 5, 5), "b": (2, 4, 5, 5)}), batch=5
    )
    assert batch_problems(graph) == []


@pytest.mark.caffe
def test_a_layer_with_several_bottoms_takes_no_batch_norm_in(oracle):
    text = [
        many("Convolution", "num_output: 4 kernel_size: 3", {"a": (2, 4, 5, 5), "b": (2, 4, 5, 5)}),
        layer_text("BatchNorm", bottoms=("a_out",), name="bn"),
    ]
    graph = oracle.check("\n".join(text), rtol=1e-4, atol=1e-4)
    assert fold_affine(graph).folded == {}


@pytest.mark.caffe
def test_names_of_one_weight_in_two_layers(oracle):
    params = 'param { name: "w" } param { name: "b" } convolution_param { num_output: 4 kernel_size: 3 pad: 1 }'
    text = [
        inputs_text(data=(2, 4, 5, 5)),
        layer_text("Convolution", params, name="first"),
        layer_text("Convolution", params, bottoms=("first",), name="second"),
    ]

    def same(found):
        found["second"] = found["first"]

    oracle.check("\n".join(text), change=same, rtol=1e-4, atol=1e-4)


@pytest.mark.caffe
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "axis"), [((2, 4), 1), ((3, 2, 4), -1), ((4,), 0)])
@pytest.mark.parametrize("kernel", ["kernel_size: 1", ""], ids=["kernel", "none"])
def test_no_spatial_dimension(oracle, kind, shape, axis, kernel):
    """Without axes for it a kernel has no size, which Caffe takes with one or without any."""
    oracle.check(one(kind, f"convolution_param {{ num_output: 6 {kernel} group: 2 axis: {axis} }}", shape))


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("param", "shape"),
    [
        ("kernel_size: 5 stride: 4", (1, 4, 3, 9)),
        ("kernel_size: 4 stride: 3 pad: 1", (1, 4, 1, 1)),
        ("kernel_size: 3 stride: 5 dilation: 3", (1, 4, 4, 6)),
    ],
)
def test_a_kernel_that_exceeds_the_input_by_less_than_a_stride(oracle, param, shape):
    text = inputs_text(data=shape) + "\n" + layer_text("BatchNorm", name="bn")
    text += "\n" + layer_text("Convolution", f"convolution_param {{ num_output: 4 {param} }}", bottoms=("bn",))
    graph = oracle.check(text, rtol=1e-4, atol=1e-4)
    assert fold_affine(graph).folded == {}


@pytest.mark.caffe
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("param", "shape"),
    [
        ("kernel_size: 5 stride: 4", (1, 4, 5, 9)),
        ("kernel_size: 4 stride: 3 pad: 1", (1, 4, 2, 5)),
        ("kernel_size: [2, 3] stride: [1, 2] pad: [1, 0]", (2, 4, 5, 6)),
    ],
)
def test_quantized_windows_in_three_runtimes(oracle, kind, param, shape):
    """Floats that hold integers, integers, and real Caffe on the written model agree to the bit."""
    short = (1, shape[1], 3, 9) if kind == "Convolution" and "5 stride" in param else shape
    text = one(kind, f"convolution_param {{ num_output: 3 {param} }}", short)
    graph, net = oracle.load(text, np.random.default_rng(0))
    net.close()
    layer = LayerPlan(Precision.INT8, activation=ActivationQuant(0.0625, 3))
    quantized = apply_plan(graph, Plan.of({"out": layer}))
    data = {"data": np.random.default_rng(1).standard_normal(short).astype(np.float32)}
    found = OnnxSession(quantized, threads=1).run(data)["out"]
    np.testing.assert_array_equal(OnnxSession(quantized, threads=1, integer=True).run(data)["out"], found)
    files = oracle.folder / "fake.prototxt", oracle.folder / "fake.caffemodel"
    write_caffe(quantized, *files)
    with Net(*files, process=oracle.process) as net:
        np.testing.assert_array_equal(net.run(data, ["out"])["out"], found)


@pytest.mark.caffe
@pytest.mark.parametrize("kind", ["ConvolutionDepthwise", "DepthwiseConvolution"])
@pytest.mark.parametrize(
    "param",
    [
        "kernel_size: 3",
        "kernel_size: 3 group: 6",
        "kernel_size: 3 pad: 1 stride: 2 bias_term: false",
        "kernel_h: 3 kernel_w: 2 pad_h: 1 pad_w: 0 stride_h: 1 stride_w: 2",
        "kernel_size: 3 pad: 2 dilation: 2 group: 6",
        "kernel_size: [1, 3] stride: [1, 2] pad: [0, 1] dilation: [1, 2]",
    ],
)
def test_depthwise_layers_of_forks(oracle, kind, param):
    """They compute what real Caffe computes with one group for each channel."""
    plain = one(
        "Convolution",
        f"convolution_param {{ num_output: 6 {param} {'' if 'group' in param else 'group: 6'} }}",
        (2, 6, 8, 9),
    )
    graph, net = oracle.load(plain, np.random.default_rng(0))
    text = one(kind, f"convolution_param {{ num_output: 6 {param} }}", (2, 6, 8, 9))
    (oracle.folder / "fork.prototxt").write_text(text)
    write_weights(
        oracle.folder / "fork.caffemodel", {"out": (kind, [graph.params[name] for name in graph.node["out"].params])}
    )
    fork = load_graph(oracle.folder / "fork.prototxt", oracle.folder / "fork.caffemodel")
    data = np.random.default_rng(1).standard_normal((2, 6, 8, 9)).astype(np.float32)
    with net:
        expected = net.run({"data": data}, ["out"])["out"]
    found = OnnxSession(fork, threads=1).run({"data": data})["out"]
    assert found.shape == expected.shape == fork.shapes["out"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert fork.node["out"].op == graph.node["out"].op


@pytest.mark.parametrize(
    ("kind", "param", "shape", "reason"),
    [
        (
            "ConvolutionDepthwise",
            "num_output: 12 kernel_size: 3",
            (2, 6, 8, 9),
            "num_output 12 and group 12 differ from the 6",
        ),
        (
            "DepthwiseConvolution",
            "num_output: 12 group: 6 kernel_size: 3",
            (2, 6, 8, 9),
            "num_output 12 and group 6 differ",
        ),
        (
            "DepthwiseConvolution",
            "num_output: 6 group: 1 kernel_size: 3",
            (2, 6, 8, 9),
            "num_output 6 and group 1 differ",
        ),
        ("ConvolutionDepthwise", "num_output: 6 kernel_size: 3", (2, 6, 8), "no batch of images"),
        ("ConvolutionDepthwise", "num_output: 6 kernel_size: 3 strange: 1", (2, 6, 8, 9), "fields of another fork"),
        ("Convolution", "num_output: 6 kernel_size: 3 axis: 4", (2, 6, 8, 9), "axis 4 of an input of 4 dimensions"),
        ("Convolution", "num_output: 6 kernel_h: 3 kernel_w: 3", (2, 6, 8), "need two spatial dimensions"),
        ("Convolution", "num_output: 6 kernel_size: [3, 3]", (2, 6, 8), "kernel_size has 2 entries for 1 spatial"),
        ("Convolution", "num_output: 6 kernel_size: 3 kernel_h: 3", (2, 6, 8, 9), "kernel_size stands beside kernel_h"),
        ("Convolution", "num_output: 6 kernel_size: 3 stride: 1 stride_h: 2", (2, 6, 8, 9), "stride stands beside"),
        ("Convolution", "num_output: 6 kernel_size: 3 dilation: 0", (2, 6, 8, 9), "dilation 0"),
        ("Convolution", "num_output: 6 pad: 1", (2, 6, 8, 9), "kernel_size is missing"),
    ],
)
def test_refused_with_a_reason(tmp_path, kind, param, shape, reason):
    (tmp_path / "net.prototxt").write_text(one(kind, f"convolution_param {{ {param} }}", shape))
    write_weights(tmp_path / "net.caffemodel", {"out": (kind, [np.zeros((6, 1, 3, 3), np.float32)])})
    graph = load_graph(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    op = graph.node["out"].op
    assert isinstance(op, Opaque)
    assert reason in op.reason
    with pytest.raises(UnsupportedError, match="out"):
        to_onnx(graph)


@pytest.mark.parametrize(
    ("kind", "param"),
    [
        ("Convolution", "num_output: 6 kernel_size: 3 stride_h: 2"),
        ("Convolution", "num_output: 6 kernel_size: 0"),
        ("Convolution", "kernel_size: 3"),
        ("Deconvolution", "num_output: 6 kernel_size: 3 group: 0"),
    ],
)
def test_sizes_of_0_are_refused(tmp_path, kind, param):
    (tmp_path / "net.prototxt").write_text(one(kind, f"convolution_param {{ {param} }}", (2, 6, 8, 9)))
    write_weights(tmp_path / "net.caffemodel", {"out": (kind, [np.zeros((6, 1, 3, 3), np.float32)])})
    with pytest.raises(ModelError, match="must be positive"):
        load_graph(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")


@pytest.mark.parametrize(("axis", "inputs"), [(1, 2), (2, 1)])
def test_integers_are_refused_where_they_cannot_be(axis, inputs):
    ones = (1,) * (3 - axis)
    op = Convolution(4, ones, ones, (0,) * len(ones), ones, bias_term=False, axis=axis)
    weight = np.zeros((4, 4, *ones), np.int8)
    names = tuple(f"x{number}" for number in range(inputs))
    nodes = [Node(f"{name}_q", Quantize(1.0, 0), (name,), (f"{name}_q",)) for name in names]
    nodes.append(Node("layer", op, tuple(f"{name}_q" for name in names), tuple(f"{name}_y" for name in names), ("w",)))
    shape = (2, 4, 4, 4)
    graph = Graph(
        "net",
        tuple(Input(name, shape) for name in names),
        tuple(nodes),
        {"w": weight},
        tuple(f"{name}_y" for name in names),
    )
    with pytest.raises(UnsupportedError, match="layer"):
        to_onnx(graph, style=INTEGER)
    onnx.checker.check_model(to_onnx(graph), full_check=True)


@pytest.mark.caffe
def test_channels_elsewhere_are_not_quantized_or_folded(oracle):
    text = one("Convolution", "convolution_param { num_output: 3 kernel_size: [2, 2] axis: 2 }", (2, 3, 4, 6, 5))
    text += "\n" + layer_text("BatchNorm", bottoms=("out",), name="bn")
    graph = oracle.check(text, rtol=1e-4, atol=1e-4)
    (can,) = capabilities(graph)
    assert (can.int8, can.nuq, can.reason) == (False, False, "its channels are not on axis 1")
    assert fold_affine(graph).folded == {}
