"""Backward passes, for which real Caffe is needed."""

import caffe
import numpy as np
from checks import check, finish, model, numbers

net = caffe.Net(model("lenet.prototxt"), model("lenet.caffemodel"), caffe.TEST)
net.forward(data=(numbers(1, 1, 28, 28) + 1) / 2)


@check
def gradient_of_the_input():
    diff = np.zeros((1, 10), np.float32)
    diff[0, 3] = 1
    return net.backward(prob=diff)


@check
def gradients_of_parameters():
    return {name: [blob.diff for blob in blobs] for name, blobs in net.params.items()}


@check
def gradients_are_cleared():
    net.clear_param_diffs()
    return net.params["conv1"][0].diff


@check
def partial_backward():
    net.blobs["ip1"].diff[...] = numbers(1, 500)
    return net.backward(start="relu1", end="conv2", diffs=["pool2"])


@check
def wrong_diffs():
    return net.backward(data=np.zeros((1, 1, 28, 28)))


@check
def forward_and_backward():
    x = (numbers(3, 1, 28, 28) + 1) / 2
    return net.forward_backward_all(data=x, prob=np.tile(np.eye(10, dtype=np.float32)[2], (3, 1)))


finish()
