"""Inputs in every form, several of them, and other shapes for them; real Caffe is reshaped in the same way."""

from __future__ import annotations

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import ModelError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.schema import BlobProto, NetParameter
from nuqconv.frontends.caffe.weights import blob_array
from nuqconv.frontends.options import ReadOptions
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_files import fill
from tests.support.nets import write_net

BODY = """
layer { name: "c" type: "Convolution" bottom: "a" top: "c" convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "s" type: "Eltwise" bottom: "c" bottom: "b" top: "s" }
"""
INPUTS = {
    "input_dim": 'input: "a" input_dim: 2 input_dim: 3 input_dim: 5 input_dim: 6 input: "b" input_dim: [2, 4, 5, 6]',
    "input_shape": 'input: "a" input: "b" input_shape { dim: [2, 3, 5, 6] } input_shape { dim: 2 dim: 4 dim: 5 dim: 6 }',
    "both": 'input: ["a", "b"] input_shape { dim: [2, 3, 5, 6] } input_shape { dim: [2, 4, 5, 6] } input_dim: [9, 9, 9, 9]',
    "layers": 'layer { name: "x" type: "Input" top: "a" input_param { shape { dim: [2, 3, 5, 6] } } } '
    'layer { name: "y" type: "Input" top: "b" input_param { shape { dim: [2, 4, 5, 6] } } }',
    "layer": 'layer { name: "x" type: "Input" top: "a" top: "b" input_param { shape { dim: [2, 3, 5, 6] } shape { dim: [2, 4, 5, 6] } } }',
}
SHAPES = {"a": (1, 3, 9, 8), "b": (1, 4, 9, 8)}


@pytest.mark.caffe
@pytest.mark.parametrize("form", INPUTS)
@pytest.mark.parametrize("shapes", [None, SHAPES])
def test_several_inputs(judge, form, shapes):
    judge.write(INPUTS[form] + BODY)
    graph = nuqconv.load(judge.model, judge.weights, input_shapes=shapes)
    expected = shapes or {"a": (2, 3, 5, 6), "b": (2, 4, 5, 6)}
    assert {item.name: item.shape for item in graph.inputs} == expected
    judge.check(graph)
    judge.check_written(graph)


@pytest.mark.caffe
def test_one_shape_for_all_tops(judge):
    judge.write(
        'layer { name: "x" type: "Input" top: "a" top: "b" input_param { shape { dim: [2, 3] } } }'
        'layer { name: "s" type: "Eltwise" bottom: "a" bottom: "b" top: "s" }'
        'layer { name: "c" type: "InnerProduct" bottom: "s" top: "c" inner_product_param { num_output: 1 } }'
    )
    judge.check(nuqconv.load(judge.model, judge.weights))


@pytest.mark.parametrize(
    "head",
    [
        'input: "a" input: "b"',
        'input: "a" input: "b" input_shape { dim: [1, 3, 9, 8] }',
        'input: "b" input_dim: [2, 4, 5, 6] input: "a"',
        'layer { name: "x" type: "Input" top: "a" top: "b" }',
    ],
)
def test_shapes_that_the_file_does_not_tell(tmp_path, head):
    weights = {"c": [np.ones((4, 3, 3, 3)), np.ones(4)]}
    files = write_net(tmp_path, head + BODY, weights)
    graph = load_graph(files.model, files.weights, ReadOptions(input_shapes=SHAPES))
    assert {item.name: item.shape for item in graph.inputs} == SHAPES
    with pytest.raises(ModelError):
        load_graph(files.model, files.weights)


def test_all_wrong_shapes_at_once(tmp_path):
    weights = {"c": [np.ones((4, 3, 3, 3)), np.ones(4)]}
    files = write_net(tmp_path, INPUTS["layer"] + BODY, weights)
    with pytest.raises(ModelError) as caught:
        load_graph(
            files.model,
            files.weights,
            ReadOptions(input_shapes={"a": (1, 0, 2, 2), "b": (), "c": (1,), "data": (1, 3)}),
        )
    assert [problem.removeprefix(str(files.model)) for problem in caught.value.problems] == [
        ":1: layer 'x' (Input): shape 1x0x2x2; every size must be positive",
        ":1: layer 'x' (Input): shape missing; every size must be positive",
        ": a shape is given for 'c', which is no input; the net has a, b",
        ": a shape is given for 'data', which is no input; the net has a, b",
    ]


def test_shapes_that_the_net_cannot_take(tmp_path):
    weights = {"c": [np.ones((4, 3, 3, 3)), np.ones(4)]}
    files = write_net(tmp_path, INPUTS["layer"] + BODY, weights)
    with pytest.raises(ModelError) as caught:
        load_graph(files.model, files.weights, ReadOptions(input_shapes={"a": (1, 5, 9, 8), "b": (1, 4, 3, 3)}))
    assert "layer 'c' (Convolution)" in str(caught.value)


def test_an_input_that_is_overwritten(tmp_path):
    text = INPUTS["layers"] + 'layer { name: "r" type: "ReLU" bottom: "a" top: "a" }'
    files = write_net(tmp_path, text, {})
    graph = load_graph(files.model, files.weights, ReadOptions(input_shapes={"a": (7, 2)}))
    assert graph.shapes["a"] == (7, 2)


@pytest.mark.caffe
@pytest.mark.parametrize("both", [False, True])
def test_legacy_blobs_in_caffe(judge, both):
    """Four sizes in a current layer, and beside them a shape that says something else: Caffe goes by the four."""

    def store(params):
        net = NetParameter()
        for name, (kind, blobs) in params.items():
            layer = net.layer.add(name=name, type=kind)
            for array in blobs:
                blob = layer.blobs.add()
                fill(blob, array, legacy=True)
                if both:
                    blob.shape.dim.extend(array.shape[::-1])
        return net

    text = INPUTS["layer"] + BODY
    text += 'layer { name: "f" type: "InnerProduct" bottom: "s" top: "f" inner_product_param { num_output: 3 } }'
    judge.write(text, store)
    graph = nuqconv.load(judge.model, judge.weights)
    judge.check(graph)
    judge.check_written(graph)


@pytest.mark.parametrize(
    ("sizes", "rank", "expected"),
    [
        ({"num": 1, "channels": 1, "height": 2, "width": 3}, 2, (2, 3)),
        # Caffe compares with a shape whose missing leading sizes are 1; only those may go.
        ({"num": 2, "channels": 1, "height": 1, "width": 3}, 2, (2, 1, 1, 3)),
        ({"num": 1, "channels": 1, "height": 1, "width": 6}, 1, (6,)),
        ({"num": 1, "channels": 2, "height": 1, "width": 3}, 4, (1, 2, 1, 3)),
        # Where both stand, Caffe goes by the legacy sizes.
        ({"width": 3, "height": 2, "num": 1, "channels": 1, "shape": {"dim": [3, 2]}}, 2, (2, 3)),
        ({}, 0, ()),
    ],
)
def test_legacy_blobs(sizes, rank, expected):
    blob = BlobProto(data=[np.zeros(expected, "<f4").tobytes()], **sizes)
    assert blob_array(blob, rank).shape == expected


@pytest.mark.caffe
@pytest.mark.parametrize(
    "scalar", ['layer { name: "s" type: "Input" top: "s" input_param { shape { } } }', 'input: "s" input_shape { }']
)
@pytest.mark.parametrize("reader", ["Scale", "Bias", "Power"])
def test_inputs_of_one_number(tmp_path, caffe_process, scalar, reader):
    """As Caffe has it, without axes: read, run, written as ONNX, and as Caffe files again."""
    data = (
        "" if reader == "Power" else 'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: [2, 3] } } }'
    )
    bottoms = 'bottom: "s"' if reader == "Power" else 'bottom: "d" bottom: "s"'
    rest = {
        "Scale": "scale_param { axis: 0 }",
        "Bias": "bias_param { axis: 0 }",
        "Power": "power_param { scale: 3 shift: 1 }",
    }
    text = f'{scalar} {data} layer {{ name: "y" type: "{reader}" {bottoms} top: "y" {rest[reader]} }}'
    files = write_net(tmp_path, text, {})
    graph = load_graph(files.model, files.weights)
    assert {item.name: item.shape for item in graph.inputs}["s"] == ()
    feeds = {"s": np.array(-2.5, np.float32), "d": np.arange(6, dtype=np.float32).reshape(2, 3)}
    feeds = {item.name: feeds[item.name] for item in graph.inputs}
    nuqconv.save(graph, tmp_path / "a.onnx")
    nuqconv.save(nuqconv.load(tmp_path / "a.onnx"), tmp_path / "b.prototxt", tmp_path / "b.caffemodel")
    found = [OnnxSession(tmp_path / "a.onnx").run(feeds)["y"]]
    for model in (files.model, tmp_path / "b.prototxt"):
        with Net(model, process=caffe_process) as net:
            found.append(net.run(feeds)["y"])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
