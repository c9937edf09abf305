"""What is true of layer types, whether they are read or not."""

from __future__ import annotations

import pytest

from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.data_layers import is_data_layer
from nuqconv.frontends.caffe.layer_types import APART, is_for_training, trait_of
from nuqconv.frontends.caffe.layers.registry import LAYER_TYPES
from nuqconv.ir.ops import Opaque
from nuqconv.ir.traits import Jumps, KeepsChannels, QuantizedForm, Stateful
from nuqconv.quantize.capability import quantized_parts
from tests.support.nets import write_net


def read(folder, layer):
    text = f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 4 }} }} }}\n{layer}\n'
    files = write_net(folder, text, {})
    return load_graph(files.model, files.weights)


@pytest.mark.parametrize("kind", ["Quant", "AntiQuant"])
def test_an_unread_layer_of_a_quantized_model_is_one(tmp_path, kind):
    graph = read(tmp_path, f'layer {{ name: "q" type: "{kind}" bottom: "data" top: "q" }}')
    assert isinstance(graph.node["q"].op, Opaque)
    assert len(quantized_parts(graph)) == 1


@pytest.mark.parametrize(("kind", "jumps"), [("Proposal", True), ("Python", True), ("Nobody", False)])
def test_what_is_known_of_an_unread_layer(tmp_path, kind, jumps):
    graph = read(tmp_path, f'layer {{ name: "x" type: "{kind}" bottom: "data" top: "x" }}')
    op = graph.node["x"].op
    assert (op.trait(Jumps) is not None) == jumps
    assert op.trait(Stateful)
    assert not op.trait(QuantizedForm)


def test_code_of_others_may_carry_a_state():
    assert trait_of("Python", Stateful)
    assert trait_of("Proposal", Stateful) is None


def test_types_stand_in_one_table():
    assert not APART.keys() & LAYER_TYPES.keys()
    assert not any(map(is_data_layer, [*APART, *LAYER_TYPES]))


def test_training():
    assert {kind for kind in APART if not is_for_training(kind)} == {"Input", "AntiQuant"}
    assert is_for_training("ImageData")
    assert not is_for_training("Convolution")


def test_channels_are_kept():
    kept = {kind for kind in LAYER_TYPES if trait_of(kind, KeepsChannels)}
    assert {"BatchNorm", "Bias", "Dropout", "ELU", "LRN", "MVN", "PReLU", "Pooling", "Power", "ReLU", "Scale"} < kept
    assert not kept & {"Convolution", "Concat", "Slice", "Permute", "Reshape", "Flatten", "Softmax"}
