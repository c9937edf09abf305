"""The graph that everything else works on; knows no framework."""

from __future__ import annotations

from nuqconv.ir.dump import dump
from nuqconv.ir.graph import Array, Graph, Input, Node, Stepped, read_only
from nuqconv.ir.origin import Origin

__all__ = ["Array", "Graph", "Input", "Node", "Origin", "Stepped", "dump", "read_only"]
