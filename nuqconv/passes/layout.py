"""Straightens networks whose images have their channels last.

Exports from frameworks with that layout put a transposition in front of and behind every convolution::

    x -> Permute(0,3,1,2) -> Convolution -> Permute(0,2,3,1) -> ReLU -> Concat(3) -> Permute(0,3,1,2) -> Convolution

Every Permute is carried down through operators that work on any layout, and meets the next one, which undoes it::

    x -> Permute(0,3,1,2) -> Convolution -> ReLU -> Concat(1) -> Convolution

What is left stands where an operator needs the layout, or at an output. No arithmetic changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.names import fresh_name
from nuqconv.ir.ops import Bias, Binary, Op, Parameter, Permute, Reduce, Scale

__all__ = ["straighten_layout"]

_Order = tuple[int, ...]


def straighten_layout(graph: Graph) -> Graph:
    """Returns the graph with as few transpositions as carrying them down leaves; the graph itself if that does not make them fewer."""
    if not any(isinstance(node.op, Permute) for node in graph.nodes):
        return graph
    found = _Straightener(graph).run()
    count = sum(isinstance(node.op, Permute) for node in found.nodes)
    return found if count < sum(isinstance(node.op, Permute) for node in graph.nodes) else graph


class _Straightener:
    """Walks the nodes in order; what a Permute makes is only noted, as a value and an order."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.params: dict[str, Array] = dict(graph.params)
        self.pending: dict[str, tuple[str, _Order]] = {}
        self.made: set[str] = {item.name for item in graph.inputs}
        self._names = {*graph.names, *graph.params}
        self.constants = {
            node.outputs[0]: graph.params[node.params[0]] for node in graph.nodes if isinstance(node.op, Parameter)
        }

    def run(self) -> Graph:
        for node in self.graph.nodes:
            if isinstance(node.op, Permute):
                self._permute(node, node.op)
            elif isinstance(node.op, Reduce) and node.inputs[0] in self.pending:
                self._reduce(node, node.op)
            elif not self._carried(node):
                self._keep(node)
        for name in self.graph.outputs:
            self._value(name)
        used = {name for node in self.nodes for name in node.inputs} | set(self.graph.outputs)
        nodes = [node for node in self.nodes if not isinstance(node.op, Parameter) or node.outputs[0] in used]
        return self.graph.with_nodes(nodes, params=self.params)

    def _permute(self, node: Node, op: Permute) -> None:
        shape = self.graph.shapes[node.inputs[0]]
        if shape is None:
            self._keep(node)
            return
        source, first = self.pending.get(node.inputs[0], (node.inputs[0], tuple(range(len(shape)))))
        order = tuple(first[axis] for axis in op.full_order(len(shape)))
        self.pending[node.outputs[0]] = (source, order)

    def _carried(self, node: Node) -> bool:
        """Puts a node in front of the transpositions that it reads, if it can be there."""
        orders = {self.pending[name][1] for name in node.inputs if name in self.pending}
        params = node.params
        # Numbers along one axis are laid along another; along several they would have to be turned.
        along_one = isinstance(node.op, Bias | Scale) and all(self.params[name].ndim == 1 for name in params)
        if (
            (params and not along_one)
            or (isinstance(node.op, Bias | Scale) and len(node.inputs) > 1)
            or len(orders) != 1
        ):
            return False
        (order,) = orders
        if order == tuple(range(len(order))) or any(len(self._shape(name)) != len(order) for name in node.outputs):
            return False
        others = [name for name in node.inputs if name not in self.pending]
        if not all(name in self.constants and isinstance(node.op, Binary) for name in others):
            return False
        moved = node.op.permuted(order)
        if moved is None:
            return False
        if others and self._with_constant(node, node.op, order):
            return True
        inputs = [self.pending[name][0] if name in self.pending else self._turned(name, order) for name in node.inputs]
        self._place(node, moved, inputs, params, order)
        return True

    def _with_constant(self, node: Node, op: Op, order: _Order) -> bool:
        """One number for each channel is a Bias or a Scale."""
        function = op.function if isinstance(op, Binary) else ""
        name = next(name for name in node.inputs if name in self.constants)
        array = _laid_out(self.constants[name], order)
        single = array.size == array.shape[1] if len(order) > 1 else False
        if not single or function not in ("add", "mul") or array.size == 1:
            return False
        param = self._fresh(f"{name}/channels")
        self.params[param] = np.ascontiguousarray(array.reshape(-1))
        source = next(self.pending[item][0] for item in node.inputs if item in self.pending)
        self._place(node, Bias() if function == "add" else Scale(), [source], (param,), order)
        return True

    def _reduce(self, node: Node, op: Reduce) -> None:
        source, order = self.pending[node.inputs[0]]
        rank = len(order)
        axes = {axis % rank for axis in op.axes}
        moved = replace(op, axes=tuple(sorted(order[axis] for axis in axes)))
        if op.keepdims:
            self._place(node, moved, [source], (), order)
            return
        left = [order[axis] for axis in range(rank) if axis not in axes]
        self._place(node, moved, [source], (), tuple(sorted(left).index(axis) for axis in left))

    def _place(self, node: Node, op: Op, inputs: Sequence[str], params: tuple[str, ...], order: _Order) -> None:
        """Adds a node whose outputs are the node's in another order of axes."""
        outputs = []
        for name in node.outputs:
            straight = order == tuple(range(len(order)))
            made = name if straight else self._fresh(f"{name}/straight")
            outputs.append(made)
            if not straight:
                self.pending[name] = (made, order)
        self.made.update(outputs)
        self.nodes.append(replace(node, op=op, inputs=tuple(inputs), outputs=tuple(outputs), params=params))

    def _keep(self, node: Node) -> None:
        inputs = tuple(self._value(name) for name in node.inputs)
        self.made.update(node.outputs)
        self.nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))

    def _value(self, name: str) -> str:
        """Returns a value that is there; the transposition that makes it is added when it is needed first."""
        if name in self.made or name not in self.pending:
            return name
        source, order = self.pending[name]
        if order == tuple(range(len(order))) and name not in self.graph.outputs:
            return source
        maker = self.graph.producer[name]
        taken = {node.name for node in self.nodes}
        label = (
            maker.name if isinstance(maker.op, Permute) and maker.name not in taken else self._fresh(f"{name}/permute")
        )
        self.nodes.append(Node(label, Permute(order), (source,), (name,), origin=maker.origin))
        self.made.add(name)
        return name

    def _turned(self, name: str, order: _Order) -> str:
        """Adds a constant in the layout of what it meets."""
        array = self.constants[name]
        if array.ndim == 0 or array.size == 1:
            return name
        turned = np.ascontiguousarray(_laid_out(array, order))
        made = self._fresh(f"{name}/straight")
        self.params[f"{made}/value"] = turned
        node = Node(f"{made}/constant", Parameter(turned.shape), (), (made,), (f"{made}/value",))
        self.nodes.append(node)
        self.made.add(made)
        return made

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.graph.shapes[name] or ()

    def _fresh(self, name: str) -> str:
        return fresh_name(name, self._names)


def _laid_out(array: Array, order: _Order) -> Array:
    """A constant that broadcasts with a permuted value, so that it broadcasts with the value itself."""
    full = array.reshape((*(1,) * (len(order) - array.ndim), *array.shape))
    turned: Array = full.transpose(np.argsort(order))
    return turned
