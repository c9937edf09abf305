"""Shapes that change."""

import caffe
from checks import check, finish, model, numbers

net = caffe.Net(model("lenet.prototxt"), model("lenet.caffemodel"), caffe.TEST)
small = caffe.Net(model("conv.prototxt"), model("conv.caffemodel"), caffe.TEST)


def all_shapes(of):
    return {name: list(blob.shape) for name, blob in of.blobs.items()}


@check
def reshaped_blob_alone():
    net.blobs["data"].reshape(3, 1, 28, 28)
    return all_shapes(net)


@check
def net_follows():
    net.reshape()
    return all_shapes(net)


@check
def pass_of_a_larger_batch():
    net.blobs["data"].data[...] = numbers(3, 1, 28, 28)
    return net.forward()


@check
def pass_follows_by_itself():
    net.blobs["data"].reshape(5, 1, 28, 28)
    net.blobs["data"].data[...] = numbers(5, 1, 28, 28)
    return [net.forward(), all_shapes(net)]


@check
def pass_of_a_smaller_batch():
    net.blobs["data"].reshape(2, 1, 28, 28)
    return [net.blobs["data"].data, net.forward(), all_shapes(net)]


@check
def back_to_the_larger_batch():
    net.blobs["data"].reshape(5, 1, 28, 28)
    return [net.blobs["data"].data, net.forward(), all_shapes(net)]


@check
def alternating_batches():
    found = []
    for size in (1, 2, 1, 3, 2, 1):
        net.blobs["data"].reshape(size, 1, 28, 28)
        found.append(net.forward(data=numbers(size, 1, 28, 28, seed=size))["prob"].copy())
    return found


@check
def inner_blobs_of_another_batch():
    net.blobs["data"].reshape(2, 1, 28, 28)
    net.forward(data=numbers(2, 1, 28, 28))
    return [net.blobs["conv1"].data, net.blobs["ip1"].data]


@check
def old_values_stay_in_front():
    net.forward(data=numbers(2, 1, 28, 28, seed=9))
    net.blobs["data"].reshape(1, 1, 28, 28)
    net.reshape()
    return [net.blobs["conv1"].data, net.blobs["prob"].data]


@check
def growing_clears():
    net.blobs["data"].reshape(50, 1, 28, 28)
    return net.blobs["data"].data


@check
def fewer_axes():
    net.blobs["ip1"].reshape(2, 7)
    return [list(net.blobs["ip1"].shape), net.blobs["ip1"].height, net.blobs["ip1"].count]


@check
def no_axes():
    net.blobs["ip1"].reshape()
    return [list(net.blobs["ip1"].shape), net.blobs["ip1"].count, net.blobs["ip1"].data]


@check
def many_axes():
    net.blobs["ip1"].reshape(1, 2, 3, 1, 2)
    return [list(net.blobs["ip1"].shape), net.blobs["ip1"].data.shape]


@check
def inner_shape_is_undone_by_a_pass():
    net.forward()
    return all_shapes(net)


@check
def larger_images():
    small.blobs["data"].reshape(1, 3, 16, 20)
    try:
        # The InnerProduct has no weights for that, so only what is before it can run.
        small.forward(end="pool", data=numbers(1, 3, 16, 20))
    finally:
        shapes = all_shapes(small)
    return [shapes, small.blobs["pool"].data]


@check
def shape_is_a_sequence():
    shape = small.blobs["data"].shape
    return [len(shape), shape[0], shape[-1], list(shape)]


@check
def forward_all_in_padded_batches():
    net.blobs["data"].reshape(4, 1, 28, 28)
    net.reshape()
    return net.forward_all(data=numbers(10, 1, 28, 28), blobs=["ip1"])


finish()
