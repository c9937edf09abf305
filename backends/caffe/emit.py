"""Graph -> Caffe layers, in one of the styles of `style`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nuqconv.backends.caffe.device_names import device_names
from nuqconv.backends.caffe.emitting import ELSEWHERE, EMITTERS, REFUSALS, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.bound import Bound
from nuqconv.backends.caffe.ends import is_from_caffe, net_problems, prepared
from nuqconv.backends.caffe.layer import OutputLayer, blob, new_layer
from nuqconv.backends.caffe.style import Style
from nuqconv.errors import UnsupportedError
from nuqconv.frontends.caffe.schema import LayerParameter
from nuqconv.ir import Graph, Node
from nuqconv.ir.ops import Convolution, Deconvolution, Dequantize, InnerProduct, Op, Opaque, Quantize

__all__ = ["Style", "deploy_names", "emit", "emit_node", "input_layers", "refuse", "surroundings"]


def emit(graph: Graph, style: Style = Style.FAKE_QUANT) -> list[OutputLayer]:
    """Returns the layers of a graph in order, Input layers first.

    A node that came from a Caffe file and has not changed is given back to the letter; one from elsewhere becomes the stock layers that
    compute it (`emitting`). A float graph gives the same in all styles.

    Args:
        graph: A float or quantized graph.
        style: What quantized layers become.

    Raises:
        UnsupportedError: Nodes did not come from Caffe and stock layers cannot compute them; all are named.
    """
    problems = net_problems(graph)
    graph = style.layers.named(prepared(graph))
    layers = input_layers(graph, style)
    for node in graph.nodes:
        try:
            layers += emit_node(graph, node, style)
        except UnsupportedError as error:
            problems.append(str(error))
    refuse(graph, problems)
    return layers


def deploy_names(graph: Graph) -> dict[str, str]:
    """Returns the names that layers have in a deploy model where the device refuses their own."""
    return device_names(prepared(graph))


def refuse(graph: Graph, problems: list[str]) -> None:
    """Raises UnsupportedError that lists the nodes without a Caffe form, if there are any."""
    if problems:
        raise UnsupportedError(f"network '{graph.name}' cannot be written as a Caffe model", problems)


def input_layers(graph: Graph, style: Style) -> list[OutputLayer]:
    """Returns the Input layers of a graph."""
    taken = set(graph.node)
    return [_input_layer(graph, number, style, taken) for number in range(len(graph.inputs))]


def emit_node(graph: Graph, node: Node, style: Style) -> list[OutputLayer]:
    """Returns the layers of one node, which depend on the node, its parameters and its `surroundings` only.

    Raises:
        UnsupportedError: The node did not come from Caffe and stock layers cannot compute it.
    """
    writer = _WRITERS.get(type(node.op))
    if writer is None:
        writer = _from_source if is_from_caffe(node) else _from_operator
    return writer(graph, node, style)


def surroundings(graph: Graph, node: Node) -> tuple[object, ...]:
    """Returns what else of the graph the layers of a node depend on: blob names, and the layer that a quantization belongs to."""
    served: tuple[object, ...] = ()
    if isinstance(node.op, Quantize):
        served = tuple(reader.name for reader in graph.consumers[node.outputs[0]][:1])
    elif isinstance(node.op, Dequantize):
        producer = graph.producer.get(node.inputs[0])
        served = () if producer is None else (producer.name, type(producer.op))
    shapes: tuple[object, ...] = ()
    if not is_from_caffe(node):
        # What an operator becomes depends on the shapes, and its helpers' names on those that are taken.
        begin = f"{node.name}/"
        taken = frozenset(name for name in graph.names if name.startswith(begin))
        shapes = (*(graph.shapes[name] for name in (*node.inputs, *node.outputs)), taken)
    return (*_names(graph, node.inputs), *_names(graph, node.outputs), *served, *shapes)


def _from_operator(graph: Graph, node: Node, style: Style) -> list[OutputLayer]:
    """Writes a node from what it computes."""
    kind = type(node.op.op if isinstance(node.op, Bound) else node.op)
    if isinstance(node.op, Opaque):
        fork = ELSEWHERE.get(node.op.layer_type)
        more = "" if fork is None else f"; {fork}"
        raise UnsupportedError(
            f"{node.place}: type '{node.op.layer_type}' has no form in Caffe: {node.op.reason}{more}"
        )
    if kind in REFUSALS:
        raise UnsupportedError(f"{node.place}: {node.op.kind} has no form in stock Caffe: {REFUSALS[kind]}")
    emitter = EMITTERS.get(kind)
    if emitter is None:
        raise UnsupportedError(f"{node.place}: operator {node.op.kind} has no form in stock Caffe")
    build = LayerBuilder(graph, node, style)
    emitter.write(build, build.op)
    return build.layers()


def _input_layer(graph: Graph, number: int, style: Style, taken: set[str]) -> OutputLayer:
    item = graph.inputs[number]
    top = graph.storage_name(item.name)
    message = new_layer(style.layers.input_name(top, taken), "Input", [], [top])
    message.input_param.shape.add().dim.extend(item.shape)
    return OutputLayer(message)


def _names(graph: Graph, values: tuple[str, ...]) -> list[str]:
    return [graph.storage_name(value) for value in values]


def _from_source(graph: Graph, node: Node, style: Style) -> list[OutputLayer]:
    """Gives back the layer that was read, with the bottoms, tops and weights it has now."""
    origin = node.origin
    if origin is None:
        raise TypeError(node)
    bottoms, tops = _names(graph, node.inputs), _names(graph, node.outputs)
    message = LayerParameter()
    message.CopyFrom(origin.source)
    message.ClearField("blobs")
    if isinstance(node.op, Opaque):
        if list(message.bottom) != bottoms or list(message.top) != tops:
            raise UnsupportedError(
                f"{node.place}: its bottoms or tops have changed, and its parameters are not known ({node.op.reason})"
            )
        return [OutputLayer(message, text=origin.text, stored=origin.blobs, unknown=origin.unknown)]
    _set_bias_term(message, node.op)
    del message.bottom[:], message.top[:]
    message.bottom.extend(bottoms)
    message.top.extend(tops)
    arrays = [graph.params[name] for name in node.params]
    if isinstance(node.op, Convolution) and arrays[0].dtype == np.int8:
        # A quantized depthwise layer of a fork is written in its stock form, which every Caffe runs.
        message.type = "Convolution"
        if message.convolution_param.group != node.op.group:
            message.convolution_param.group = node.op.group
    arrays = [style.layers.stored(array) for array in arrays]
    unchanged = _without_blobs(message) == _without_blobs(origin.source)
    text = origin.text if unchanged else None
    return [OutputLayer(message, tuple(blob(array) for array in arrays), text, unknown=origin.unknown)]


def _without_blobs(message: Any) -> bytes:
    if len(message.blobs):
        copy = LayerParameter()
        copy.CopyFrom(message)
        copy.ClearField("blobs")
        message = copy
    return bytes(message.SerializeToString(deterministic=True))


def _set_bias_term(message: Any, op: Op) -> None:
    """Folding can give a layer a bias that it did not have."""
    if isinstance(op, Convolution | Deconvolution) and message.convolution_param.bias_term != op.bias_term:
        message.convolution_param.bias_term = op.bias_term
    if isinstance(op, InnerProduct) and message.inner_product_param.bias_term != op.bias_term:
        message.inner_product_param.bias_term = op.bias_term


_Writer = Callable[[Graph, Node, Style], list[OutputLayer]]

_WRITERS: dict[type[Op], _Writer] = {
    Quantize: lambda graph, node, style: style.layers.quantize(graph, node),
    Dequantize: lambda graph, node, style: style.layers.dequantize(graph, node),
}
"""Operators that are written again wherever they come from."""
