"""What raises, and of which kind; where Caffe ends the process instead, nothing is compared here."""

import caffe
import numpy as np
from checks import check, finish, model, numbers

MODEL, WEIGHTS = model("lenet.prototxt"), model("lenet.caffemodel")
net = caffe.Net(MODEL, WEIGHTS, caffe.TEST)


def raising(name, function):
    function.__name__ = name
    check(function)


raising("no_model_file", lambda: caffe.Net("missing.prototxt", caffe.TEST))
raising("no_model_file_with_weights", lambda: caffe.Net("missing.prototxt", WEIGHTS, caffe.TEST))
raising("no_weights_file", lambda: caffe.Net(MODEL, "missing.caffemodel", caffe.TEST))
raising("no_weights_file_by_keyword", lambda: caffe.Net(MODEL, caffe.TEST, weights="missing.caffemodel"))
raising("no_phase", lambda: caffe.Net(MODEL))
raising("no_arguments", lambda: caffe.Net())
raising("phase_is_no_number", lambda: caffe.Net(MODEL, WEIGHTS, "TEST"))
raising("model_is_no_text", lambda: caffe.Net(3, caffe.TEST))
raising("too_many_arguments", lambda: caffe.Net(MODEL, WEIGHTS, caffe.TEST, 0, None, None))
raising("unknown_keyword", lambda: caffe.Net(MODEL, caffe.TEST, weight=WEIGHTS))
raising("unknown_input", lambda: net.forward(image=numbers(1, 1, 28, 28)))
raising("input_that_is_a_blob", lambda: net.forward(conv1=numbers(1, 20, 24, 24)))
raising("other_batch_size", lambda: net.forward(data=numbers(2, 1, 28, 28)))
raising("other_image_size", lambda: net.forward(data=numbers(1, 1, 28, 27)))
raising("list_as_input", lambda: net.forward(data=[1, 2]))
raising("unknown_start", lambda: net.forward(start="none"))
raising("unknown_end", lambda: net.forward(end="none"))
raising("blob_as_start", lambda: net.forward(start="none"))
raising("unknown_blob_wanted", lambda: net.forward(blobs=["none"]))
raising("unknown_blob", lambda: net.blobs["none"])
raising("unknown_params", lambda: net.params["none"])
raising("layer_without_params", lambda: net.params["pool1"])
raising("third_parameter", lambda: net.params["conv1"][2])
raising("layer_number", lambda: net.layers[99])
raising("unknown_attribute_of_a_blob", lambda: net.blobs["data"].values)
raising("unknown_attribute_of_a_net", lambda: net.weights)
raising("data_is_not_assigned", lambda: setattr(net.blobs["data"], "data", numbers(1, 1, 28, 28)))
raising("shape_is_not_assigned", lambda: setattr(net.blobs["data"], "shape", (1, 1, 28, 28)))
raising("num_is_not_assigned", lambda: setattr(net.blobs["data"], "num", 3))
raising("reshape_by_keyword", lambda: net.blobs["data"].reshape(1, 1, height=28, width=28))
raising("reshape_to_text", lambda: net.blobs["data"].reshape("1", 1, 28, 28))
raising("reshape_to_a_fraction", lambda: net.blobs["data"].reshape(1.5, 1, 28, 28))
raising("writing_a_wrong_shape", lambda: net.blobs["data"].data.__setitem__(Ellipsis, numbers(3, 3)))
raising("input_arrays_of_another_net", lambda: net.set_input_arrays(numbers(1, 1, 28, 28), numbers(1)))
raising("transformer_of_another_input", lambda: caffe.io.Transformer({"data": (1, 3, 4, 4)}).set_mean("x", np.zeros(3)))
raising("mean_of_other_channels", lambda: caffe.io.Transformer({"data": (1, 3, 4, 4)}).set_mean("data", np.zeros(2)))
raising(
    "mean_of_many_axes", lambda: caffe.io.Transformer({"data": (1, 3, 4, 4)}).set_mean("data", np.zeros((1, 3, 4, 4)))
)
raising("transpose_of_other_axes", lambda: caffe.io.Transformer({"data": (1, 3, 4, 4)}).set_transpose("data", (1, 0)))
raising("swap_of_other_channels", lambda: caffe.io.Transformer({"data": (1, 3, 4, 4)}).set_channel_swap("data", (1, 0)))
raising("datum_of_two_axes", lambda: caffe.io.array_to_datum(numbers(2, 3)))
raising("no_such_image", lambda: caffe.io.load_image("missing.png"))
raising("spec_of_a_wrong_input", lambda: caffe.layers.ReLU(3))
raising("spec_of_an_unknown_field", lambda: caffe.to_proto(caffe.layers.ReLU(caffe.layers.Input(), size=3)))
raising("spec_of_an_unknown_top", lambda: caffe.NetSpec().nothing)
raising("unknown_value", lambda: caffe.params.Pooling.MEDIAN)


@check
def still_works():
    return net.forward(data=numbers(1, 1, 28, 28))


finish()
