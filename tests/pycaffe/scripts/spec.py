"""Nets written in Python, and Caffe's messages."""

import re

import caffe
import numpy as np
from caffe import layers as L
from caffe import params as P
from caffe.coord_map import coord_map_from_to, crop
from caffe.proto import caffe_pb2
from checks import check, finish, model, numbers
from google.protobuf import text_format


def text(message):
    """A message as text; how many digits a number has depends on protobuf's version alone."""
    return re.sub(r": (-?[0-9][0-9.e+-]*)\n", lambda found: ": %.6g\n" % float(found.group(1)), str(message))


def lenet():
    n = caffe.NetSpec()
    n.data, n.label = L.Data(
        batch_size=64, backend=P.Data.LMDB, source="train", transform_param=dict(scale=1.0 / 255), ntop=2
    )
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=dict(type="xavier"))
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(
        n.pool1, num_output=500, weight_filler=dict(type="xavier"), param=[dict(lr_mult=1), dict(lr_mult=2)]
    )
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.score = L.InnerProduct(n.relu1, num_output=10, weight_filler=dict(type="gaussian", std=0.01))
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    return n


@check
def net_spec_as_text():
    return text(lenet().to_proto())


@check
def automatic_names():
    data = L.DummyData(shape=dict(dim=[1, 3, 8, 8]))
    conv = L.Convolution(data, num_output=2, kernel_size=[3, 3])
    return text(caffe.to_proto(L.ReLU(conv), L.Sigmoid(conv)))


@check
def names_of_one_top():
    return text(L.Pooling(L.Input(shape=dict(dim=[1, 1, 4, 4])), global_pooling=True, pool=P.Pooling.AVE).to_proto())


@check
def layer_without_a_top():
    n = caffe.NetSpec()
    n.a, n.b = L.Slice(L.Input(input_param=dict(shape=dict(dim=[2, 4]))), ntop=2, slice_point=[1])
    n.quiet = L.Silence(n.b, ntop=0)
    return text(n.to_proto())


@check
def several_inputs_and_values():
    n = caffe.NetSpec()
    n["a/b"] = L.Input(shape=[dict(dim=[2, 4])])
    n.c = L.Eltwise(n["a/b"], n["a/b"], operation=P.Eltwise.SUM, coeff=[1, -0.5])
    n.d = L.Python(n.c, module="m", layer="l", param_str="{'x': 1}", loss_weight=0.5)
    n.e = L.Scale(n.d, bias_term=True, filler=dict(value=0.001), include=dict(phase=caffe.TRAIN))
    return text(n.to_proto())


@check
def a_net_of_a_spec_runs():
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 2, 6, 6]))
    n.conv = L.Convolution(n.data, num_output=2, kernel_size=3, weight_filler=dict(type="constant", value=0.125))
    n.prob = L.Softmax(n.conv)
    import os

    from checks import WORK

    path = os.path.join(WORK, "spec.prototxt")
    with open(path, "w") as file:
        file.write(str(n.to_proto()))
    return caffe.Net(path, caffe.TEST).forward(data=numbers(1, 2, 6, 6))


@check
def values_of_enumerations():
    return [
        P.Pooling.MAX,
        P.Pooling.AVE,
        P.Eltwise.PROD,
        P.Data.LMDB,
        P.LRN.WITHIN_CHANNEL,
        caffe_pb2.TEST,
        caffe_pb2.TRAIN,
    ]


@check
def crops():
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, 32, 32]))
    n.conv = L.Convolution(n.data, num_output=2, kernel_size=5, stride=2, pad=10)
    n.pool = L.Pooling(n.conv, kernel_size=2, stride=2)
    n.up = L.Deconvolution(n.pool, convolution_param=dict(num_output=2, kernel_size=9, stride=4, bias_term=False))
    n.crop = crop(n.up, n.data)
    return text(n.to_proto())


@check
def coordinates():
    data = L.Input(shape=dict(dim=[1, 3, 32, 32]))
    conv = L.Convolution(data, num_output=2, kernel_size=3, stride=2, pad=1, dilation=2)
    axis, scale, shift = coord_map_from_to(L.Pooling(L.ReLU(conv), kernel_size=2, stride=2), data)
    return [axis, np.array(scale), np.array(shift)]


@check
def coordinates_of_strangers():
    return coord_map_from_to(L.Input(), L.Input())


@check
def crop_of_another_scale():
    data = L.Input(shape=dict(dim=[1, 3, 32, 32]))
    return crop(L.Pooling(data, kernel_size=2, stride=2), data)


@check
def text_into_messages():
    net = caffe_pb2.NetParameter()
    with open(model("lenet.prototxt")) as file:
        text_format.Merge(file.read(), net)
    return [
        net.name,
        [[l.name, l.type, list(l.bottom), list(l.top)] for l in net.layer],
        net.layer[1].convolution_param.num_output,
    ]


@check
def messages_into_text():
    net = caffe_pb2.NetParameter(name="n")
    layer = net.layer.add(name="l", type="Convolution")
    layer.convolution_param.kernel_size.append(3)
    layer.convolution_param.weight_filler.std = 0.01
    layer.blobs.add().data.extend([0.1, 1e-7, 3, 1e10])
    return text(text_format.MessageToString(net))


@check
def weights_are_floats():
    net = caffe_pb2.NetParameter()
    with open(model("lenet.caffemodel"), "rb") as file:
        net.ParseFromString(file.read())
    return {layer.name: [[list(b.shape.dim), np.array(b.data, np.float32)] for b in layer.blobs] for layer in net.layer}


@check
def a_changed_file_runs():
    import os

    from checks import WORK

    net = caffe_pb2.NetParameter()
    with open(model("lenet.caffemodel"), "rb") as file:
        net.ParseFromString(file.read())
    for layer in net.layer:
        for blob in layer.blobs:
            blob.data[0] = 0.5
    path = os.path.join(WORK, "changed.caffemodel")
    with open(path, "wb") as file:
        file.write(net.SerializeToString())
    return caffe.Net(model("lenet.prototxt"), path, caffe.TEST).forward(data=numbers(1, 1, 28, 28))


@check
def solver_messages():
    solver = caffe_pb2.SolverParameter()
    solver.net, solver.base_lr, solver.max_iter = "net.prototxt", 0.01, 100
    solver.test_iter.append(10)
    solver.solver_mode = caffe_pb2.SolverParameter.CPU
    solver.snapshot_format = caffe_pb2.SolverParameter.HDF5
    return [text(solver), solver.momentum2, solver.type]


@check
def defaults():
    layer = caffe_pb2.LayerParameter()
    return [
        layer.convolution_param.bias_term,
        layer.lrn_param.alpha,
        layer.pooling_param.pool,
        layer.data_param.backend,
        layer.batch_norm_param.eps,
        layer.HasField("phase"),
    ]


@check
def old_messages():
    net = caffe_pb2.NetParameter()
    text_format.Merge('layers { name: "c" type: CONVOLUTION blobs_lr: 1 convolution_param { num_output: 3 } }', net)
    return [text(net), net.layers[0].type, caffe_pb2.V1LayerParameter.LayerType.Name(net.layers[0].type)]


finish()
