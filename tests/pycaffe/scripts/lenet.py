"""A plain net: its face, its passes, its blobs."""

import caffe
import numpy as np
from checks import check, finish, model, numbers

caffe.set_mode_cpu()
MODEL, WEIGHTS = model("lenet.prototxt"), model("lenet.caffemodel")
net = caffe.Net(MODEL, WEIGHTS, caffe.TEST)
X = (numbers(4, 1, 28, 28) + 1) / 2


@check
def layer_names():
    return list(net._layer_names)


@check
def blob_names():
    return list(net.blobs)


@check
def blob_names_private():
    return list(net._blob_names)


@check
def param_names():
    return list(net.params)


@check
def ends():
    return [net.inputs, net.outputs, list(net._inputs), list(net._outputs)]


@check
def kinds_of_ends():
    return [type(net.inputs).__name__, type(net.outputs).__name__, type(net.blobs).__name__, type(net.params).__name__]


@check
def types():
    return [layer.type for layer in net.layers]


@check
def layer_dict():
    return [(name, layer.type) for name, layer in net.layer_dict.items()]


@check
def tops():
    return dict(net.top_names)


@check
def bottoms():
    return dict(net.bottom_names)


@check
def ids():
    return [[list(net._top_ids(i)), list(net._bottom_ids(i))] for i in range(len(net.layers))]


@check
def loss_weights():
    return dict(net.blob_loss_weights)


@check
def shapes():
    return {name: list(blob.shape) for name, blob in net.blobs.items()}


@check
def shapes_of_data():
    return {name: list(blob.data.shape) for name, blob in net.blobs.items()}


@check
def shapes_of_diff():
    return {name: list(blob.diff.shape) for name, blob in net.blobs.items()}


@check
def shapes_of_params():
    return {name: [list(blob.shape) for blob in blobs] for name, blobs in net.params.items()}


@check
def blobs_of_layers():
    return [[list(blob.shape) for blob in layer.blobs] for layer in net.layers]


@check
def legacy_sizes():
    return {name: [b.num, b.channels, b.height, b.width, b.count] for name, b in net.blobs.items()}


@check
def legacy_sizes_of_params():
    return [[b.num, b.channels, b.height, b.width, b.count] for blobs in net.params.values() for b in blobs]


@check
def dtype():
    return [
        str(net.blobs["data"].data.dtype),
        net.blobs["data"].data.flags["C_CONTIGUOUS"],
        net.blobs["data"].data.flags["WRITEABLE"],
    ]


@check
def zeros_before_the_first_pass():
    return {name: blob.data for name, blob in net.blobs.items()}


@check
def params():
    return {name: [blob.data for blob in blobs] for name, blobs in net.params.items()}


@check
def first_pass():
    net.blobs["data"].data[...] = X[:1]
    return net.forward()


@check
def all_blobs():
    return {name: blob.data for name, blob in net.blobs.items()}


@check
def pass_with_input():
    return net.forward(data=X[1:2])


@check
def input_is_kept():
    return net.blobs["data"].data


@check
def pass_with_more_blobs():
    return net.forward(blobs=["conv1", "ip1"], data=X[2:3])


@check
def pass_of_float64():
    return net.forward(data=X[3:4].astype(np.float64))


@check
def pass_that_broadcasts():
    return net.forward(data=np.full((1, 1, 1, 1), 0.25))


@check
def pass_to_a_layer():
    net.blobs["data"].data[...] = X[1]
    return net.forward(end="pool1")


@check
def later_blobs_stay():
    return [net.blobs["prob"].data, net.blobs["conv2"].data]


@check
def pass_from_a_layer():
    net.blobs["pool1"].data[...] = numbers(1, 20, 12, 12, seed=3)
    return net.forward(start="conv2")


@check
def earlier_blobs_stay():
    return [net.blobs["conv1"].data, net.blobs["pool1"].data]


@check
def pass_of_the_middle():
    net.blobs["pool2"].data[...] = numbers(1, 50, 4, 4, seed=4)
    return net.forward(start="ip1", end="relu1", blobs=["pool2"])


@check
def pass_of_one_layer():
    net.blobs["ip1"].data[...] = numbers(1, 500, seed=5)
    return net.forward(start="relu1", end="relu1")


@check
def pass_that_ends_before_it_starts():
    return net.forward(start="prob", end="conv1")


@check
def pass_from_a_layer_with_input():
    return net.forward(start="conv1", end="conv1", data=X[2:3])


@check
def private_forward():
    net.blobs["data"].data[...] = X[0]
    return [net._forward(0, len(net.layers) - 1), net.blobs["prob"].data]


@check
def writing_one_number():
    net.blobs["data"].data[0, 0, 3, 4] = 7
    return net.forward()


@check
def writing_flat():
    net.blobs["data"].data.flat[:5] = [1, 2, 3, 4, 5]
    return net.forward()


@check
def writing_by_operator():
    data = net.blobs["data"].data
    data *= 0.5
    data += 0.1
    return net.forward()


@check
def held_array_shows_the_next_pass():
    held = net.blobs["prob"].data
    conv = net.blobs["conv1"].data
    net.forward(data=X[3:4])
    first = [held.copy(), conv.copy()]
    net.forward(data=X[2:3])
    return [first, held, conv]


@check
def returned_array_is_overwritten():
    first = net.forward(data=X[:1])["prob"]
    net.forward(data=X[1:2])
    return first


@check
def a_view_of_a_held_array_shows_the_next_pass():
    row = net.blobs["ip1"].data[0][10:20]
    net.forward(data=X[3:4])
    return row


@check
def blobs_belong_to_the_last_pass():
    net.forward(data=X[:1])
    net.blobs["data"].data[...] = 0
    return [net.blobs["conv1"].data, net.blobs["ip2"].data]


@check
def reading_after_every_pass():
    found = []
    for image in X:
        net.forward(data=image[np.newaxis])
        found.append([net.blobs["ip1"].data.copy(), net.blobs["conv2"].data.sum()])
    return found


@check
def writing_a_result_has_no_effect_on_the_next():
    net.blobs["ip1"].data[...] = 0
    return net.forward(data=X[:1])


@check
def forward_all():
    return net.forward_all(data=X)


@check
def forward_all_with_blobs():
    return net.forward_all(blobs=["ip2"], data=X)


@check
def by_keywords():
    other = caffe.Net(MODEL, caffe.TEST, weights=WEIGHTS)
    return other.forward(data=X[:1])


@check
def by_names():
    other = caffe.Net(network_file=MODEL, phase=caffe.TEST, level=0, stages=None, weights=WEIGHTS)
    return other.forward(data=X[:1])


@check
def by_places():
    other = caffe.Net(MODEL, caffe.TEST, 0, None, WEIGHTS)
    return other.forward(data=X[:1])


@check
def phases():
    return [caffe.TRAIN, caffe.TEST]


@check
def phase_as_number():
    return caffe.Net(MODEL, WEIGHTS, 1).forward(data=X[:1])


@check
def training_phase_of_a_net_without_training():
    return caffe.Net(MODEL, WEIGHTS, caffe.TRAIN).forward(data=X[:1])


@check
def without_weights():
    other = caffe.Net(MODEL, caffe.TEST)
    return [
        {name: [list(b.shape) for b in blobs] for name, blobs in other.params.items()},
        other.params["conv1"][1].data,
    ]


@check
def two_nets_at_once():
    other = caffe.Net(MODEL, WEIGHTS, caffe.TEST)
    other.blobs["data"].data[...] = X[1]
    net.blobs["data"].data[...] = X[2]
    return [other.forward(), net.forward(), other.blobs["conv1"].data]


@check
def callbacks():
    seen = []
    other = caffe.Net(MODEL, WEIGHTS, caffe.TEST)
    other.before_forward(lambda layer: seen.append(["before", layer]))
    other.after_forward(lambda layer: seen.append(["after", layer, float(other.blobs["conv1"].data.sum())]))
    found = other.forward(data=X[:1])
    return [seen, found]


@check
def other_functions():
    caffe.set_random_seed(1)
    caffe.set_mode_cpu()
    return [caffe.solver_count(), caffe.solver_rank(), caffe.has_nccl(), "Convolution" in list(caffe.layer_type_list())]


@check
def timer():
    timer = caffe.Timer()
    timer.start()
    timer.stop()
    return timer.ms >= 0


finish()
