"""V1 and V0 models: real Caffe loads the same files itself, and all blobs agree; so they do when written back as current layers."""

from __future__ import annotations

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import FormatError, ModelError
from nuqconv.frontends.caffe import load_graph, read_model
from nuqconv.frontends.caffe.prototxt import read_prototxt
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.frontends.caffe.weights import blob_array, read_weights
from tests.oracle.caffe_files import current_weights, fill

CONV = "convolution_param { num_output: 4 kernel_size: 3 }"
HEAD = 'name: "old" input: "data" input_dim: 2 input_dim: 4 input_dim: 7 input_dim: 6\n'

_V1_NAMES = {"Convolution": "CONVOLUTION", "InnerProduct": "INNER_PRODUCT", "Deconvolution": "DECONVOLUTION"}
_V0_NAMES = {"Convolution": "conv", "InnerProduct": "innerproduct"}


def v1_weights(params):
    net = NetParameter(layers=[{"name": "none", "type": "RELU"}])
    for name, (kind, blobs) in params.items():
        layer = net.layers.add(name=name, type=_V1_NAMES[kind])
        for array in blobs:
            fill(layer.blobs.add(), array, legacy=True)
    return net


def v0_weights(params):
    """With a padding layer, as a training net of that time saves it."""
    net = NetParameter(input=["data"])
    net.layers.add(bottom=["data"], top=["padded"], layer={"name": "pad", "type": "padding", "pad": 1})
    net.layers.add(layer={"name": "none", "type": "relu"})
    for name, (kind, blobs) in params.items():
        layer = net.layers.add().layer
        layer.name, layer.type = name, _V0_NAMES[kind]
        for array in blobs:
            fill(layer.blobs.add(), array, legacy=True)
    return net


def v1(kind, rest="", *, bottom='bottom: "data"', name="out", top="out"):
    return f'layers {{ name: "{name}" type: {kind} {bottom} top: "{top}" {rest} }}\n'


def v0(kind, rest="", *, bottom="data", name="out", top="out"):
    return f'layers {{ layer {{ name: "{name}" type: "{kind}" {rest} }} bottom: "{bottom}" top: "{top}" }}\n'


V1_LAYERS = [
    ("ABSVAL", ""),
    ("ARGMAX", "argmax_param { out_max_val: true top_k: 2 }"),
    ("BNLL", ""),
    ("CONCAT", 'concat_param { concat_dim: 0 } bottom: "data"'),
    ("CONCAT", 'concat_param { axis: -1 } bottom: "data"'),
    ("CONVOLUTION", CONV),
    ("CONVOLUTION", "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 1 pad_h: 1 stride: 2 group: 2 }"),
    ("CONVOLUTION", "convolution_param { num_output: 2 kernel_size: 2 bias_term: false engine: CAFFE }"),
    ("CONVOLUTION", f"{CONV} blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0"),
    ("DECONVOLUTION", CONV),
    ("DROPOUT", "dropout_param { dropout_ratio: 0.3 }"),
    ("ELTWISE", 'eltwise_param { operation: SUM coeff: 2 coeff: -1 } bottom: "data"'),
    ("ELTWISE", 'eltwise_param { operation: PROD } bottom: "data"'),
    ("EXP", "exp_param { base: 2 scale: 0.5 shift: 1 }"),
    ("FLATTEN", ""),
    ("IM2COL", "convolution_param { kernel_size: 3 }"),
    ("INNER_PRODUCT", "inner_product_param { num_output: 5 }"),
    ("INNER_PRODUCT", "inner_product_param { num_output: 5 bias_term: false }"),
    ("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 k: 2 }"),
    ("LRN", "lrn_param { local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL }"),
    ("MVN", "mvn_param { across_channels: true normalize_variance: false }"),
    ("POOLING", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }"),
    ("POOLING", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }"),
    ("POOLING", "pooling_param { pool: AVE global_pooling: true }"),
    ("POWER", "power_param { power: 2 scale: 0.5 shift: 0.1 }"),
    ("RELU", "relu_param { negative_slope: 0.2 }"),
    ("SIGMOID", "sigmoid_param { engine: CAFFE }"),
    ("SLICE", 'slice_param { slice_dim: 1 slice_point: 1 } top: "rest"'),
    ("SOFTMAX", "softmax_param { axis: 2 }"),
    ("SPLIT", ""),
    ("TANH", ""),
    ("THRESHOLD", "threshold_param { threshold: 0.2 }"),
]


@pytest.mark.caffe
@pytest.mark.parametrize(("kind", "rest"), V1_LAYERS)
def test_v1_layers(judge, kind, rest):
    judge.write(HEAD + v1(kind, rest), v1_weights)
    graph = nuqconv.load(judge.model, judge.weights)
    judge.check(graph)
    text = judge.check_written(graph)
    assert "layers" not in text


V0_LAYERS = [
    ("bnll", ""),
    ("concat", "concat_dim: 1"),
    ("conv", "num_output: 4 kernelsize: 3"),
    ("conv", "num_output: 4 kernelsize: 3 pad: 1 stride: 2 group: 2 biasterm: false"),
    ("conv", 'num_output: 2 kernelsize: 2 weight_filler { type: "gaussian" std: 0.1 } bias_filler { value: 1 }'),
    ("conv", "num_output: 2 kernelsize: 1 blobs_lr: 1. blobs_lr: 2. weight_decay: 1. weight_decay: 0."),
    ("dropout", "dropout_ratio: 0.4"),
    ("flatten", ""),
    ("innerproduct", "num_output: 5"),
    ("innerproduct", "num_output: 5 biasterm: false"),
    ("lrn", "local_size: 3 alpha: 0.5 beta: 0.6 k: 2"),
    ("pool", "kernelsize: 3 stride: 2"),
    ("pool", "pool: AVE kernelsize: 3 stride: 2 pad: 1"),
    ("relu", ""),
    ("relu", "num_output: 3 kernelsize: 3"),
    ("sigmoid", ""),
    ("softmax", ""),
    ("split", ""),
    ("tanh", ""),
]


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("kind", "rest", "store"),
    [
        *((kind, rest, v0_weights) for kind, rest in V0_LAYERS),
        *((kind, rest, v1_weights) for kind, rest in V0_LAYERS if kind in ("conv", "innerproduct")),
        *((kind, rest, current_weights) for kind, rest in V0_LAYERS if kind in ("conv", "innerproduct")),
    ],
)
def test_v0_layers(judge, kind, rest, store):
    """The weights may be of a later form than the net."""
    judge.write(HEAD + v0(kind, rest), store)
    graph = nuqconv.load(judge.model, judge.weights)
    judge.check(graph)
    judge.check_written(graph)


V1_NET = (
    HEAD.replace('name: "old"', 'name: "old"\n# a comment\n')
    + v1("CONVOLUTION", f"{CONV} blobs_lr: 1 weight_decay: 3", name="c1", top="c1")
    + v1("RELU", bottom='bottom: "c1"', name="r1", top="c1")
    + v1("CONVOLUTION", f'{CONV} param: "w" param: "b" include {{ phase: TEST }}', name="c2", top="c2")
    + v1("CONVOLUTION", f'{CONV} param: "w" param: "b" blob_share_mode: PERMISSIVE', name="c3", top="c3")
    + v1("TANH", "exclude { phase: TEST }", bottom='bottom: "c3"', name="t", top="never")
    + v1("ELTWISE", bottom='bottom: "c1" bottom: "c2" bottom: "c3"', name="sum", top="sum")
    + v1("INNER_PRODUCT", "inner_product_param { num_output: 5 }", bottom='bottom: "sum"', name="fc", top="fc")
    + v1("SOFTMAX", bottom='bottom: "fc"', name="prob", top="prob")
)

V0_NET = (
    HEAD
    + v0("padding", "pad: 1", name="pad1", top="padded")
    + v0("conv", "num_output: 4 kernelsize: 3", bottom="padded", name="c1", top="c1")
    + v0("relu", bottom="c1", name="r1", top="c1")
    + v0("padding", "pad: 2", bottom="c1", name="pad2", top="wide")
    + v0("conv", "num_output: 3 kernelsize: 3 stride: 2 pad: 7", bottom="wide", name="c2", top="c2")
    + v0("pool", "pool: MAX kernelsize: 3 stride: 2", bottom="wide", name="p", top="p").replace("pad: 7", "")
    + v0("innerproduct", "num_output: 5", bottom="c2", name="fc", top="fc")
    + v0("softmax", bottom="fc", name="prob", top="prob")
)


@pytest.mark.caffe
@pytest.mark.parametrize(("text", "store", "old"), [(V1_NET, v1_weights, "V1"), (V0_NET, v0_weights, "V0")])
def test_nets(judge, text, store, old):
    judge.write(text, store)
    found = read_model(judge.model, judge.weights)
    judge.check(found.graph)
    judge.check_written(found.graph)
    count = text.count("layers {")
    padding = ", 2 padding layers folded into the layers behind them" if old == "V0" else ""
    assert found.notes[0] == f"{judge.model}: {count} layers of the {old} form are read as current ones{padding}"
    assert all(node.origin.text is None for node in found.graph.nodes)


def test_what_v1_becomes(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(V1_NET)
    layers = {layer.message.name: layer for layer in read_prototxt(path).layers}
    assert (layers["c1"].line, layers["c1"].message.type) == (4, "Convolution")
    (spec,) = layers["c1"].message.param
    assert (spec.lr_mult, spec.decay_mult) == (1, 3)
    assert [spec.name for spec in layers["c2"].message.param] == ["w", "b"]
    assert layers["c3"].message.param[0].share_mode == 1
    assert layers["t"].message.exclude[0].phase == 1


def test_parameters_of_other_types_are_noted(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(HEAD + v0("relu", "num_output: 3 kernelsize: 3"))
    assert read_prototxt(path).notes == (
        f"{path}:2: layer 'out' (ReLU): 'num_output' does not belong to this type and is ignored, as in Caffe",
        f"{path}:2: layer 'out' (ReLU): 'kernelsize' does not belong to this type and is ignored, as in Caffe",
        f"{path}: 1 layers of the V0 form are read as current ones",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (v0("wrong"), ":2: V0 has no layer type 'wrong'"),
        (v1("WRONG"), ':2:28: Enum type "V1LayerParameter.LayerType" has no value named WRONG'),
        (
            v1("RELU") + 'layer { name: "x" type: "ReLU" bottom: "out" top: "x" }',
            ":2: 'layers' (the old form) stands beside",
        ),
        (
            v1("RELU") + v0("relu", bottom="out", name="x", top="x"),
            ":2: is a V1 layer, but the file holds V0 layers too",
        ),
        (
            v0("padding", "pad: 1", name="p", top="p") + v0("relu", bottom="p"),
            "layer 'out' (relu): reads padding layer 'p'; only conv and pool may",
        ),
        (
            v0("padding", "pad: 1", name="p", top='p" top: "q') + v0("conv", bottom="p"),
            "layer 'out' (conv): it and padding layer 'p' must have one bottom and one top",
        ),
        (v1("RELU", "relu_parm { }") + v1("RELU", bottom='bottom: "out"', name="b", top="b"), None),
    ],
)
def test_what_is_refused(tmp_path, text, expected):
    path = tmp_path / "net.prototxt"
    path.write_text(HEAD + text)
    if expected is None:
        (tmp_path / "w.caffemodel").write_bytes(NetParameter(layer=[{"name": "x"}]).SerializeToString())
        with pytest.raises(
            ModelError, match="2:59: V1LayerParameter has no field 'relu_parm'; did you mean 'relu_param'"
        ):
            load_graph(path, tmp_path / "w.caffemodel")
        return
    with pytest.raises(FormatError) as caught:
        read_prototxt(path)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].removeprefix(str(path)).removeprefix(": ").startswith(expected)


def test_weights_of_both_generations(tmp_path):
    """As in Caffe, current layers beside old ones are ignored."""
    net = v1_weights({"a": ("InnerProduct", [np.ones((2, 3), np.float32)])})
    net.layer.add(name="b")
    path = tmp_path / "net.caffemodel"
    path.write_bytes(net.SerializeToString())
    found = read_weights(path)
    assert list(found.layers) == ["none", "a"]
    assert found.notes[1] == f"{path}: 1 layers of the current form beside them are ignored, as in Caffe"
    assert found.layers["a"].type == "InnerProduct"
    assert blob_array(found.layers["a"].blobs[0], 2).tolist() == [[1] * 3] * 2


def test_what_is_not_understood_is_written_as_a_current_layer(tmp_path):
    """A convolution without a kernel, with its blob."""
    path, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    path.write_text(HEAD + v1("CONVOLUTION", "convolution_param { num_output: 2 } blobs_lr: 3"))
    weights.write_bytes(v1_weights({"out": ("Convolution", [np.ones((2, 3), np.float32)])}).SerializeToString())
    target = tmp_path / "a.prototxt", tmp_path / "a.caffemodel"
    nuqconv.save(nuqconv.load(path, weights), *target)
    (layer,) = [layer for layer in read_prototxt(target[0]).layers if layer.message.name == "out"]
    assert (layer.message.type, layer.message.param[0].lr_mult) == ("Convolution", 3)
    stored = read_weights(target[1])
    assert stored.notes == ()
    assert blob_array(stored.layers["out"].blobs[0], 2).tolist() == [[1] * 3] * 2


@pytest.mark.caffe
@pytest.mark.parametrize(("text", "store"), [(V1_NET, v1_weights), (V0_NET, v0_weights)], ids=["V1", "V0"])
def test_old_models_are_quantized(judge, text, store):
    judge.write(text, store)
    model, weights, out = judge.model, judge.weights, judge.model.parent
    nuqconv.create_quant_config(out / "c.json", model, weights)
    data = {"data": np.random.default_rng(0).standard_normal((4, 4, 7, 6)).astype(np.float32)}
    evaluator = nuqconv.OnnxRuntimeEvaluator(data, metric="output_error", max_error=0.5, batch_size=2)
    files = nuqconv.auto_nuq(model, weights, evaluator, out / "c.json", out / "r.txt", out / "q" / "net").files
    fake = files.fake_quant_model, files.fake_quant_weights
    assert "layers {" not in files.fake_quant_model.read_text()
    judge.check(nuqconv.load(*fake), fake)
