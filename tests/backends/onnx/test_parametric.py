"""Layers with parameters of their own, against real Caffe (OpenCV and stock equivalents for what it lacks)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import nuqconv
from nuqconv.backends.caffe import write_caffe
from nuqconv.backends.onnx import to_onnx
from nuqconv.backends.onnx.opset import MIN_OPSET, newest_opset
from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.passes import fold_affine
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text
from tests.oracle.equivalents import against_opencv, against_stock, floats, random_inputs, save

pytestmark = pytest.mark.caffe

IMAGE = (2, 4, 7, 9)


def one(kind, rest="", shape=IMAGE):
    return inputs_text(data=shape) + "\n" + layer_text(kind, rest)


@pytest.mark.parametrize("shape", [IMAGE, (3, 5), (2, 3, 4)])
@pytest.mark.parametrize(
    "rest", ["", "prelu_param { channel_shared: true }", "prelu_param { filler { type: 'constant' } }"]
)
def test_prelu(oracle, rest, shape):
    oracle.check(one("PReLU", rest, shape))


def test_prelu_needs_channels(tmp_path):
    with pytest.raises(ModelError, match="input has 1 dimensions, expected at least 2"):
        load_graph(*save(tmp_path, "net", one("PReLU", "", (4,)), {"out": ("PReLU", [floats(4)])}))


def test_parameter(oracle):
    text = [
        inputs_text(data=(5, 3, 4)),
        'layer { name: "table" type: "Parameter" top: "table" parameter_param { shape { dim: 3 dim: 4 } } }',
        layer_text("Bias", bottoms=("data", "table")),
        'layer { name: "alone" type: "Parameter" top: "alone" parameter_param { shape { dim: 2 } } }',
    ]
    graph = oracle.check("\n".join(text))
    assert graph.outputs == ("out", "alone")
    oracle.check("\n".join(text), batch=2)


def test_parameter_of_another_shape(tmp_path):
    text = 'layer { name: "out" type: "Parameter" top: "out" parameter_param { shape { dim: 3 } } }'
    with pytest.raises(ModelError, match="parameters have shapes 4, expected 3"):
        load_graph(*save(tmp_path, "net", text, {"out": ("Parameter", [floats(4)])}))


def test_bn_of_a_file_with_legacy_sizes(tmp_path):
    model, weights = save(
        tmp_path, "net", one("BN", "bn_param { bn_mode: INFERENCE }"), {"out": ("BN", [floats(1, 4, 1, 1)] * 2)}
    )
    expected = OnnxSession(load_graph(model, weights)).run({"data": floats(*IMAGE)})["out"]
    net = NetParameter()
    net.ParseFromString(weights.read_bytes())
    for blob in net.layer[0].blobs:
        blob.ClearField("shape")
        blob.num, blob.channels, blob.height, blob.width = 1, 4, 1, 1
    weights.write_bytes(net.SerializeToString())
    np.testing.assert_array_equal(
        OnnxSession(load_graph(model, weights)).run({"data": floats(*IMAGE)})["out"], expected
    )


BLOB_SHAPES = [(1, 4, 1, 1), (1, 4), (4,)]


@pytest.mark.parametrize("stored", BLOB_SHAPES)
@pytest.mark.parametrize("kind", ["BN", "bn"])
@pytest.mark.parametrize("shape", [IMAGE, (3, 4), (2, 4, 5)])
def test_segnet_bn(oracle, kind, stored, shape):
    data = inputs_text(data=shape) + "\n"
    fork = layer_text(kind, "bn_param { bn_mode: INFERENCE scale_filler { type: 'constant' value: 1 } }")
    stock = layer_text("Scale", "scale_param { bias_term: true }")
    scale, shift = floats(4, seed=1), floats(4, seed=2)
    graph = against_stock(
        oracle,
        data + fork,
        data + stock,
        fork_blobs={"out": (kind, [scale.reshape(stored), shift.reshape(stored)])},
        stock_blobs={"out": ("Scale", [scale, shift])},
    )
    assert [graph.params[name].shape for name in graph.node["out"].params] == [stored, stored]


@pytest.mark.parametrize("stored", BLOB_SHAPES)
@pytest.mark.parametrize("rest", ["", "bn_param { eps: 0.01 momentum: 0.95 frozen: true slope_filler { value: 1 } }"])
@pytest.mark.parametrize("shape", [IMAGE, (3, 4)])
def test_bn_with_statistics(oracle, rest, stored, shape):
    data = inputs_text(data=shape) + "\n"
    eps = 0.01 if rest else 1e-5
    slope, bias, mean = (floats(4, seed=seed) for seed in (1, 2, 3))
    variance = np.abs(floats(4, seed=4)) + np.float32(0.1)
    stock = [
        layer_text("BatchNorm", f"batch_norm_param {{ eps: {eps} }}", name="norm"),
        layer_text("Scale", "scale_param { bias_term: true }", bottoms=("norm",)),
    ]
    against_stock(
        oracle,
        data + layer_text("BN", rest),
        data + "\n".join(stock),
        fork_blobs={"out": ("BN", [array.reshape(stored) for array in (slope, bias, mean, variance)])},
        stock_blobs={"norm": ("BatchNorm", [mean, variance, np.ones(1, np.float32)]), "out": ("Scale", [slope, bias])},
        atol=1e-5,
    )


@pytest.mark.parametrize("blobs", [2, 4])
def test_bn_is_folded(tmp_path, blobs):
    """Before and after a convolution; the numbers stay."""
    rest = "bn_param { bn_mode: INFERENCE }" if blobs == 2 else "bn_param { eps: 0.01 }"
    text = [
        inputs_text(data=(2, 3, 6, 6)),
        layer_text("BN", rest, name="before"),
        layer_text(
            "Convolution", "convolution_param { num_output: 4 kernel_size: 3 }", bottoms=("before",), name="conv"
        ),
        layer_text("BN", rest, bottoms=("conv",), name="after"),
    ]
    stored = {"conv": ("Convolution", [floats(4, 3, 3, 3), floats(4)])}
    for name, channels in (("before", 3), ("after", 4)):
        arrays = [floats(1, channels, 1, 1, seed=seed) for seed in (1, 2, 3)] + [
            np.abs(floats(1, channels, 1, 1)) + np.float32(0.1)
        ]
        stored[name] = ("BN", arrays[:blobs])
    graph = load_graph(*save(tmp_path, "net", "\n".join(text), stored))
    result = fold_affine(graph)
    assert dict(result.folded) == {"conv": ("before", "after")}
    inputs = random_inputs(graph)
    np.testing.assert_allclose(
        OnnxSession(result.graph).run(inputs)["after"], OnnxSession(graph).run(inputs)["after"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("rest", "blobs", "reason"),
    [
        ("", 2, "statistics of the batch at inference"),
        ("bn_param { bn_mode: LEARN }", 2, "statistics of the batch at inference"),
        ("bn_param { bn_mode: INFERENCE }", 4, "belong to different forks"),
        ("", 3, "3 blobs"),
        ("bn_param { var_eps: 0.1 }", 2, "fields of another fork"),
    ],
)
def test_bn_refused(tmp_path, rest, blobs, reason):
    stored = {"out": ("BN", [floats(1, 4, 1, 1)] * blobs)}
    graph = load_graph(*save(tmp_path, "net", one("BN", rest), stored))
    assert reason in graph.node["out"].op.reason
    with pytest.raises(UnsupportedError, match=reason):
        OnnxSession(graph)


def test_bn_without_weights(tmp_path):
    with pytest.raises(ModelError, match="needs 4 blobs"):
        load_graph(*save(tmp_path, "net", one("BN"), {}))


def normalized(across, shape, eps):
    """Normalize in stock layers: the reciprocal length of what is normalized together, then two Scale layers."""
    power = f"power_param {{ power: -0.5 shift: {eps} }}"
    if across == "true":
        layers = [
            layer_text("Reduction", "reduction_param { operation: SUMSQ axis: 1 }", name="total"),
            layer_text("Power", power, bottoms=("total",), name="inverse"),
            layer_text("Scale", "scale_param { axis: 0 }", bottoms=("data", "inverse"), name="unit"),
        ]
    else:
        rank = len(shape)
        last = " ".join(f"order: {axis}" for axis in (0, *range(2, rank), 1))
        back = " ".join(f"order: {axis}" for axis in (0, rank - 1, *range(1, rank - 1)))
        layers = [
            layer_text("Permute", f"permute_param {{ {last} }}", name="turned"),
            layer_text(
                "Reduction",
                f"reduction_param {{ operation: SUMSQ axis: {rank - 1} }}",
                bottoms=("turned",),
                name="total",
            ),
            layer_text("Power", power, bottoms=("total",), name="inverse"),
            layer_text("Scale", "scale_param { axis: 0 }", bottoms=("turned", "inverse"), name="flat"),
            layer_text("Permute", f"permute_param {{ {back} }}", bottoms=("flat",), name="unit"),
        ]
    return "\n".join([*layers, layer_text("Scale", bottoms=("unit",))])


@pytest.mark.parametrize("shape", [IMAGE, (1, 4, 1, 1), (3, 4, 5, 1), (2, 4, 3), (3, 4)])
@pytest.mark.parametrize("eps", [1e-10, 0.5])
@pytest.mark.parametrize("across", ["true", "false"])
@pytest.mark.parametrize("shared", ["true", "false"])
def test_normalize(oracle, across, shared, eps, shape):
    more = "" if eps == 1e-10 else f"eps: {eps}"
    rest = f"norm_param {{ across_spatial: {across} channel_shared: {shared} {more} scale_filler {{ value: 20 }} }}"
    scales = np.full((), 1.7, np.float32) if shared == "true" else floats(4, seed=5)
    data = inputs_text(data=shape) + "\n"
    against_stock(
        oracle,
        data + layer_text("Normalize", rest),
        data + normalized(across, shape, eps),
        fork_blobs={"out": ("Normalize", [scales])},
        stock_blobs={"out": ("Scale", [np.broadcast_to(scales, 4)])},
    )


@pytest.mark.parametrize("shape", [IMAGE, (1, 4, 1, 1), (3, 4, 5, 1)])
@pytest.mark.parametrize("eps", ["", "eps: 0.5"])
@pytest.mark.parametrize(("across", "shared"), [("true", "true"), ("false", "true"), ("false", "false")])
def test_normalize_in_opencv(tmp_path, across, shared, eps, shape):
    """OpenCV refuses a scale for each channel where the whole sample is normalized together."""
    rest = f"norm_param {{ across_spatial: {across} channel_shared: {shared} {eps} scale_filler {{ value: 20 }} }}"
    scales = floats(1, seed=5) if shared == "true" else floats(4, seed=5)
    against_opencv(tmp_path, one("Normalize", rest, shape), blobs={"out": ("Normalize", [scales])})


@pytest.mark.parametrize(("across", "shared"), [("true", "true"), ("false", "true"), ("false", "false")])
def test_normalize_bbox(oracle, tmp_path, across, shared):
    """The same layer under the name that OpenVINO's models give it; OpenCV has it under this name too, and stock layers compute it in real Caffe."""
    rest = f"norm_param {{ across_spatial: {across} channel_shared: {shared} eps: 0.25 }}"
    scales = np.full((), 1.7, np.float32) if shared == "true" else floats(4, seed=5)
    data, text = inputs_text(data=IMAGE) + "\n", layer_text("NormalizeBBox", rest)
    stock_blobs = {"out": ("Scale", [np.broadcast_to(scales, 4)])}
    blobs = {"out": ("NormalizeBBox", [scales])}
    stock = data + normalized(across, IMAGE, 0.25)
    against_stock(oracle, data + text, stock, fork_blobs=blobs, stock_blobs=stock_blobs)
    theirs = {"out": ("NormalizeBBox", [scales.reshape(-1)])}
    against_opencv(tmp_path, data + text, blobs=theirs)
    # Written back it is the layer that it was.
    graph = load_graph(*save(tmp_path, "net", data + text, blobs))
    nuqconv.save(graph, tmp_path / "again.prototxt", tmp_path / "again.caffemodel")
    assert text in (tmp_path / "again.prototxt").read_text()


def test_normalize_of_five_dimensions_is_refused_as_by_caffe(tmp_path):
    blobs = {"out": ("Normalize", [floats(1)])}
    with pytest.raises(ModelError, match="input has 5 dimensions, expected 2 to 4"):
        load_graph(*save(tmp_path, "net", one("Normalize", "", (1, 2, 3, 4, 5)), blobs))


@pytest.mark.parametrize(("kind", "stored"), [("PReLU", ()), ("Normalize", ()), ("Normalize", (1, 1, 1, 1))])
def test_shared_scalar_in_whatever_shape(tmp_path, kind, stored):
    rest = "prelu_param { channel_shared: true }" if kind == "PReLU" else ""
    outputs = [
        OnnxSession(
            load_graph(*save(tmp_path, "net", one(kind, rest), {"out": (kind, [np.full(shape, 0.5, np.float32)])}))
        )
        for shape in ((1,), stored)
    ]
    data = {"data": floats(*IMAGE)}
    np.testing.assert_array_equal(outputs[0].run(data)["out"], outputs[1].run(data)["out"])


@pytest.mark.parametrize("kind", ["L2Norm", "L2Normalize", "L2Normalization"])
@pytest.mark.parametrize("shape", [(3, 8), (3, 8, 1, 1)])
def test_l2_norm(oracle, kind, shape):
    data = inputs_text(data=shape) + "\n"
    stock = normalized("true", shape, 0).removesuffix(layer_text("Scale", bottoms=("unit",)))
    graph = against_stock(oracle, data + layer_text(kind), data + stock.replace('"unit"', '"out"'))
    found = OnnxSession(graph).run({"data": np.zeros(shape, np.float32)})["out"]
    assert not found.any()


def test_l2_norm_of_positions_is_refused(tmp_path):
    graph = load_graph(*save(tmp_path, "net", one("L2Norm"), {}))
    with pytest.raises(
        UnsupportedError, match="forks differ in whether its positions are normalized together or apart"
    ):
        OnnxSession(graph)


STOCK = [
    layer_text("PReLU", name="a"),
    layer_text("Scale", "scale_param { axis: 2 num_axes: -1 bias_term: true }", bottoms=("a",), name="b"),
    layer_text("Bias", "bias_param { num_axes: 0 }", bottoms=("b",), name="c"),
    layer_text("Scale", "scale_param { axis: 0 bias_term: true }", bottoms=("c", "data"), name="d"),
    'layer { name: "split" type: "Split" bottom: "d" top: "e" top: "f" }',
    layer_text("Exp", "exp_param { scale: 0.1 }", bottoms=("e",), name="g"),
    'layer { name: "quiet" type: "Silence" bottom: "f" }',
    'layer { name: "over" type: "ELU" bottom: "g" top: "g" elu_param { alpha: 0.5 } }',
    'layer { name: "table" type: "Parameter" top: "table" parameter_param { shape { dim: 4 } } }',
    layer_text("Bias", bottoms=("g", "table")),
]


def test_written_back_and_run_by_caffe(oracle):
    graph, net = oracle.load(inputs_text(data=IMAGE) + "\n" + "\n".join(STOCK), np.random.default_rng(0))
    inputs = random_inputs(graph)
    with net:
        expected = net.run(inputs, ["out"])["out"]
    model, weights = oracle.folder / "again.prototxt", oracle.folder / "again.caffemodel"
    write_caffe(graph, model, weights)
    with Net(model, weights, process=oracle.process) as again:
        np.testing.assert_array_equal(again.run(inputs, ["out"])["out"], expected)
    np.testing.assert_allclose(OnnxSession(load_graph(model, weights)).run(inputs)["out"], expected, rtol=1e-4)


def test_forks_layers_are_written_back_with_the_blobs_that_they_had(tmp_path):
    text = [
        inputs_text(data=(2, 4, 3, 3), gate=(2, 4)),
        layer_text("BN", "bn_param { bn_mode: INFERENCE }", name="bn"),
        layer_text("Normalize", "norm_param { across_spatial: false }", bottoms=("bn",), name="norm"),
        layer_text("Axpy", bottoms=("gate", "norm", "data")),
    ]
    blobs = {"bn": ("BN", [floats(1, 4, 1, 1)] * 2), "norm": ("Normalize", [np.array(3, np.float32)])}
    graph = load_graph(*save(tmp_path, "net", "\n".join(text), blobs))
    model, weights = tmp_path / "again.prototxt", tmp_path / "again.caffemodel"
    write_caffe(graph, model, weights)
    again = load_graph(model, weights)
    assert again.nodes == graph.nodes
    assert shapes_in(weights) == {"bn": [(1, 4, 1, 1)] * 2, "norm": [()]}
    inputs = random_inputs(graph)
    np.testing.assert_array_equal(OnnxSession(again).run(inputs)["out"], OnnxSession(graph).run(inputs)["out"])


def shapes_in(weights: Path):
    net = NetParameter()
    net.ParseFromString(weights.read_bytes())
    return {layer.name: [tuple(blob.shape.dim) for blob in layer.blobs] for layer in net.layer if layer.blobs}


EVERY = [
    layer_text("BN", "bn_param { bn_mode: INFERENCE }", name="bn"),
    layer_text("BN", bottoms=("bn",), name="bn4"),
    layer_text(
        "Normalize", "norm_param { across_spatial: false channel_shared: false }", bottoms=("bn4",), name="norm"
    ),
    layer_text("Normalize", bottoms=("norm",), name="norm2"),
    layer_text("Pooling", "pooling_param { pool: AVE global_pooling: true }", bottoms=("bn",), name="gap"),
    layer_text("L2Norm", bottoms=("gap",), name="unit"),
    layer_text("Axpy", bottoms=("unit", "norm2", "data"), name="axpy"),
    layer_text("Flatten", bottoms=("unit",), name="gate"),
    layer_text("Axpy", bottoms=("gate", "axpy", "data"), name="axpy2"),
    layer_text("Scale", "scale_param { axis: 0 }", bottoms=("axpy2", "gate"), name="gated"),
    layer_text("Bias", "bias_param { axis: 0 }", bottoms=("gated", "gate"), name="moved"),
    layer_text("PReLU", bottoms=("moved",), name="prelu"),
    layer_text("Clip", "clip_param { min: 3 max: -3 }", bottoms=("prelu",), name="crossed"),
    layer_text("Clip", "clip_param { min: -3 max: 3 }", bottoms=("prelu",), name="clip"),
    *(
        layer_text(kind, bottoms=("clip",), name=kind)
        for kind in ("HSwish", "HSigmoid", "Swish", "Threshold", "BNLL", "ELU", "AbsVal")
    ),
    layer_text("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }", bottoms=("clip",), name="exp"),
    layer_text("Log", "log_param { base: 2 scale: 0.5 shift: 1 }", bottoms=("exp",), name="log"),
    layer_text("Exp", bottoms=("clip",), name="plain"),
    layer_text("Log", bottoms=("exp",), name="plainlog"),
    layer_text(
        "Eltwise", "eltwise_param { operation: MAX coeff: [1, 2, 3] }", bottoms=("exp", "log", "clip"), name="max"
    ),
    'layer { name: "split" type: "Split" bottom: "log" top: "e" top: "f" }',
    'layer { name: "quiet" type: "Silence" bottom: "f" bottom: "max" }',
    'layer { name: "table" type: "Parameter" top: "table" parameter_param { shape { dim: 4 } } }',
    layer_text("Bias", bottoms=("e", "table")),
]


def test_every_opset_and_an_open_batch(tmp_path):
    """All of these layers are valid ONNX in each opset, with inferred shapes that agree, and give the same numbers."""
    blobs = {
        "bn": ("BN", [floats(1, 4, 1, 1)] * 2),
        "bn4": ("BN", [np.abs(floats(1, 4)) + np.float32(0.1)] * 4),
        "norm": ("Normalize", [floats(4)]),
        "norm2": ("Normalize", [floats(1)]),
        "prelu": ("PReLU", [floats(4)]),
        "table": ("Parameter", [floats(4)]),
    }
    graph = load_graph(*save(tmp_path, "net", inputs_text(data=IMAGE) + "\n" + "\n".join(EVERY), blobs))
    assert "max" not in graph.outputs
    inputs, values = random_inputs(graph), [name for name in graph.consumers if name != "data"]
    expected = OnnxSession(graph, outputs=values, threads=1).run(inputs)
    twice = {"data": np.concatenate([inputs["data"]] * 2)}
    for opset in range(MIN_OPSET, newest_opset() + 1):
        for dynamic in (False, True):
            model = to_onnx(graph, opset=opset, dynamic_batch=dynamic)
            onnx.checker.check_model(model, full_check=True)
            onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
            found = OnnxSession(model, outputs=values, threads=1).run(twice if dynamic else inputs)
            for name in values:
                wanted = expected[name]
                if dynamic and name != "table":
                    wanted = np.concatenate([wanted] * 2)
                np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-6, err_msg=f"{name}, opset {opset}")
