"""Fields that their message does not have: an error by default, as in Caffe; kept to the letter on demand."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import CaffeProcessError, FormatError, ModelError, UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.fields import parse_fields
from nuqconv.frontends.options import ReadOptions
from nuqconv.ir.ops import Opaque
from nuqconv.passes import fold_affine
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.support.nets import write_net

TEXT = """name: "net"
engine: "FAST"  # outside of layers
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 2, 5, 5] } } }
layer {
  name: "conv"
  type: "Convolution"
  bottom: "data" top: "conv"
  param { lr_mult: 1 }
  param { lr_mult: 2 larsen: 0.5 }
  convolution_param {
    num_output: 2  kernal_size: 3
    kernel_size: 3 bias_term: false
    weight_filler { type: "xavier" fanciness: "a { b" }
  }
  odd_param { list: [1, 2] inner < text: 'x' 'y' > }
}
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "relu" relu_param { negative_slop: 0.1 } profile: true }
"""
ODD = "odd_param { list: [1, 2] inner < text: 'x' 'y' > }"
WEIGHTS = {
    "conv": [np.ones((2, 2, 3, 3))],
    "bn": [np.ones(2), np.full(2, 4.0), np.ones(1)],
}
UNKNOWN = [
    (2, 1, "NetParameter has no field 'engine'"),
    (9, 22, "ParamSpec has no field 'larsen'"),
    (11, 20, "ConvolutionParameter has no field 'kernal_size'; did you mean 'kernel_size'?"),
    (13, 36, "FillerParameter has no field 'fanciness'"),
    (15, 3, "LayerParameter has no field 'odd_param'"),
    (18, 75, "ReLUParameter has no field 'negative_slop'; did you mean 'negative_slope'?"),
    (18, 96, "LayerParameter has no field 'profile'"),
]


@pytest.fixture
def files(tmp_path):
    return write_net(tmp_path, TEXT, WEIGHTS)


def test_all_of_them_are_refused_in_one_report(files):
    with pytest.raises(ModelError) as caught:
        load_graph(files.model, files.weights)
    found = [problem for problem in caught.value.problems if "has no field" in problem]
    assert found == [f"{files.model}:{line}:{column}: {text}" for line, column, text in UNKNOWN]
    lines = TEXT.splitlines()
    for line, column, text in UNKNOWN:
        assert lines[line - 1][column - 1 :].startswith(text.split("'")[1])


@pytest.mark.caffe
@pytest.mark.parametrize(
    "text",
    [
        'engine: "FAST" layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }',
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } profile: true }',
        'input: "x" input_dim: [1, 1, 1, 1] layers { name: "r" type: RELU bottom: "x" top: "y" relu_param { slope: 1 } }',
    ],
)
def test_caffe_refuses_them(caffe_python, tmp_path, text):
    files = write_net(tmp_path, text, {})
    with pytest.raises(CaffeProcessError, match="has no field named"), Net(files.model, python=caffe_python):
        pass
    with pytest.raises(ModelError, match="has no field"):
        load_graph(files.model, files.weights)


def test_on_demand_they_are_noted_and_kept(files, tmp_path, caplog):
    notes: list[str] = []
    with caplog.at_level(logging.WARNING):
        graph = nuqconv.load(files.model, files.weights, allow_unknown_fields=True, notes=notes)
    kept, apart = (
        "it is kept without being understood",
        "the layer is kept to the letter and not computed, since this may change its result",
    )
    fates = ["it is lost when the model is written", kept, apart, kept, apart, apart, apart]
    expected = [
        f"{files.model}:{line}:{column}: {text}; {fate}"
        for (line, column, text), fate in zip(UNKNOWN, fates, strict=True)
    ]
    assert notes == expected
    assert [record.message for record in caplog.records] == expected
    nuqconv.save(graph, tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    for node in graph.nodes:
        assert node.origin.text in TEXT
        assert node.origin.text in (tmp_path / "a.prototxt").read_text()


def test_they_stay_in_layers_that_change(tmp_path):
    """Folding gives the convolution a bias, so its text is written again."""
    files = write_net(tmp_path, TEXT.replace("kernal_size: 3", "").replace(ODD, ""), WEIGHTS)
    graph = nuqconv.load(files.model, files.weights, allow_unknown_fields=True)
    nuqconv.save(fold_affine(graph).graph, tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    text = (tmp_path / "a.prototxt").read_text()
    layers = parse_fields(text).messages("layer")
    conv = next(layer for layer in layers if layer.scalars("name") == ["conv"])
    param = conv.message("convolution_param")
    assert conv.messages("param")[0].scalars("larsen") == []
    assert conv.messages("param")[1].scalars("larsen") == ["0.5"]
    assert param.scalars("bias_term") == ["true"]
    assert param.message("weight_filler").scalars("fanciness") == ["a { b"]
    again = nuqconv.load(tmp_path / "a.prototxt", tmp_path / "a.caffemodel", allow_unknown_fields=True)
    assert [node.op.kind for node in again.nodes] == [node.op.kind for node in fold_affine(graph).graph.nodes]


def test_old_layers_keep_them(tmp_path):
    text = (
        'input: "data" input_dim: [1, 2, 5, 5]\n'
        'layers { name: "relu" type: RELU bottom: "data" top: "relu"\n  relu_param { negative_slop: 0.1 } profile: true }\n'
    )
    files = write_net(tmp_path, text, {})
    with pytest.raises(ModelError) as caught:
        load_graph(files.model, files.weights)
    assert [problem.removeprefix(str(files.model)) for problem in caught.value.problems] == [
        ":3:16: ReLUParameter has no field 'negative_slop'; did you mean 'negative_slope'?",
        ":3:37: V1LayerParameter has no field 'profile'",
    ]
    graph = load_graph(files.model, files.weights, ReadOptions(allow_unknown_fields=True))
    nuqconv.save(graph, tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    assert "  relu_param {\nnegative_slop: 0.1\n  }\nprofile: true\n}" in (tmp_path / "a.prototxt").read_text()


def test_unknown_types_may_have_any_field(tmp_path):
    files = write_net(tmp_path, 'layer { name: "x" type: "Odd" top: "x" odd_param { a: 1 } }', {})
    notes: list[str] = []
    graph = nuqconv.load(files.model, files.weights, notes=notes)
    assert (notes, graph.node["x"].op.kind) == ([], "Opaque")


def test_a_wrong_value_is_an_error_in_any_case(tmp_path):
    text = TEXT.replace("bias_term: false", "bias_term: maybe")
    files = write_net(tmp_path, text, WEIGHTS)
    with pytest.raises(FormatError) as caught:
        load_graph(files.model, files.weights, ReadOptions(allow_unknown_fields=True))
    assert len(caught.value.problems) == 5
    assert caught.value.problems[-1].startswith(f"{files.model}:12:31: ")


def test_blobs_that_a_layer_does_not_have(tmp_path):
    """As in Caffe, which compares the numbers of blobs; layers that the net lacks are only noted."""
    text = "\n".join(line for line in TEXT.splitlines() if "engine" not in line)
    text = text.replace("relu_param { negative_slop: 0.1 } profile: true", "")
    extra = {**WEIGHTS, "relu": [np.ones(1)], "bn": [*WEIGHTS["bn"], np.ones(2)], "gone": [np.ones(1)], "empty": []}
    files = write_net(tmp_path, text, extra)
    with pytest.raises(ModelError) as caught:
        load_graph(files.model, files.weights, ReadOptions(allow_unknown_fields=True))
    assert [problem.partition(": ")[2] for problem in caught.value.problems] == [
        f"layer 'bn' (BatchNorm): needs 3 blobs, {files.weights} has 4 blobs for it",
        f"layer 'relu' (ReLU): needs 0 blobs, {files.weights} has 1 blobs for it",
    ]
    files = write_net(tmp_path, text, {**WEIGHTS, "gone": [np.ones(1)], "empty": []})
    notes: list[str] = []
    nuqconv.load(files.model, files.weights, allow_unknown_fields=True, notes=notes)
    assert notes[-1] == f"{files.weights}: weights of 1 layers are not used by the net: gone"


NET = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [1, 1, 4, 4] } } }\n'
POOL = 'layer { name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param { kernel_size: 3 stride: 2 %s } }'


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (POOL % "pool: MIN", "field 'pool' of PoolingParameter has no value 'MIN'"),
        (POOL % "global_avg: true", "PoolingParameter has no field 'global_avg'"),
        ('layer { name: "p" type: "ReLU" bottom: "x" top: "p" relu_param { relu6: true } }', "no field 'relu6'"),
        (
            'layer { name: "p" type: "Eltwise" bottom: "x" bottom: "x" top: "p" eltwise_param { operation: DIV } }',
            "field 'operation' of EltwiseParameter has no value 'DIV'",
        ),
    ],
)
def test_what_may_change_numbers_is_never_computed_without_it(tmp_path, layer, words):
    files = write_net(tmp_path, NET + layer, {})
    with pytest.raises(ModelError) as caught:
        load_graph(files.model, files.weights)
    assert words in caught.value.problems[0]
    graph = load_graph(files.model, files.weights, ReadOptions(allow_unknown_fields=True))
    assert isinstance(graph.node["p"].op, Opaque)
    assert words in graph.node["p"].op.reason
    with pytest.raises(UnsupportedError, match="p"):
        nuqconv.convert((files.model, files.weights), tmp_path / "a.onnx", allow_unknown_fields=True)


@pytest.mark.parametrize(
    "layer",
    [
        POOL % "engine: MKL2017",
        'layer { name: "p" type: "ReLU" bottom: "x" top: "p" engine: "CAFFE" }',
        'layer { name: "p" type: "Eltwise" bottom: "x" bottom: "x" top: "p" eltwise_param { engine: MKL2017 } }',
    ],
)
def test_what_changes_nothing_needs_no_option(tmp_path, layer):
    files = write_net(tmp_path, NET + layer, {})
    notes: list[str] = []
    graph = nuqconv.load(files.model, files.weights, notes=notes)
    assert (graph.node["p"].op.kind != "Opaque", notes) == (True, [])


@pytest.mark.parametrize(("words", "size"), [("ceil_mode: false", 56), ("ceil_mode: true", 57), ("", 57)])
def test_ceil_mode_is_round_mode_by_another_name(tmp_path, words, size):
    """OpenCV reads it: 113 pixels, windows of 2 in steps of 2."""
    cv2 = pytest.importorskip("cv2")
    text = (
        'name: "n" input: "x" input_dim: 1 input_dim: 1 input_dim: 113 input_dim: 113\n'
        'layer { name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param { pool: AVE kernel_size: 2 stride: 2 %s } }'
    )
    files = write_net(tmp_path, text % words, {})
    graph = load_graph(files.model, files.weights)
    data = np.random.default_rng(3).standard_normal((1, 1, 113, 113)).astype(np.float32)
    net = cv2.dnn.readNetFromCaffe(str(files.model))
    net.setInput(data)
    expected = net.forward("p")
    assert expected.shape == (1, 1, size, size)
    found = OnnxSession(graph).run({"x": data})["p"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[..., :56, :56], expected[..., :56, :56], rtol=1e-5, atol=1e-6)


def test_two_ways_to_round_must_agree(tmp_path):
    files = write_net(tmp_path, NET + POOL % "ceil_mode: false round_mode: CEIL", {})
    with pytest.raises(ModelError, match="not valid") as caught:
        load_graph(files.model, files.weights)
    assert "contradict" in caught.value.problems[0]
    files = write_net(tmp_path, NET + POOL % "ceil_mode: false round_mode: FLOOR", {})
    assert load_graph(files.model, files.weights).shapes["p"] == (1, 1, 1, 1)
