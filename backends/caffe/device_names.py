"""Names of layers as the device's converter takes them.

It refuses a model whose layer names hold anything but ``A-Z a-z 0-9 . / _ -``; names of blobs are free.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from nuqconv.ir import Graph, Node
from nuqconv.ir.names import fresh_name
from nuqconv.ir.ops import Dequantize, Quantize
from nuqconv.quantize.apply import dequant_node_name, quant_node_name

__all__ = ["device_name", "device_named", "device_names"]

_REFUSED = re.compile(r"[^A-Za-z0-9./_-]")


def device_name(name: str, taken: set[str]) -> str:
    """Returns a name that the device takes and nobody has, and adds it to those taken: every character that is refused becomes ``_``."""
    return fresh_name(_REFUSED.sub("_", name) or "layer", taken)


def device_names(graph: Graph) -> dict[str, str]:
    """Returns the names that layers of a float or quantized graph get for the device, of those whose own is refused."""
    taken = {node.name for node in graph.nodes if not _REFUSED.search(node.name)}
    found: dict[str, str] = {}
    for node in graph.nodes:
        if _REFUSED.search(node.name) and not isinstance(node.op, Quantize | Dequantize):
            found[node.name] = device_name(node.name, taken)
    # Quant and DeQuant layers are called by the layer that they belong to.
    for node in graph.nodes:
        if _REFUSED.search(node.name) and isinstance(node.op, Quantize | Dequantize):
            found[node.name] = device_name(_own_name(graph, node, found), taken)
    return found


def device_named(graph: Graph) -> Graph:
    """Returns a graph whose layers have names that the device takes; those of values and blobs stay."""
    names = device_names(graph)
    if not names:
        return graph
    nodes = [_renamed(node, names[node.name]) if node.name in names else node for node in graph.nodes]
    return replace(graph.with_nodes(nodes), storage=graph.storage)


def _own_name(graph: Graph, node: Node, names: dict[str, str]) -> str:
    if isinstance(node.op, Quantize):
        for reader in graph.consumers[node.outputs[0]]:
            if node.name == quant_node_name(reader.name):
                return quant_node_name(names.get(reader.name, reader.name))
    else:
        served = graph.producer.get(node.inputs[0])
        if served is not None and node.name == dequant_node_name(served.name):
            return dequant_node_name(names.get(served.name, served.name))
    return node.name


def _renamed(node: Node, name: str) -> Node:
    origin = node.origin
    if origin is not None and origin.framework == "caffe":
        origin = replace(origin, source=_named(origin.source, name), text=None, blobs=_named(origin.blobs, name))
    return replace(node, name=name, origin=origin)


def _named(message: Any, name: str) -> Any:
    """Returns a copy of a layer's message with another name."""
    if message is None:
        return None
    copy = type(message)()
    copy.CopyFrom(message)
    copy.name = name
    return copy
