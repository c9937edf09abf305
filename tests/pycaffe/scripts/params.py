"""Parameters: read, written, shared, saved, loaded."""

import os

import caffe
import numpy as np
from checks import WORK, check, finish, model, numbers

MODEL, WEIGHTS = model("lenet.prototxt"), model("lenet.caffemodel")
X = (numbers(1, 1, 28, 28) + 1) / 2
net = caffe.Net(MODEL, WEIGHTS, caffe.TEST)
before = net.forward(data=X)["prob"].copy()


@check
def writing_a_weight():
    net.params["conv1"][0].data[3] *= 2
    return net.forward(data=X)


@check
def writing_a_bias():
    net.params["ip2"][1].data[...] = numbers(10, seed=2)
    return net.forward(data=X)


@check
def writing_through_layers():
    net.layers[list(net._layer_names).index("ip1")].blobs[1].data[...] += 0.25
    return net.forward(data=X)


@check
def writing_through_a_held_array():
    weight = net.params["conv2"][0].data
    found = []
    for step in range(3):
        weight[...] = weight * 0.9
        found.append(net.forward(data=X)["prob"].copy())
    return found


@check
def writing_between_pass_and_reading():
    net.forward(data=X)
    net.params["conv1"][1].data[...] += 1
    return [net.blobs["conv1"].data, net.blobs["ip1"].data]


@check
def writing_before_a_partial_pass():
    net.forward(data=X)
    net.params["ip2"][0].data[...] *= -1
    return net.forward(start="ip2")


@check
def writing_and_undoing():
    kept = net.params["ip1"][0].data.copy()
    net.params["ip1"][0].data[...] = 0
    none = net.forward(data=X)["prob"].copy()
    net.params["ip1"][0].data[...] = kept
    return [none, net.forward(data=X)]


@check
def loading_again():
    net.copy_from(WEIGHTS)
    return [np.abs(net.forward(data=X)["prob"] - before).max() < 1e-6, net.params["conv1"][0].data]


@check
def loading_some_layers():
    other = caffe.Net(model("part.prototxt"), caffe.TEST)
    other.copy_from(WEIGHTS)
    return [other.forward(data=X), list(other.params)]


@check
def extra_layers_are_ignored():
    return caffe.Net(model("part.prototxt"), WEIGHTS, caffe.TEST).forward(data=X)


@check
def missing_layers_keep_their_fillers():
    other = caffe.Net(model("renamed.prototxt"), WEIGHTS, caffe.TEST)
    return [other.params["fc"][0].data, other.params["fc"][1].data, other.forward(data=X)]


@check
def saving():
    net.params["conv1"][0].data[...] *= 1.5
    path = os.path.join(WORK, "saved.caffemodel")
    net.save(path)
    return [caffe.Net(MODEL, path, caffe.TEST).forward(data=X), net.forward(data=X)]


@check
def what_is_saved():
    from caffe.proto import caffe_pb2

    saved = caffe_pb2.NetParameter()
    with open(os.path.join(WORK, "saved.caffemodel"), "rb") as file:
        saved.ParseFromString(file.read())
    layers = [[layer.name, layer.type, list(layer.bottom), list(layer.top), layer.phase] for layer in saved.layer]
    return [saved.name, layers, [[list(blob.shape.dim) for blob in layer.blobs] for layer in saved.layer]]


@check
def saving_a_net_with_splits():
    from caffe.proto import caffe_pb2

    path = os.path.join(WORK, "split.caffemodel")
    caffe.Net(model("conv.prototxt"), model("conv.caffemodel"), caffe.TEST).save(path)
    saved = caffe_pb2.NetParameter()
    with open(path, "rb") as file:
        saved.ParseFromString(file.read())
    again = caffe.Net(model("conv.prototxt"), path, caffe.TEST)
    return [[layer.name for layer in saved.layer], again.forward(data=numbers(2, 3, 12, 12))]


@check
def sharing_between_nets():
    one, other = caffe.Net(MODEL, WEIGHTS, caffe.TEST), caffe.Net(MODEL, caffe.TEST)
    other.share_with(one)
    first = other.forward(data=X)["prob"].copy()
    one.params["ip2"][1].data[...] += numbers(10, seed=7)
    return [first, other.forward(data=X), one.forward(data=X), other.params["ip2"][1].data]


@check
def sharing_by_name():
    tied = caffe.Net(model("tied.prototxt"), model("tied.caffemodel"), caffe.TEST)
    first = [{name: array.copy() for name, array in tied.forward(data=numbers(2, 3)).items()}]
    tied.params["one"][0].data[...] = numbers(3, 3, seed=8)
    return [first, tied.forward(data=numbers(2, 3)), tied.params["two"][0].data, list(tied.params)]


@check
def net_surgery():
    full = caffe.Net(model("full.prototxt"), caffe.TEST)
    full.params["conv"][0].data.flat = net.params["ip1"][0].data.flat
    full.params["conv"][1].data[...] = net.params["ip1"][1].data
    full.blobs["data"].data[...] = numbers(1, 50, 6, 6)
    return full.forward()


@check
def fillers_that_are_not_random():
    filled = caffe.Net(model("fillers.prototxt"), caffe.TEST)
    return {name: [blob.data for blob in blobs] for name, blobs in filled.params.items()}


@check
def fillers_that_are_random():
    filled = caffe.Net(model("random.prototxt"), caffe.TEST)
    found = {}
    for name, blobs in filled.params.items():
        weight = blobs[0].data
        # Enough numbers that mean and spread tell the distribution.
        found[name] = [list(weight.shape), bool(abs(weight.mean()) < 0.02), round(float(weight.std()) / 0.02)]
    return found


@check
def all_parameters_of_every_type():
    every = caffe.Net(model("types.prototxt"), caffe.TEST)
    return {name: [list(blob.shape) for blob in blobs] for name, blobs in every.params.items()}


finish()
