"""caffe.draw, whose nodes and edges are noted where pycaffe hands them to pydot."""

import sys
import types

NODES, EDGES = [], []


class Dot:
    def __init__(self, name, graph_type, rankdir):
        self.name, self.rankdir = name, rankdir

    def add_node(self, node):
        NODES.append(node)

    def add_edge(self, edge):
        EDGES.append(edge)


class Node:
    def __init__(self, label, **style):
        self.label, self.style = label, style


class Edge:
    def __init__(self, source, target, label):
        self.source, self.target, self.label = source, target, label


sys.modules["pydot"] = types.ModuleType("pydot")
sys.modules["pydot"].__dict__.update(Dot=Dot, Node=Node, Edge=Edge)

import caffe
import caffe.draw
from caffe.proto import caffe_pb2
from checks import check, finish, model
from google.protobuf import text_format


def graph(name, rankdir="LR", **options):
    net = caffe_pb2.NetParameter()
    with open(model(name)) as file:
        text_format.Merge(file.read(), net)
    del NODES[:], EDGES[:]
    found = caffe.draw.get_pydot_graph(net, rankdir, **options)
    if isinstance(found, Dot):
        nodes = [node.label.strip('"') for node in NODES]
        edges = [[edge.source.label.strip('"'), edge.target.label.strip('"'), edge.label.strip('"')] for edge in EDGES]
        colors = {
            node.label.strip('"'): node.style.get("fillcolor") for node in NODES if node.style.get("shape") == "record"
        }
    else:
        labels = {key: label for key, (label, _) in found.nodes.items()}
        nodes = list(labels.values())
        edges = [[labels[source], labels[target], label] for source, target, label in found.edges]
        colors = {label: style["fillcolor"] for label, style in found.nodes.values() if style["shape"] == "record"}
    return [found.name, found.rankdir, sorted(nodes), sorted(edges), sorted(colors)]


@check
def a_plain_net():
    return graph("lenet.prototxt")


@check
def top_to_bottom_with_rates():
    return graph("conv.prototxt", "TB", display_lrm=True)


@check
def without_edge_labels():
    return graph("lenet.prototxt", label_edges=False)


@check
def one_phase():
    return [graph("staged.prototxt", phase=phase) for phase in (caffe.TRAIN, caffe.TEST)]


@check
def labels():
    layer = caffe_pb2.LayerParameter(name="p", type="Pooling")
    layer.pooling_param.pool, layer.pooling_param.kernel_size = caffe_pb2.PoolingParameter.AVE, 3
    return [caffe.draw.get_layer_label(layer, "LR").strip('"'), caffe.draw.get_pooling_types_dict()]


@check
def rates():
    layer = caffe_pb2.LayerParameter(name="c", type="Convolution")
    found = [list(caffe.draw.get_layer_lr_mult(layer))]
    layer.param.add(lr_mult=2)
    found.append(list(caffe.draw.get_layer_lr_mult(layer)))
    layer.param.add(lr_mult=3)
    return found + [list(caffe.draw.get_layer_lr_mult(layer))]


@check
def rates_of_a_layer_without():
    return caffe.draw.get_layer_lr_mult(caffe_pb2.LayerParameter(name="p", type="Pooling"))


finish()
