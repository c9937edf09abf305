"""Recurrent layers, whose state goes on from pass to pass."""

import caffe
import numpy as np
from checks import check, finish, model, numbers

STEPS, STREAMS = 4, 2
X = numbers(STEPS, STREAMS, 5)
GOES_ON, BEGINS = np.ones((STEPS, STREAMS)), np.ones((STEPS, STREAMS))
BEGINS[0] = 0

net = caffe.Net(model("lstm.prototxt"), model("lstm.caffemodel"), caffe.TEST)


def run(of, cont, data=X):
    return {name: array.copy() for name, array in of.forward(data=data, cont=cont).items()}


@check
def names():
    return [list(net._layer_names), list(net.blobs), list(net.params), net.inputs, net.outputs]


@check
def parameters():
    return {name: [blob.data for blob in blobs] for name, blobs in net.params.items()}


@check
def first_pass():
    return run(net, BEGINS)


@check
def state_goes_on():
    return [run(net, GOES_ON), run(net, GOES_ON), run(net, GOES_ON, X * 2)]


@check
def state_begins_again():
    return run(net, BEGINS)


@check
def one_stream_begins_again():
    cont = GOES_ON.copy()
    cont[1, 0] = 0
    return run(net, cont)


@check
def inner_blobs():
    run(net, GOES_ON)
    return {name: blob.data for name, blob in net.blobs.items()}


@check
def step_by_step_is_the_sequence():
    whole = run(net, BEGINS)["fc"]
    steps = caffe.Net(model("lstm_step.prototxt"), model("lstm.caffemodel"), caffe.TEST)
    found = [run(steps, BEGINS[i : i + 1], X[i : i + 1])["fc"] for i in range(STEPS)]
    return [
        whole,
        np.concatenate(found),
        float(np.abs(whole.reshape(-1) - np.concatenate(found).reshape(-1)).max()) < 1e-5,
    ]


@check
def writing_a_weight():
    net.params["lstm"][2].data[...] *= 0.5
    return [run(net, BEGINS), run(net, GOES_ON)]


@check
def a_partial_pass_moves_the_state():
    run(net, BEGINS)
    net.forward(end="lstm")
    net.forward(end="lstm")
    return run(net, GOES_ON)


rnn = caffe.Net(model("rnn.prototxt"), model("rnn.caffemodel"), caffe.TEST)


@check
def rnn_passes():
    return [run(rnn, BEGINS), run(rnn, GOES_ON), run(rnn, BEGINS)]


@check
def exposed_state():
    exposed = caffe.Net(model("exposed.prototxt"), model("lstm.caffemodel"), caffe.TEST)
    start = {"h0": numbers(1, STREAMS, 3, seed=1), "c0": numbers(1, STREAMS, 3, seed=2)}
    return [exposed.forward(data=X, cont=GOES_ON, **start), exposed.inputs, exposed.outputs]


finish()
