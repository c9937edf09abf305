"""The text of a graph."""

from __future__ import annotations

import numpy as np

from nuqconv.ir import Graph, Input, Node, Origin, dump
from nuqconv.ir.ops import Concat, Convolution, Dequantize, InnerProduct, Opaque, Pooling, Quantize, ReLU, Scale


def place(line, layer, layer_type):
    return Origin("net.prototxt", line, layer, layer_type, "caffe")


def small() -> Graph:
    convolution = Convolution(4, (3, 3), (2, 2), (1, 1), (1, 1), group=2, bias_term=False)
    unknown = Opaque("PriorBox", "the layer type is not known")
    return Graph(
        "small",
        (Input("data", (2, 4, 8, 8)),),
        (
            Node("q", Quantize(4.0, -128), ("data",), ("q",)),
            Node("conv1", convolution, ("q",), ("acc",), ("conv1/0",), place(5, "conv1", "Convolution")),
            Node("dq", Dequantize(), ("acc",), ("conv1@1",), ("dq/0",)),
            Node("relu1", ReLU(0.5), ("conv1@1",), ("conv1",), origin=place(9, "relu1", "ReLU")),
            Node(
                "pool", Pooling("AVE", global_pooling=True), ("conv1",), ("pool",), origin=place(None, "p", "Pooling")
            ),
            Node("factor", Scale(axis=0), ("pool",), ("factor",), ("one",)),
            Node("boxes", unknown, ("pool", "data"), ("boxes", "more"), origin=place(20, "boxes", "PriorBox")),
            Node("fc", InnerProduct(3), ("factor",), ("fc",), ("fc/0", "fc/1")),
            Node("both", Concat(), ("fc", "boxes"), ("both",)),
        ),
        {
            "conv1/0": np.zeros((4, 2, 3, 3), np.int8),
            "dq/0": np.ones(4, np.float32),
            "one": np.ones((), np.float32),
            "fc/0": np.zeros((3, 4), np.float32),
            "fc/1": np.zeros(3, np.float32),
        },
        ("fc", "both"),
    )


GOLDEN = """\
graph 'small'
  input  data: 2x4x8x8
  q: 2x4x8x8 = Quantize(data) [multiplier=4.0 offset=-128]
  acc: 2x4x4x4 = Convolution(q) [num_output=4 kernel=3x3 stride=2x2 pad=1x1 dilation=1x1 group=2 bias_term=False] {4x2x3x3 int8} 'conv1'
  conv1@1: 2x4x4x4 = Dequantize(acc) {4 float32} 'dq'
  conv1: 2x4x4x4 = ReLU(conv1@1) [negative_slope=0.5] 'relu1'
  pool: 2x4x1x1 = Pooling(conv1) [method=AVE global_pooling=True]
  factor: 2x4x1x1 = Scale(pool) [axis=0] {scalar float32}
  boxes: ?, more: ? = Opaque(pool, data) [layer_type=PriorBox reason=the layer type is not known]
  fc: 2x3 = InnerProduct(factor) [num_output=3] {3x4 float32, 3 float32}
  both: ? = Concat(fc, boxes)
  output fc: 2x3
  output both: ?
"""


def test_golden_text():
    assert dump(small().verify()) == GOLDEN


def test_places():
    lines = dump(small(), places=True).splitlines()
    placed = {line.split(" = ")[0].strip(): line.split("  # ")[1] for line in lines if "  # " in line}
    assert placed == {
        "acc: 2x4x4x4": "net.prototxt:5",
        "conv1: 2x4x4x4": "net.prototxt:9",
        "boxes: ?, more: ?": "net.prototxt:20",
    }
    assert [line.split("  # ")[0] for line in lines] == GOLDEN.splitlines()
