"""Layers that a script defines."""

import caffe
import layers_of_mine
from checks import check, finish, model, numbers

X = numbers(2, 3, 4, 4)


def calls():
    found = list(layers_of_mine.CALLS)
    del layers_of_mine.CALLS[:]
    return found


@check
def calls_of_the_constructor():
    global net
    net = caffe.Net(model("python.prototxt"), caffe.TEST)
    return calls()


@check
def calls_of_a_pass():
    return [net.forward(data=X), calls()]


@check
def calls_of_a_second_pass():
    return [net.forward(data=X * 2), calls()]


@check
def calls_of_a_reshape():
    net.blobs["data"].reshape(1, 3, 2, 2)
    net.reshape()
    return [calls(), {name: list(blob.shape) for name, blob in net.blobs.items()}]


@check
def calls_of_a_pass_of_another_shape():
    net.blobs["data"].reshape(3, 3, 4, 4)
    return [net.forward(data=numbers(3, 3, 4, 4)), calls()]


@check
def calls_of_partial_passes():
    net.forward(end="first")
    first = calls()
    net.forward(start="second")
    return [first, calls(), net.blobs["sum"].data]


@check
def blobs_around():
    return {name: blob.data for name, blob in net.blobs.items()}


@check
def the_object_itself():
    layer = net.layers[list(net._layer_names).index("first")]
    return [layer.type, layer.scale, type(layer).__name__, layer.param_str, int(layer.phase)]


@check
def weights_of_a_layer():
    weighted = caffe.Net(model("python_weights.prototxt"), caffe.TEST)
    first = [[list(blob.shape) for blob in weighted.params["w"]], weighted.forward(data=X)["out"].copy()]
    weighted.params["w"][0].data[...] = [1, 2, 3]
    weighted.params["w"][1].data[...] = 0.5
    return [first, weighted.forward(data=X)]


@check
def two_bottoms_and_tops():
    pair = caffe.Net(model("python_pair.prototxt"), caffe.TEST)
    return [pair.forward(data=X), {name: list(blob.shape) for name, blob in pair.blobs.items()}, pair.outputs]


@check
def wrong_number_of_bottoms():
    return caffe.Net(model("python_one.prototxt"), caffe.TEST)


@check
def a_data_layer():
    source = caffe.Net(model("python_source.prototxt"), caffe.TEST)
    first = source.forward()["out"].copy()
    return [source.inputs, first, source.forward()]


@check
def a_sink():
    sunk = caffe.Net(model("python_sink.prototxt"), caffe.TEST)
    found = [sunk.forward(data=X), sunk.forward(data=-X)]
    return [sunk.outputs, found, sunk.layers[-2].seen, list(sunk._layer_names)]


@check
def shapes_known_only_in_the_pass():
    growing = caffe.Net(model("python_growing.prototxt"), caffe.TEST)
    found = []
    for count in (0, 3, 1, 3):
        growing.blobs["data"].data[...] = count
        result = growing.forward()
        found.append([result["out"].copy(), list(growing.blobs["grown"].shape)])
    return found


@check
def in_place():
    placed = caffe.Net(model("python_in_place.prototxt"), caffe.TEST)
    return [placed.forward(data=X), placed.blobs["data"].data, placed.blobs["power"].data]


@check
def an_error_in_a_layer():
    return caffe.Net(model("python_failing.prototxt"), caffe.TEST).forward(data=X)


@check
def a_layer_that_writes_its_bottom():
    writing = caffe.Net(model("python_writing.prototxt"), caffe.TEST)
    writing.forward(data=X)
    return {name: blob.data for name, blob in writing.blobs.items()}


finish()
