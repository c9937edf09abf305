"""Recurrent layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from onnx import TensorProto, helper

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.parts.operands import reshape_to
from nuqconv.backends.onnx.lowering.parts.steps import Steps
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Array, Node
from nuqconv.ir.ops import LSTM, RNN, ContinuationIndicator, CTCGreedyDecoder, LSTMUnit, Recurrent, SequenceLSTM
from nuqconv.ir.ops.recurrent import StreamRecurrent

__all__: list[str] = []

_Step = Callable[[Builder, Node, Sequence[str], str, str], tuple[list[str], str]]
"""Adds one step: takes the states (N, D), the transformed input (N, gates D) and ``cont`` (N, 1); returns the new states and the output."""


@lowers(LSTM)
def lstm(build: Builder, node: Node, op: LSTM) -> None:
    """Gemm for all steps at once, then a Scan."""
    weight = build.param(node.params[-1])
    split = build.constant(np.full(4, op.num_output, np.int64), node, "split")

    def step(build: Builder, node: Node, states: Sequence[str], x: str, cont: str) -> tuple[list[str], str]:
        hidden, cell = states
        sums = _recur(build, node, hidden, weight, x, cont)
        cell, hidden = _cell(build, node, sums, cell, cont, split, axis=1)
        return [hidden, cell], hidden

    _scan(build, node, op, step)


@lowers(SequenceLSTM)
def sequence_lstm(build: Builder, node: Node, op: SequenceLSTM) -> None:
    """As LSTM, whose parameters stand in another order; without a second input sequences go on behind their first step."""
    cont = node.inputs[1:]
    if not cont:
        steps, streams = build.shape(node.inputs[0])[:2]
        cont = (build.constant(_going_on(steps, streams), node, "cont"),)
    weight, recurrent_weight, bias = node.params
    same = replace(node, inputs=(node.inputs[0], *cont), params=(weight, bias, recurrent_weight))
    lstm(build, same, LSTM(op.num_output))


def _going_on(steps: int, streams: int) -> Array:
    found = np.ones((steps, streams), np.float32)
    found[0] = 0
    return found


@lowers(ContinuationIndicator)
def continuation_indicator(build: Builder, node: Node, op: ContinuationIndicator) -> None:
    """Identity of a constant, so that the value keeps its name."""
    stored = build.constant(_going_on(op.steps, op.streams), node, "value")
    build.node("Identity", [stored], node, output=node.outputs[0])


@lowers(CTCGreedyDecoder)
def ctc_greedy_decoder(build: Builder, node: Node, op: CTCGreedyDecoder) -> None:
    """ArgMax; where what is kept goes is a CumSum, and what is not goes to one place more, which is cut off."""
    length, streams, labels = build.shape(node.inputs[0])[:3]
    steps = Steps(build, node)
    # Steps come last: (N, T).
    x = steps.call("Transpose", steps.to(node.inputs[0], (length, streams, labels)), perm=(1, 0, 2))
    best = steps.to(steps.call("ArgMax", x, axis=2, keepdims=0), (streams, length))
    going = steps.call("Transpose", steps.to(node.inputs[1], (length, streams)), perm=(1, 0))
    axis = steps.constant(np.array(1, np.int64))
    # Whether a step ends the sequence counts for it and those behind it; the first step never does.
    ends = steps.floats(steps.call("Equal", going, steps.number(0.0)))
    later = steps.constant((np.arange(length) > 0).astype(np.float32))
    ended = steps.call("CumSum", steps.call("Mul", ends, later), axis)
    inside = steps.call("Equal", ended, steps.number(0.0))
    blank = steps.integers([op.blank % labels])
    keep = steps.call("And", inside, steps.call("Not", steps.call("Equal", best, blank)))
    if op.merge:
        first = steps.constant(np.full((streams, 1), -1, np.int64))
        before = steps.call("Slice", best, steps.integers([0]), steps.integers([length - 1]), steps.integers([1]))
        repeated = steps.call("Equal", best, steps.call("Concat", first, before, axis=1))
        keep = steps.call("And", keep, steps.call("Not", repeated))
    number = steps.call("Sub", steps.call("CumSum", steps.floats(keep), axis), steps.number(1.0))
    place = steps.whole(steps.call("Where", keep, number, steps.number(float(length))))
    empty = steps.constant(np.full((streams, length + 1), -1, np.float32))
    found = steps.call("ScatterElements", empty, place, steps.floats(best), axis=1)
    found = steps.call("Slice", found, steps.integers([0]), steps.integers([length]), steps.integers([1]))
    reshape_to(build, found, (streams, length, 1, 1), node, node.outputs[0])
    if op.scores:
        most = steps.to(steps.calls("TopK", x, steps.integers([1]), outputs=2, axis=2)[0], (streams, length))
        total = steps.call("ReduceSum", steps.call("Mul", most, steps.floats(inside)), steps.integers([1]))
        reshape_to(build, steps.call("Neg", total), (streams, 1, 1, 1), node, node.outputs[1])


@lowers(LSTMUnit)
def lstm_unit(build: Builder, node: Node, op: LSTMUnit) -> None:
    """The functions of one step."""
    del op
    cell, sums, cont = node.inputs
    _, streams, size = build.dims(cell)
    split = build.constant(np.full(4, size, np.int64), node, "split")
    _cell(build, node, sums, cell, reshape_to(build, cont, (1, streams, 1), node), split, axis=2, outputs=node.outputs)


@lowers(RNN)
def rnn(build: Builder, node: Node, op: RNN) -> None:
    """Gemm for all steps at once, then a Scan."""
    weight, *output = (build.param(name) for name in node.params[-3:])

    def step(build: Builder, node: Node, states: Sequence[str], x: str, cont: str) -> tuple[list[str], str]:
        hidden = build.node("Tanh", [_recur(build, node, states[0], weight, x, cont)], node)
        product = build.node("Gemm", [hidden, *output], node, attributes={"transB": 1})
        return [hidden], build.node("Tanh", [product], node)

    _scan(build, node, op, step)


def _cell(
    build: Builder,
    node: Node,
    sums: str,
    cell: str,
    cont: str,
    split: str,
    *,
    axis: int,
    outputs: Sequence[str | None] = (None, None),
) -> tuple[str, str]:
    """Adds a step from the sums of the gates, which ``split`` parts along ``axis``; returns the new cell and the new hidden state."""
    gates = build.multi_node("Split", [sums, split], node, outputs=(None,) * 4, attributes={"axis": axis})
    enter, forget, leave = (build.node("Sigmoid", [gate], node) for gate in gates[:3])
    new = build.node("Tanh", [gates[3]], node)
    kept = build.node("Mul", [build.node("Mul", [cont, forget], node), cell], node)
    cell = build.node("Add", [kept, build.node("Mul", [enter, new], node)], node, output=outputs[0])
    return cell, build.node("Mul", [leave, build.node("Tanh", [cell], node)], node, output=outputs[1])


def _recur(build: Builder, node: Node, hidden: str, weight: str, x: str, cont: str) -> str:
    kept = build.node("Mul", [hidden, cont], node)
    return build.node("Add", [build.node("Gemm", [kept, weight], node, attributes={"transB": 1}), x], node)


def _scan(build: Builder, node: Node, op: StreamRecurrent, step: _Step) -> None:
    steps, streams = build.dims(node.inputs[0])[:2]
    size, gates = op.num_output, op.num_gates * op.num_output
    sequences = {
        _transformed(build, node, op): (streams, gates),
        reshape_to(build, node.inputs[1], (steps, streams, 1), node): (streams, 1),
    }
    states = _initial(build, node, op, streams)
    inside = [
        *((build.name(node, "state"), (streams, size)) for _ in states),
        *((build.name(node, "step"), shape) for shape in sequences.values()),
    ]
    names = [name for name, _ in inside]
    with build.nested() as body:
        new, output = step(build, node, names[: len(states)], *names[len(states) :])
        # A body's outputs must differ from each other.
        made = build.node("Identity", [output], node) if output in new else output
    graph = helper.make_graph(
        body,
        f"{node.name}/step",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inside],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (streams, size)) for name in (*new, made)],
    )
    *finals, _ = build.multi_node(
        "Scan",
        [*states, *sequences],
        node,
        outputs=(*(None,) * len(states), node.outputs[0]),
        attributes={"body": graph, "num_scan_inputs": 2},
    )
    for final, value in zip(finals, node.outputs[1:], strict=False):
        reshape_to(build, final, (1, streams, size), node, value)


def _transformed(build: Builder, node: Node, op: StreamRecurrent) -> str:
    """Returns the inputs' share of the sums of all steps, (T, N, gates D)."""
    steps, streams = build.dims(node.inputs[0])[:2]
    weights = [build.param(name) for name in node.params]
    flat = build.node("Flatten", node.inputs[:1], node, attributes={"axis": 2})
    product = build.node("Gemm", [flat, *weights[:2]], node, attributes={"transB": 1})
    whole = reshape_to(build, product, (steps, streams, op.num_gates * op.num_output), node)
    if not op.static_input:
        return whole
    static = build.node("Flatten", node.inputs[2:3], node, attributes={"axis": 1})
    return build.node("Add", [whole, build.node("Gemm", [static, weights[2]], node, attributes={"transB": 1})], node)


def _initial(build: Builder, node: Node, op: StreamRecurrent, streams: int) -> list[str]:
    shape = (streams, op.num_output)
    if op.expose_hidden:
        return [reshape_to(build, value, shape, node) for value in node.inputs[len(node.inputs) - op.exposed :]]
    return [build.constant(np.zeros(shape, np.float32), node, "zero") for _ in range(op.num_states)]


@lowers(Recurrent)
def recurrent(build: Builder, node: Node, op: Recurrent) -> None:
    """LSTM, GRU or RNN, with the streams as axis 1: onnxruntime's kernels know no other layout."""
    attributes: dict[str, Attribute] = {"hidden_size": op.hidden, "direction": op.direction}
    if op.activations:
        attributes["activations"] = list(op.activations)
    if op.clip is not None:
        attributes["clip"] = op.clip
    if op.cell == "GRU":
        attributes["linear_before_reset"] = int(op.linear_before_reset)
    params = [build.param(name) for name in node.params]
    biases = params[2:] or [""]
    inputs = list(node.inputs)
    if op.batch_first:
        inputs = [build.node("Transpose", [name], node, attributes={"perm": (1, 0, 2)}) for name in inputs]
    states = ["", *inputs[1:]] if op.states else []
    names = (None,) * len(node.outputs) if op.batch_first else node.outputs
    listed = [inputs[0], *params[:2], *biases, *states]
    while not listed[-1]:
        listed.pop()
    made = build.multi_node(op.cell, listed, node, outputs=names, attributes=attributes)
    if op.batch_first:
        orders = [(2, 0, 1, 3), *((1, 0, 2),) * op.num_states]
        for value, output, order in zip(made, node.outputs, orders, strict=True):
            build.node("Transpose", [value], node, output=output, attributes={"perm": order})
