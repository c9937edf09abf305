"""A published ResNet-50."""

import caffe
from checks import check, finish, model, numbers

net = caffe.Net(model("nsfw.prototxt"), model("nsfw.caffemodel"), caffe.TEST)
X = numbers(1, 3, 224, 224) * 100


@check
def names():
    return [list(net._layer_names), list(net.blobs), list(net.params), net.inputs, net.outputs]


@check
def connections():
    return [dict(net.top_names), dict(net.bottom_names), [layer.type for layer in net.layers]]


@check
def shapes():
    return {name: list(blob.shape) for name, blob in net.blobs.items()}


@check
def parameter_shapes():
    return {name: [list(blob.shape) for blob in blobs] for name, blobs in net.params.items()}


@check
def result():
    return net.forward(data=X)


@check
def every_blob():
    return {name: blob.data for name, blob in net.blobs.items()}


@check
def another_result():
    return net.forward(data=X[:, ::-1], blobs=["pool"])


@check
def from_the_middle():
    net.blobs["pool1"].data[...] *= 0.5
    return net.forward(start="conv_stage0_block0_proj_shortcut")


@check
def a_smaller_batch_of_two():
    net.blobs["data"].reshape(2, 3, 224, 224)
    net.blobs["data"].data[...] = numbers(2, 3, 224, 224, seed=1) * 100
    return net.forward()


@check
def a_changed_weight():
    net.params["fc_nsfw"][0].data[...] *= -1
    return net.forward()


finish()
