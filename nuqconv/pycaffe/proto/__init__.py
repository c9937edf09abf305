"""Caffe's messages with stock types."""

from __future__ import annotations

from nuqconv.pycaffe.proto import caffe_pb2

__all__ = ["caffe_pb2"]
