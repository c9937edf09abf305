"""Nets for testing: losses, accuracy, data that a script hands over."""

import caffe
import numpy as np
from checks import check, finish, model, numbers

LABELS = np.array([0, 3, 1, 2, 3, 255], np.float32)


@check
def names_of_a_test_net():
    global net
    net = caffe.Net(model("test.prototxt"), model("test.caffemodel"), caffe.TEST)
    return [list(net._layer_names), list(net.blobs), net.outputs, dict(net.blob_loss_weights)]


@check
def losses_and_accuracy():
    return net.forward(data=numbers(6, 5), label=LABELS, target=(numbers(6, 4, seed=1) > 0).astype(np.float32))


@check
def private_forward_returns_the_loss():
    return net._forward(0, len(net.layers) - 1)


@check
def inner_blobs():
    return {name: blob.data for name, blob in net.blobs.items()}


@check
def another_batch_size():
    for name, shape in (("data", (3, 5)), ("label", (3,)), ("target", (3, 4))):
        net.blobs[name].reshape(*shape)
    return net.forward(data=numbers(3, 5, seed=2), label=LABELS[:3], target=numbers(3, 4, seed=3))


@check
def loss_over_images():
    images = caffe.Net(model("segment.prototxt"), caffe.TEST)
    labels = np.arange(2 * 3 * 3).reshape(2, 1, 3, 3) % 4
    return images.forward(data=numbers(2, 4, 3, 3), label=labels)


@check
def dummy_data():
    dummy = caffe.Net(model("dummy.prototxt"), caffe.TEST)
    return [
        dummy.inputs,
        dummy.outputs,
        dummy.forward(),
        {name: list(blob.shape) for name, blob in dummy.blobs.items()},
    ]


@check
def random_dummy_data():
    dummy = caffe.Net(model("random_data.prototxt"), caffe.TEST)
    first = dummy.forward()["out"].copy()
    second = dummy.forward()["out"]
    return [bool((first != second).any()), first.shape, bool(first.min() >= 0), bool(first.max() <= 2)]


finish()
