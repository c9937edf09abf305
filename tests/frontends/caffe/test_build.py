"""Caffe files -> Graph."""

import numpy as np
import pytest

from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.options import ReadOptions
from nuqconv.ir import dump
from nuqconv.ir.ops import Opaque
from tests.support.nets import conv_net, write_net

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }\n'


def test_in_place_layers_get_one_value_each(tmp_path):
    files = conv_net(tmp_path)
    graph = load_graph(files.model, files.weights)
    assert [node.outputs for node in graph.nodes[:4]] == [
        ("conv1@conv1",),
        ("conv1@bn1",),
        ("conv1@scale1",),
        ("conv1",),
    ]
    assert graph.storage_name("conv1@bn1") == "conv1"
    assert graph.outputs == ("prob",)
    assert graph.node["conv1"].origin.line == 4
    assert graph.shapes["pool"] == (2, 8, 6, 6)
    assert "  prob: 2x5 = Softmax(fc)\n" in dump(graph)


@pytest.mark.parametrize(
    "header",
    [
        'input: "data" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 4',
        'input: "data" input_shape { dim: 1 dim: 2 dim: 4 dim: 4 }',
        INPUT,
    ],
)
def test_every_form_of_input(tmp_path, header):
    files = write_net(tmp_path, header + ' layer { name: "r" type: "ReLU" bottom: "data" top: "out" }', {})
    graph = load_graph(files.model, files.weights)
    assert [(item.name, item.shape) for item in graph.inputs] == [("data", (1, 2, 4, 4))]
    assert graph.outputs == ("out",)


def test_input_overwritten_in_place(tmp_path):
    files = write_net(tmp_path, INPUT + 'layer { name: "r" type: "ReLU" bottom: "data" top: "data" }', {})
    graph = load_graph(files.model, files.weights)
    assert graph.inputs[0].name == "data@input"
    assert graph.storage_name("data@input") == "data"
    assert graph.outputs == ("data",)


def test_shared_weights(tmp_path):
    layer = 'layer { name: "%s" type: "InnerProduct" bottom: "data" top: "%s" '
    layer += 'param { name: "w" } param { name: "b" } inner_product_param { num_output: 3 } }\n'
    first, second = [np.ones((3, 32)), np.zeros(3)], [np.full((3, 32), 2.0), np.ones(3)]
    files = write_net(tmp_path, INPUT + layer % ("a", "a") + layer % ("b", "b"), {"a": first, "b": second})
    graph = load_graph(files.model, files.weights)
    assert graph.node["a"].params == graph.node["b"].params == ("param:w", "param:b")
    # As in Caffe, the layer that is copied last decides.
    assert graph.params["param:w"][0, 0] == 2


def test_phase_and_stage(tmp_path):
    text = INPUT + (
        'layer { name: "train" type: "ReLU" bottom: "data" top: "x" include { phase: TRAIN } }\n'
        'layer { name: "test" type: "Sigmoid" bottom: "data" top: "x" include { phase: TEST not_stage: "plain" } }\n'
        'layer { name: "plain" type: "TanH" bottom: "data" top: "x" include { stage: "plain" } }\n'
    )
    files = write_net(tmp_path, text, {})
    assert [node.name for node in load_graph(files.model, files.weights).nodes] == ["test"]
    graph = load_graph(files.model, files.weights, ReadOptions(stages=frozenset({"plain"})))
    assert [node.name for node in graph.nodes] == ["plain"]


def test_unknown_types_and_parameters_become_opaque(tmp_path):
    text = INPUT + (
        'layer { name: "p" type: "Priors" bottom: "data" top: "p" priors_param { min_size: 3 } }\n'
        'layer { name: "c" type: "Concat" bottom: "p" bottom: "p" top: "c" }\n'
        'layer { name: "m" type: "Pooling" bottom: "data" top: "m" pooling_param { kernel_h: 2 } }\n'
    )
    graph = load_graph(*vars(write_net(tmp_path, text, {})).values())
    assert graph.node["p"].op == Opaque("Priors", "the layer type is not known")
    assert "kernel_h" in graph.node["m"].op.reason
    assert graph.shapes["c"] is None


def _error(tmp_path, text, weights=None, error=ModelError):
    files = write_net(tmp_path, text, weights or {})
    with pytest.raises(error) as caught:
        load_graph(files.model, files.weights)
    return caught.value


def test_all_faults_of_a_model_at_once(tmp_path):
    text = INPUT + (
        'layer { name: "a" type: "ReLU" bottom: "nothing" top: "a" }\n'
        'layer { name: "a" type: "ReLU" bottom: "data" top: "b" }\n'
        'layer { name: "c" type: "ReLU" bottom: "b" top: "a" }\n'
        'layer { name: "d" type: "Convolution" bottom: "data" top: "d" convolution_param { num_output: 1 kernal_size: 3 } }\n'
        'layer { name: "e" type: "InnerProduct" bottom: "data" top: "e" inner_product_param { num_output: 1 } }\n'
    )
    error = _error(tmp_path, text)
    told = "\n".join(error.problems)
    for expected in (
        "bottom 'nothing'",
        "top 'a' is made by an earlier layer",
        ":5:",
        "kernal_size",
        "needs 2 blobs",
    ):
        assert expected in told


def test_wrong_weights(tmp_path):
    text = (
        INPUT
        + 'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }\n'
    )
    good = [np.zeros((3, 32)), np.zeros(3)]
    assert "has 1 blobs" in str(_error(tmp_path, text, {"fc": good[:1]}))
    assert "has no entry" in str(_error(tmp_path, text, {"other": good}))
    assert "3x31, 3, expected 3x32, 3" in str(_error(tmp_path, text, {"fc": [np.zeros((3, 31)), np.zeros(3)]}))
    damaged = [np.full((3, 32), np.nan), np.array([0, np.inf, 0])]
    error = _error(tmp_path, text, {"fc": damaged})
    assert len(error.problems) == 2
    assert "net.prototxt:2: layer 'fc' (InnerProduct): 96 of 96 numbers" in error.problems[0]


@pytest.mark.parametrize("layer_type", ["Data", "SoftmaxWithLoss", "Accuracy", "ImageData"])
def test_training_nets_are_refused(tmp_path, layer_type):
    text = INPUT + f'layer {{ name: "t" type: "{layer_type}" top: "x" }}'
    assert f"net.prototxt:2: layer 't' ({layer_type})" in str(_error(tmp_path, text, error=UnsupportedError))


def test_shapes_that_do_not_fit(tmp_path):
    text = INPUT + (
        'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 stride: 2 } }\n'
        'layer { name: "s" type: "Eltwise" bottom: "data" bottom: "p" top: "s" }\n'
    )
    assert "inputs differ in shape: 1x2x4x4, 1x2x2x2" in str(_error(tmp_path, text))


@pytest.mark.parametrize("turned", [False, True])
def test_parameters_whose_names_would_meet(tmp_path, turned):
    layers = [
        'layer { name: "param:w" type: "PReLU" bottom: "data" top: "a" }',
        'layer { name: "other" type: "PReLU" bottom: "data" top: "b" param { name: "w/0" } }',
    ]
    text = INPUT + "\n".join(reversed(layers) if turned else layers)
    files = write_net(tmp_path, text, {"param:w": [np.zeros(3)], "other": [np.ones(3)]})
    with pytest.raises(ModelError, match="blob 0 would be called 'param:w/0', as that of another layer is"):
        load_graph(files.model, files.weights)


def test_whatever_is_wrong_with_names_is_told_at_once(tmp_path):
    text = (
        'name: "n\\n"\n'
        + INPUT
        + 'layer { name: "a\\tb" type: "ReLU" bottom: "data" top: "x\\000" param { name: "p\\177" } }\n'
    )
    files = write_net(tmp_path, text, {})
    with pytest.raises(ModelError) as caught:
        load_graph(files.model, files.weights)
    told = [problem.split(": ", 1)[1].split(" holds")[0] for problem in caught.value.problems]
    assert [item.rsplit(": ", 1)[-1] for item in told] == [
        r"the network's name 'n\n'",
        r"the layer's name 'a\tb'",
        r"blob 'x\x00'",
        r"the shared parameter 'p\x7f'",
    ]
