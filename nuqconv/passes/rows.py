"""Lays the rows of quantized products out as one matrix, the form in which the device knows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nuqconv.ir import Graph, Node
from nuqconv.ir.names import fresh_name
from nuqconv.ir.ops import Dequantize, InnerProduct, Op, Quantize, Reshape

__all__ = ["rows_as_matrix"]


def rows_as_matrix(graph: Graph) -> Graph:
    """Returns a graph that computes the same, whose quantized products have axis 1.

    ::

        x -> Quantize -> InnerProduct (rows) -> Dequantize -> y
        x -> Reshape (-1, K) -> Quantize -> InnerProduct (axis 1) -> Dequantize -> Reshape -> y

    Products that share a Quantize share the Reshape in front of it. All names that were there stay.
    """
    products = {node.name: node for node in graph.nodes if _is_quantized_product(graph, node)}
    if not products:
        return graph
    taken = set(graph.names)
    nodes: list[Node] = []
    quantized: dict[str, str] = {}
    """For a quantized value the same as a matrix."""
    results: dict[str, str] = {}
    """For the sums of a product its dequantized rows."""
    for node in graph.nodes:
        if node.name in products:
            nodes.append(replace(node, op=_first_axis(node.op), inputs=(quantized[node.inputs[0]],)))
            results[node.outputs[0]] = fresh_name(f"{node.name}/products", taken)
        elif node.inputs and node.inputs[0] in results:
            rows = results[node.inputs[0]]
            back = Reshape((-1, *(graph.shapes[node.outputs[0]] or ())[1:]))
            nodes.append(replace(node, op=_first_axis(node.op), outputs=(rows,)))
            name = fresh_name(f"{graph.producer[node.inputs[0]].name}/shape", taken)
            nodes.append(Node(name, back, (rows,), node.outputs))
        else:
            readers = [reader for value in node.outputs for reader in graph.consumers[value] if reader.name in products]
            nodes += _quantizes(graph, node, readers, quantized, taken) if readers else [node]
    return graph.with_nodes(nodes)


def _first_axis(op: Op) -> Op:
    if isinstance(op, InnerProduct):
        return replace(op, axis=1, by_rows=False)
    return replace(op, axis=1) if isinstance(op, Dequantize) else op


def _is_quantized_product(graph: Graph, node: Node) -> bool:
    op = node.op
    if not isinstance(op, InnerProduct) or not op.by_rows:
        return False
    maker, readers = graph.producer.get(node.inputs[0]), graph.consumers[node.outputs[0]]
    known = graph.shapes[node.outputs[0]] is not None and node.outputs[0] not in graph.outputs
    quantized = maker is not None and isinstance(maker.op, Quantize)
    return known and quantized and len(readers) == 1 and isinstance(readers[0].op, Dequantize)


def _quantizes(
    graph: Graph, node: Node, products: Sequence[Node], quantized: dict[str, str], taken: set[str]
) -> list[Node]:
    """Returns a Quantize behind a Reshape to rows, and the one that was there if others read it too."""
    first = products[0]
    width = (graph.shapes[node.outputs[0]] or ())[-1]
    rows = fresh_name(f"{first.name}/rows", taken)
    reshape = Node(rows, Reshape((-1, width)), node.inputs, (rows,))
    value = node.outputs[0]
    if len(products) == len(graph.consumers[value]) and value not in graph.outputs:
        quantized[value] = value
        return [reshape, replace(node, inputs=(rows,))]
    quantized[value] = fresh_name(f"{first.name}_0_quant_layer", taken)
    return [node, reshape, replace(node, name=quantized[value], inputs=(rows,), outputs=(quantized[value],))]
