"""Blobs that layers overwrite or share."""

import caffe
from checks import check, finish, model, numbers

X = numbers(2, 3, 12, 12)
net = caffe.Net(model("conv.prototxt"), model("conv.caffemodel"), caffe.TEST)


def values(of):
    return {name: blob.data for name, blob in of.blobs.items()}


@check
def split_layers():
    return [list(net._layer_names), list(net.blobs), [layer.type for layer in net.layers]]


@check
def split_ends():
    return [dict(net.top_names), dict(net.bottom_names)]


@check
def in_place_blobs_hold_the_last_state():
    net.forward(data=X)
    return values(net)


@check
def before_the_in_place_layers():
    return net.forward(end="conv1", data=X)


@check
def after_one_in_place_layer():
    return net.forward(start="bn1", end="bn1")


@check
def after_the_other_in_place_layers():
    return net.forward(start="scale1")


@check
def in_place_again_from_the_middle():
    # The blob holds what the last pass left in it.
    return [net.forward(start="scale1", end="relu1"), net.forward(start="relu1")]


@check
def writing_a_split():
    net.forward(data=X)
    net.blobs["conv1_relu1_0_split_0"].data[...] = 1
    return [net.blobs["conv1"].data, net.blobs["conv1_relu1_0_split_1"].data]


@check
def a_split_is_its_bottom():
    net.forward(data=X)
    net.blobs["conv1"].data[...] = 0.5
    return [net.forward(start="conv2"), net.blobs["conv1_relu1_0_split_1"].data]


shared = caffe.Net(model("shared.prototxt"), caffe.TEST)


@check
def shared_names():
    return [list(shared._layer_names), list(shared.blobs), shared.outputs]


@check
def flatten_and_reshape_share():
    shared.forward(data=numbers(2, 3, 4, 4))
    return values(shared)


@check
def writing_the_flat_blob():
    shared.blobs["flat"].data[0, :3] = [5, 6, 7]
    return values(shared)


@check
def in_place_layer_behind_a_shared_blob():
    # Caffe overwrites what another layer reads under another name.
    overwritten = caffe.Net(model("overwritten.prototxt"), caffe.TEST)
    overwritten.forward(data=numbers(2, 3, 4, 4))
    return values(overwritten)


@check
def partial_pass_through_shared_memory():
    overwritten = caffe.Net(model("overwritten.prototxt"), caffe.TEST)
    overwritten.blobs["data"].data[...] = numbers(2, 3, 4, 4)
    first = overwritten.forward(end="flat")
    first = {name: array.copy() for name, array in first.items()}
    return [first, overwritten.forward(start="relu")]


@check
def dropout_in_place():
    dropped = caffe.Net(model("dropout.prototxt"), caffe.TEST)
    dropped.forward(data=numbers(2, 3, 4, 4))
    return values(dropped)


old = caffe.Net(model("old.prototxt"), caffe.TEST)


@check
def inputs_of_the_header():
    return [list(old._layer_names), list(old.blobs), old.inputs, old.outputs, [layer.type for layer in old.layers]]


@check
def two_inputs():
    return old.forward(a=numbers(2, 3, 4, 5), b=numbers(2, 3, 4, 5, seed=1))


@check
def outputs_are_sorted():
    many = caffe.Net(model("many.prototxt"), caffe.TEST)
    return [many.outputs, many.inputs, many.forward(data=numbers(2, 3, 4, 4))]


@check
def stages_and_levels():
    found = []
    for options in ({}, {"stages": ["deep"]}, {"level": 2}, {"stages": ["deep"], "level": 2}):
        staged = caffe.Net(model("staged.prototxt"), caffe.TEST, **options)
        found.append([list(staged._layer_names), staged.forward(data=numbers(1, 2, 3, 3))])
    return found


@check
def phase_selects_layers():
    return [list(caffe.Net(model("staged.prototxt"), phase)._layer_names) for phase in (caffe.TRAIN, caffe.TEST)]


@check
def parameter_layer():
    given = caffe.Net(model("parameter.prototxt"), caffe.TEST)
    given.params["weight"][0].data[...] = numbers(3, 4)
    return [given.forward(), given.blobs["w"].data, list(given.params), given.inputs]


finish()
