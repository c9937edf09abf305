"""Layers as Caffe's own messages."""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format

from nuqconv.errors import NetError
from nuqconv.frontends.caffe.prototxt import LayerText
from nuqconv.pycaffe.proto import caffe_pb2

__all__ = ["stock_layer"]


def stock_layer(text: LayerText) -> Any:
    """Returns a layer as Caffe's own message, with the fields that only data layers have."""
    net = caffe_pb2.NetParameter()
    layer = caffe_pb2.LayerParameter()
    if text.text is not None:
        try:
            text_format.Parse(text.text, net)
        except text_format.ParseError as error:
            raise NetError(f"layer '{text.message.name}' ({text.message.type}) on line {text.line}: {error}") from error
        layer = net.layer[0]
    else:
        layer.ParseFromString(text.message.SerializeToString())
    layer.bottom[:], layer.top[:] = text.message.bottom, text.message.top
    return layer
