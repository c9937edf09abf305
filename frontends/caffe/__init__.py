"""Reads Caffe models."""

from __future__ import annotations

from nuqconv.frontends.caffe.build import load_graph, read_model
from nuqconv.frontends.caffe.phase import NetState

__all__ = ["NetState", "load_graph", "read_model"]
