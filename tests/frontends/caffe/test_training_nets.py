"""Nets for training and testing, cut down to what a user runs; real Caffe runs the whole net and agrees."""

from __future__ import annotations

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.frontends.caffe import load_graph, read_model
from nuqconv.frontends.caffe.prototxt import read_prototxt
from nuqconv.frontends.options import ReadOptions
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.support.auto import LENET, LENET_WEIGHTS
from tests.support.nets import write_net


def inputs(**shapes):
    return "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ dim: {list(shape)} }} }} }}\n'
        for name, shape in shapes.items()
    )


def layer(kind, bottoms, tops, rest="", name=None):
    blobs = " ".join([*(f'bottom: "{blob}"' for blob in bottoms), *(f'top: "{blob}"' for blob in tops)])
    return f'layer {{ name: "{name or tops[0]}" type: "{kind}" {blobs} {rest} }}\n'


IP = "inner_product_param { num_output: 5 }"
CONV = "convolution_param { num_output: 5 kernel_size: 3 }"
NET = inputs(data=(3, 4), label=(3,)) + layer("InnerProduct", ["data"], ["fc"], IP)
IMAGE_NET = inputs(data=(2, 3, 5, 6), label=(2, 1, 3, 4)) + layer("Convolution", ["data"], ["fc"], CONV)


def kinds(graph):
    return {node.name: node.op.kind for node in graph.nodes}


def input_shapes(graph):
    return {graph.storage_name(item.name): item.shape for item in graph.inputs}


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("net", "tops", "rest", "output"),
    [
        (NET, ["loss"], "", "prob"),
        (NET, ["loss", "p"], "", "p"),
        (NET, ["loss", "p"], "loss_weight: 0.3 loss_weight: 0 loss_param { ignore_label: 2 normalize: false }", "p"),
        (IMAGE_NET, ["loss", "p"], "", "p"),
        (IMAGE_NET.replace("[2, 1, 3, 4]", "[2, 5, 3]"), ["loss", "p"], "softmax_param { axis: -1 }", "p"),
    ],
)
def test_softmax_with_loss(judge, net, tops, rest, output):
    """Caffe runs the deploy form, since in some of its versions a loss with two tops does not load."""
    axis = rest if "axis" in rest else ""
    judge.write(net + layer("Softmax", ["fc"], [output], axis, name="loss"))
    deploy = judge.model.rename(judge.model.with_name("deploy.prototxt"))
    judge.model.write_text(net + layer("SoftmaxWithLoss", ["fc", "label"], tops, rest))
    model = read_model(judge.model, judge.weights, ReadOptions(cut_for_inference=True))
    assert kinds(model.graph)["loss"] == "Softmax"
    assert list(input_shapes(model.graph)) == ["data"]
    assert model.graph.outputs == (output,)
    line = net.count("\n") + 1
    assert model.notes == (
        f"{judge.model}:{line}: layer 'loss' (SoftmaxWithLoss): became Softmax, its result is blob '{output}'",
        f"{judge.model}: input 'label' is left out: nothing that is kept reads it",
    )
    judge.check(model.graph, (deploy, judge.weights))
    judge.check_written(model.graph)


@pytest.mark.caffe
def test_sigmoid_cross_entropy(judge):
    net = NET.replace("[3]", "[3, 5]")
    judge.write(net + layer("SigmoidCrossEntropyLoss", ["fc", "label"], ["loss"]))
    graph = nuqconv.load(judge.model, judge.weights)
    assert (kinds(graph), graph.outputs) == ({"fc": "InnerProduct", "loss": "Sigmoid"}, ("prob",))
    data = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    judge.model.write_text(net + layer("Sigmoid", ["fc"], ["prob"]))
    with judge.net() as caffe:
        theirs = caffe.run({"data": data, "label": np.zeros((3, 5))}, ["prob"])["prob"]
    np.testing.assert_allclose(OnnxSession(graph).run({"data": data})["prob"], theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("text", "left", "given"),
    [
        (NET + layer("Accuracy", ["fc", "label"], ["acc"]), {"fc": "InnerProduct"}, ["data"]),
        (
            NET + layer("Accuracy", ["fc", "label"], ["a", "each"], "accuracy_param { top_k: 2 }"),
            {"fc": "InnerProduct"},
            ["data"],
        ),
        (
            NET.replace("[3]", "[3, 5]") + layer("EuclideanLoss", ["fc", "label"], ["loss"]),
            {"fc": "InnerProduct"},
            ["data"],
        ),
        # The label may come first.
        (
            NET.replace("[3]", "[3, 5]") + layer("EuclideanLoss", ["label", "fc"], ["loss"]),
            {"fc": "InnerProduct"},
            ["data"],
        ),
        (
            NET + layer("HingeLoss", ["fc", "label"], ["loss"], "hinge_loss_param { norm: L2 }"),
            {"fc": "InnerProduct"},
            ["data"],
        ),
        (
            NET + layer("Softmax", ["fc"], ["prob"]) + layer("MultinomialLogisticLoss", ["prob", "label"], ["loss"]),
            {"fc": "InnerProduct", "prob": "Softmax"},
            ["data"],
        ),
        # A Softmax that is there already is not made twice.
        (
            NET + layer("Softmax", ["fc"], ["prob"]) + layer("SoftmaxWithLoss", ["fc", "label"], ["loss"]),
            {"fc": "InnerProduct", "prob": "Softmax"},
            ["data"],
        ),
        # What computes with losses goes with them.
        (
            NET
            + layer("SoftmaxWithLoss", ["fc", "label"], ["loss"])
            + layer("Power", ["loss"], ["half"], "power_param { scale: 0.5 }")
            + layer("Silence", ["half"], [], name="quiet"),
            {"fc": "InnerProduct", "loss": "Softmax"},
            ["data"],
        ),
        # What only prepares labels goes with the label.
        (
            NET.replace("[3]", "[3, 2]")
            + layer("Slice", ["label"], ["l1", "l2"])
            + layer("Flatten", ["l1"], ["f1"])
            + layer("InnerProduct", ["data"], ["fc2"], IP)
            + layer("SoftmaxWithLoss", ["fc", "f1"], ["loss1"])
            + layer("SoftmaxWithLoss", ["fc2", "l2"], ["loss2"], "loss_weight: 0.3"),
            {"fc": "InnerProduct", "fc2": "InnerProduct", "loss1": "Softmax", "loss2": "Softmax"},
            ["data"],
        ),
        # An autoencoder compares with its own input.
        (
            inputs(data=(3, 5))
            + layer("Flatten", ["data"], ["flat"])
            + layer("InnerProduct", ["data"], ["fc"], IP)
            + layer("SigmoidCrossEntropyLoss", ["fc", "flat"], ["loss"]),
            {"fc": "InnerProduct", "loss": "Sigmoid"},
            ["data"],
        ),
        # Two results compared with each other both stay.
        (
            inputs(data=(3, 4), other=(3, 4), sim=(3,))
            + layer("InnerProduct", ["data"], ["fc"], IP)
            + layer("InnerProduct", ["other"], ["fc2"], IP)
            + layer("ContrastiveLoss", ["fc", "fc2", "sim"], ["loss"], "contrastive_loss_param { margin: 1 }"),
            {"fc": "InnerProduct", "fc2": "InnerProduct"},
            ["data", "other"],
        ),
        # A label that the net needs stays.
        (
            NET.replace("[3]", "[3, 5]")
            + layer("Eltwise", ["fc", "label"], ["sum"])
            + layer("EuclideanLoss", ["sum", "label"], ["loss"]),
            {"fc": "InnerProduct", "sum": "Eltwise"},
            ["data", "label"],
        ),
        (
            NET + layer("Silence", ["label"], [], name="s") + layer("Accuracy", ["fc", "label"], ["acc"]),
            {"fc": "InnerProduct"},
            ["data"],
        ),
    ],
)
def test_what_is_left(judge, text, left, given):
    judge.write(text)
    graph = nuqconv.load(judge.model, judge.weights)
    assert kinds(graph) == left
    assert list(input_shapes(graph)) == given
    judge.check(graph)
    judge.check_written(graph)
    with pytest.raises(UnsupportedError, match="is a net for training"):
        load_graph(judge.model, judge.weights)


def test_a_silence_keeps_its_other_bottoms(tmp_path):
    text = NET + layer("Silence", ["fc", "label"], [], name="s") + layer("Accuracy", ["fc", "label"], ["acc"])
    files = write_net(tmp_path, text, {"fc": [np.ones((5, 4)), np.ones(5)]})
    graph = nuqconv.load(files.model, files.weights)
    assert graph.node["s"].inputs == ("fc",)
    assert list(input_shapes(graph)) == ["data"]


def test_inputs_of_the_header(tmp_path):
    text = 'input: "label" input: "data" input_shape { dim: 3 } input_shape { dim: [3, 4] }\n'
    text += layer("InnerProduct", ["data"], ["fc"], IP) + layer("SoftmaxWithLoss", ["fc", "label"], ["loss"])
    files = write_net(tmp_path, text, {"fc": [np.ones((5, 4)), np.ones(5)]})
    assert input_shapes(nuqconv.load(files.model, files.weights)) == {"data": (3, 4)}


def test_names_of_several_results(tmp_path):
    text = NET
    for name in ("b", "c", "d"):
        text += layer("InnerProduct", ["data"], [name], IP) + layer(
            "SoftmaxWithLoss", [name, "label"], [f"loss_{name}"]
        )
    text = text.replace('"d"', '"prob"')
    weights = {name: [np.ones((5, 4)), np.ones(5)] for name in ("fc", "b", "c", "prob")}
    files = write_net(tmp_path, text, weights)
    assert nuqconv.load(files.model, files.weights).outputs == ("fc", "b_prob", "c_prob", "prob_prob")


# What real Caffe can build without a data set, it says the shapes of itself.
MEMORY = "memory_data_param { batch_size: 2 channels: 3 height: 5 width: 6 }"


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        ("MemoryData", MEMORY),
        ("DummyData", "dummy_data_param { shape { dim: [2, 3, 5, 6] } shape { dim: 2 } }"),
        (
            "DummyData",
            "dummy_data_param { shape { dim: [2, 3, 5, 6] } shape { dim: 2 } data_filler { type: 'gaussian' } }",
        ),
        ("DummyData", "dummy_data_param { num: [2, 2] channels: [3, 1] height: [5, 1] width: [6, 1] }"),
        ("DummyData", "dummy_data_param { num: 2 channels: 3 height: 5 width: 6 }"),
    ],
)
def test_data_layers_against_caffe(judge, kind, rest):
    text = layer(kind, [], ["data", "label"], rest, name="d")
    text += layer("Convolution", ["data"], ["fc"], CONV) + layer("Silence", ["label"], [], name="s")
    shapes = judge.write(text)
    model = read_model(judge.model, judge.weights, ReadOptions(cut_for_inference=True))
    assert input_shapes(model.graph) == {"data": shapes["data"]}
    assert model.graph.shapes["fc"] == shapes["fc"]
    assert f"layer 'd' ({kind}): became input 'data' of shape 2x3x5x6 (from its parameters)" in model.notes[1]
    if kind == "DummyData":
        with judge.net() as net:
            theirs = net.run({}, ["data", "fc"])
        ours = OnnxSession(model.graph).run({"data": theirs["data"]})
        np.testing.assert_allclose(ours["fc"], theirs["fc"], rtol=1e-5, atol=1e-5)


@pytest.mark.caffe
@pytest.mark.parametrize(
    "rest",
    ["dummy_data_param { shape { dim: [2, 5] } shape { dim: [2, 5] } }", "dummy_data_param { shape { dim: [2, 5] } }"],
)
def test_labels_that_the_net_needs(judge, rest):
    text = layer("DummyData", [], ["data", "label"], rest, name="d")
    text += layer("InnerProduct", ["data"], ["fc"], IP) + layer("Eltwise", ["fc", "label"], ["sum"])
    shapes = judge.write(text)
    graph = nuqconv.load(judge.model, judge.weights)
    assert input_shapes(graph) == {name: shapes[name] for name in ("data", "label")}


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("rest", "shape"),
    [
        ("", (2, 3, 8, 9)),
        ("new_height: 6 new_width: 7", (2, 3, 6, 7)),
        ("new_height: 6 new_width: 7 is_color: false", (2, 1, 6, 7)),
        ("new_height: 6 new_width: 7 | crop_size: 5", (2, 3, 5, 5)),
    ],
)
def test_image_data_against_caffe(judge, tmp_path, rest, shape):
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 9, 3), np.uint8))
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'a.png'} 0\n")
    param, _, transform = rest.partition("|")
    text = layer(
        "ImageData",
        [],
        ["data", "label"],
        f'image_data_param {{ source: "{tmp_path / "list.txt"}" batch_size: 2 {param} }}',
    )
    text += layer("Convolution", ["data"], ["fc"], CONV)
    text = text.replace("} }\n", f"}} transform_param {{ {transform} }} }}\n", 1)
    shapes = judge.write(text)
    assert shapes["data"] == shape
    given = None if rest else {"data": shape}
    graph = nuqconv.load(judge.model, judge.weights, input_shapes=given)
    assert input_shapes(graph) == {"data": shape}
    assert graph.shapes["fc"] == shapes["fc"]


def _data(kind, rest, channels=3, group=1, between=""):
    text = layer(kind, [], ["data", "label"], rest, name="d") + between
    text += layer("Convolution", ["data"], ["fc"], CONV.replace("}", f"group: {group} }}"))
    return text, {"fc": [np.ones((5 * group // group, channels // group, 3, 3)), np.ones(5)]}


@pytest.mark.parametrize(
    ("kind", "rest", "shape", "source"),
    [
        (
            "Data",
            "data_param { batch_size: 4 } transform_param { crop_size: 7 }",
            (4, 3, 7, 7),
            "from its parameters and the weights of 'fc'",
        ),
        (
            "Data",
            "data_param { batch_size: 4 crop_size: 8 }",
            (4, 3, 8, 8),
            "from its parameters and the weights of 'fc'",
        ),
        (
            "Data",
            "data_param { batch_size: 4 } transform_param { crop_size: 7 mean_value: [1, 2, 3] }",
            (4, 3, 7, 7),
            "from its parameters",
        ),
        (
            "Data",
            "data_param { batch_size: 4 } transform_param { crop_size: 7 force_color: true }",
            (4, 3, 7, 7),
            "from its parameters",
        ),
        (
            "WindowData",
            "window_data_param { batch_size: 4 } transform_param { crop_size: 7 }",
            (4, 3, 7, 7),
            "from its parameters and the weights of 'fc'",
        ),
        (
            "AnnotatedData",
            "data_param { batch_size: 4 } transform_param { mean_value: [1, 2, 3] resize_param { prob: 1 height: 9 width: 8 } }",
            (4, 3, 9, 8),
            "from its parameters",
        ),
    ],
)
def test_shapes_of_data_layers(tmp_path, kind, rest, shape, source):
    text, weights = _data(kind, rest)
    files = write_net(tmp_path, text, weights)
    model = read_model(files.model, files.weights, ReadOptions(cut_for_inference=True))
    assert input_shapes(model.graph) == {"data": shape}
    sizes = "x".join(map(str, shape))
    assert model.notes == (
        f"{files.model}:1: layer 'd' ({kind}): became input 'data' of shape {sizes} ({source})",
        f"{files.model}: input 'label' is left out: nothing that is kept reads it",
    )
    assert "transform_param" not in str(model.graph.node["fc"].origin.text)


def test_channels_behind_other_layers(tmp_path):
    between = layer("Power", ["data"], ["data"], "power_param { scale: 0.1 }", name="scaled")
    between += layer("Pooling", ["data"], ["small"], "pooling_param { kernel_size: 1 }")
    text, weights = _data("Data", "data_param { batch_size: 4 } transform_param { crop_size: 7 }", 1, 1, between)
    text = text.replace('bottom: "data" top: "fc"', 'bottom: "small" top: "fc"')
    files = write_net(tmp_path, text, weights)
    assert input_shapes(nuqconv.load(files.model, files.weights)) == {"data": (4, 1, 7, 7)}


@pytest.mark.parametrize(
    ("kind", "rest", "expected"),
    [
        (
            "Data",
            "data_param { batch_size: 4 }",
            "(only 4x3x?x? is known); give an input shape for 'data', for instance 4x3x224x224 (--input-shape)",
        ),
        (
            "ImageData",
            "image_data_param { batch_size: 4 new_height: 6 }",
            "(only 4x3x6x? is known); give an input shape for 'data', for instance 4x3x6x224 (--input-shape)",
        ),
        (
            "HDF5Data",
            "hdf5_data_param { batch_size: 4 }",
            "(it is that of the data in its files); give an input shape for 'data', for instance 1x3x224x224 (--input-shape)",
        ),
        (
            "VideoData",
            "",
            "(it is that of the data in its files); give an input shape for 'data', for instance 1x3x224x224 (--input-shape)",
        ),
        (
            "DummyData",
            "",
            "(dummy_data_param has no shape); give an input shape for 'data', for instance 1x3x224x224 (--input-shape)",
        ),
        (
            "MemoryData",
            "memory_data_param { batch_size: x }",
            "(batch_size is x, expected an integer); give an input shape for 'data', for instance 1x3x224x224 (--input-shape)",
        ),
    ],
)
def test_shapes_that_must_be_given(tmp_path, kind, rest, expected):
    text, weights = _data(kind, rest)
    files = write_net(tmp_path, text, weights)
    with pytest.raises(ModelError) as caught:
        nuqconv.load(files.model, files.weights)
    assert caught.value.problems == (
        f"{files.model}:1: layer 'd' ({kind}): the file does not say the shape of 'data' {expected}",
    )
    graph = nuqconv.load(files.model, files.weights, input_shapes={"data": (2, 3, 8, 9)})
    assert input_shapes(graph) == {"data": (2, 3, 8, 9)}


def test_python_layers_that_make_data(tmp_path):
    text, weights = _data("Python", "python_param { module: 'm' layer: 'l' }")
    files = write_net(tmp_path, text, weights)
    graph = nuqconv.load(files.model, files.weights, input_shapes={"data": (2, 3, 8, 9)})
    assert input_shapes(graph) == {"data": (2, 3, 8, 9)}
    with pytest.raises(ModelError, match=r"it is made by code.*give an input shape for 'data'.*--input-shape"):
        nuqconv.load(files.model, files.weights)


@pytest.mark.parametrize(
    "kind",
    [
        "SegAccuracy",
        "BboxAccuracy",
        "LabelsequenceAccuracy",
        "EvalDetection",
        "DetectionEvaluate",
        "Yolov3",
        "MaskEvaluation",
    ],
)
def test_what_forks_measure_with_is_cut(tmp_path, kind):
    text, weights = _data("Data", "data_param { batch_size: 2 crop_size: 8 }")
    files = write_net(tmp_path, text + layer(kind, ["fc", "label"], ["measured"], name="m"), weights)
    notes: list[str] = []
    graph = nuqconv.load(files.model, files.weights, notes=notes)
    assert kinds(graph) == {"fc": "Convolution"}
    assert input_shapes(graph) == {"data": (2, 3, 8, 8)}
    assert any(f"'m' ({kind}): removed" in note for note in notes)


def test_a_registered_layer_is_not_cut_for_its_name(tmp_path):
    text = NET + layer("MyAccuracy", ["fc"], ["x"])
    files = write_net(tmp_path, text, {"fc": [np.ones((5, 4)), np.ones(5)]})
    assert "x" not in nuqconv.load(files.model, files.weights).node
    nuqconv.register_layer("MyAccuracy", lambda build, layer: build.node("Relu", layer.inputs))
    try:
        assert "x" in nuqconv.load(files.model, files.weights).node
    finally:
        nuqconv.unregister_layer("MyAccuracy")


def test_a_registered_python_layer_without_bottoms_is_no_data_layer(tmp_path):
    text = layer("Python", [], ["data"], "python_param { module: 'mine' layer: 'Numbers' }", name="d")
    text += layer("InnerProduct", ["data"], ["fc"], IP)
    files = write_net(tmp_path, text, {"fc": [np.ones((5, 4)), np.ones(5)]})
    numbers = np.ones((3, 4), np.float32)
    nuqconv.register_python_layer("mine", "Numbers", lambda _, onnx: onnx.constant(numbers), shape=lambda _: [(3, 4)])
    try:
        assert kinds(nuqconv.load(files.model, files.weights)) == {"d": "Python.mine.Numbers", "fc": "InnerProduct"}
    finally:
        nuqconv.unregister_layer("Python", "mine", "Numbers")
    with pytest.raises(ModelError, match="--input-shape"):
        nuqconv.load(files.model, files.weights)


@pytest.mark.parametrize("old", ["V1", "V0"])
def test_old_training_nets(tmp_path, old):
    fields = {
        "V1": (
            'name: "d" type: DATA data_param { batch_size: 4 crop_size: 7 mirror: true scale: 0.1 }',
            'name: "fc" type: CONVOLUTION convolution_param { num_output: 5 kernel_size: 3 }',
            'name: "loss" type: SOFTMAX_LOSS',
        ),
        "V0": (
            'layer { name: "d" type: "data" batchsize: 4 cropsize: 7 source: "x" meanfile: "y" }',
            'layer { name: "fc" type: "conv" num_output: 5 kernelsize: 3 }',
            'layer { name: "loss" type: "softmax_loss" }',
        ),
    }[old]
    blobs = 'top: "data" top: "label"', 'bottom: "data" top: "fc"', 'bottom: "fc" bottom: "label"'
    text = "\n".join(f"layers {{ {field} {blob} }}" for field, blob in zip(fields, blobs, strict=True))
    files = write_net(tmp_path, text, _data("Data", "")[1])
    graph = nuqconv.load(files.model, files.weights)
    assert input_shapes(graph) == {"data": (4, 3, 7, 7)}
    assert kinds(graph) == {"fc": "Convolution", "loss": "Softmax"}


def test_each_phase(tmp_path):
    text = ""
    for phase, size in (("TRAIN", 7), ("TEST", 9)):
        rest = f"include {{ phase: {phase} }} data_param {{ batch_size: 4 }} transform_param {{ crop_size: {size} }}"
        text += layer("Data", [], ["data", "label"], rest, name="d")
    body, weights = _data("Data", "")
    text += body.partition("\n")[2] + layer("Accuracy", ["fc", "label"], ["a"], "include { phase: TEST }")
    files = write_net(tmp_path, text, weights)
    for phase, size in (("TRAIN", 7), ("TEST", 9)):
        model = read_model(files.model, files.weights, ReadOptions(cut_for_inference=True, phase=phase))
        assert input_shapes(model.graph)["data"] == (4, 3, size, size)


def test_stages_of_the_file(tmp_path):
    text = 'state { stage: "deploy" }\n' + inputs(data=(1, 2))
    text += layer("ReLU", ["data"], ["x"], 'include { stage: "deploy" }') + layer(
        "TanH", ["data"], ["x"], 'exclude { stage: "deploy" }'
    )
    files = write_net(tmp_path, text, {})
    assert kinds(load_graph(files.model, files.weights)) == {"x": "ReLU"}


def test_losses_of_forks(tmp_path):
    files = write_net(
        tmp_path, NET + layer("CenterLoss", ["fc", "label"], ["c"]), {"fc": [np.ones((5, 4)), np.ones(5)]}
    )
    assert kinds(nuqconv.load(files.model, files.weights)) == {"fc": "InnerProduct"}
    assert kinds(load_graph(files.model, files.weights))["c"] == "Opaque"


def test_deploy_nets_stay_as_they_are(tmp_path):
    files = write_net(tmp_path, NET, {"fc": [np.ones((5, 4)), np.ones(5)]})
    model = read_model(files.model, files.weights, ReadOptions(cut_for_inference=True))
    assert (list(input_shapes(model.graph)), model.notes) == (["data", "label"], ())


@pytest.mark.caffe
def test_lenet(judge):
    """Its net for training gives the numbers of its deploy net."""
    train, deploy = LENET / "train.prototxt", LENET / "deploy.prototxt"
    graph = nuqconv.load(train, LENET_WEIGHTS)
    shape = graph.inputs[0].shape
    expected = nuqconv.load(deploy, LENET_WEIGHTS, input_shapes={"data": shape})
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    ours, theirs = (list(OnnxSession(item).run({"data": data}).values()) for item in (graph, expected))
    np.testing.assert_array_equal(ours[0], theirs[0])
    judge.check(graph, (train, LENET_WEIGHTS))
    with pytest.raises(UnsupportedError, match="give the deploy form"):
        nuqconv.create_quant_config(judge.model.with_name("c.json"), train, LENET_WEIGHTS)
    assert read_prototxt(train).notes == ()


SSD = """
layer { name: "data" type: "AnnotatedData" top: "data" top: "label" include { phase: TEST }
  transform_param { mean_value: 104 mean_value: 117 mean_value: 123
  resize_param { prob: 1 resize_mode: WARP height: 12 width: 12 interp_mode: LINEAR } }
  data_param { source: "x" batch_size: 8 backend: LMDB } annotated_data_param { batch_sampler { } label_map_file: "y" } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 12 kernel_size: 3 pad: 1 stride: 4 } }
layer { name: "loc" type: "Convolution" bottom: "conv" top: "loc" convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "locp" type: "Permute" bottom: "loc" top: "locp" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "mbox_loc" type: "Flatten" bottom: "locp" top: "mbox_loc" flatten_param { axis: 1 } }
layer { name: "conf" type: "Convolution" bottom: "conv" top: "conf" convolution_param { num_output: 6 kernel_size: 1 } }
layer { name: "confp" type: "Permute" bottom: "conf" top: "confp" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "mbox_conf" type: "Flatten" bottom: "confp" top: "mbox_conf" flatten_param { axis: 1 } }
layer { name: "prior" type: "PriorBox" bottom: "conv" bottom: "data" top: "prior"
  prior_box_param { min_size: 3 aspect_ratio: 2 flip: false variance: 0.1 } }
layer { name: "r" type: "Reshape" bottom: "mbox_conf" top: "r" reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "sm" type: "Softmax" bottom: "r" top: "sm" softmax_param { axis: 2 } }
layer { name: "fl" type: "Flatten" bottom: "sm" top: "fl" flatten_param { axis: 1 } }
layer { name: "mbox_loss" type: "MultiBoxLoss" bottom: "mbox_loc" bottom: "mbox_conf" bottom: "prior" bottom: "label" top: "mbox_loss"
  include { phase: TRAIN } multibox_loss_param { num_classes: 3 } }
layer { name: "det" type: "DetectionOutput" bottom: "mbox_loc" bottom: "fl" bottom: "prior" top: "det" detection_output_param { num_classes: 3
  nms_param { nms_threshold: 0.4 } keep_top_k: 20 } include { phase: TEST } }
layer { name: "eval" type: "DetectionEvaluate" bottom: "det" bottom: "label" top: "eval" detection_evaluate_param { num_classes: 3 }
  include { phase: TEST } }
"""


@pytest.mark.parametrize("phase", ["TEST", "TRAIN"])
def test_ssd(tmp_path, phase):
    """The loss has three results and a label; the measurement one of both."""
    rng = np.random.default_rng(0)
    sizes = {"conv": (12, 3, 3, 3), "loc": (8, 12, 1, 1), "conf": (6, 12, 1, 1)}
    weights = {name: [rng.standard_normal(shape), rng.standard_normal(shape[0])] for name, shape in sizes.items()}
    text = SSD.replace('top: "label" include { phase: TEST }', 'top: "label"')
    files = write_net(tmp_path, text, weights)
    model = read_model(files.model, files.weights, ReadOptions(cut_for_inference=True, phase=phase))
    assert input_shapes(model.graph) == {"data": (8, 3, 12, 12)}
    assert model.graph.outputs == (("det",) if phase == "TEST" else ("mbox_loc", "prior", "fl"))
    removed = [note.split("layer ")[1] for note in model.notes if "removed" in note]
    kind = "'eval' (DetectionEvaluate)" if phase == "TEST" else "'mbox_loss' (MultiBoxLoss)"
    assert removed == [f"{kind}: removed, it is only for training and testing"]
