"""Recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import constant, eltwise, join, permuted, reshaped
from nuqconv.backends.caffe.emitting.parts.moves import picked
from nuqconv.backends.caffe.emitting.parts.numbers import inverse_truth
from nuqconv.backends.caffe.emitting.registry import emits, refuses
from nuqconv.ir import Array
from nuqconv.ir.ops import LSTM, RNN, ContinuationIndicator, CTCGreedyDecoder, LSTMUnit, Recurrent, SequenceLSTM

__all__: list[str] = []

_MOST_STEPS = 512

_USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


@emits(LSTM, RNN, construct="the layer of that name")
def write_recurrent(b: LayerBuilder, op: LSTM | RNN) -> None:
    """The stock layer."""
    fields = {"num_output": op.num_output, "expose_hidden": op.expose_hidden}
    shapes = [item.shape for item in b.outputs]
    b.finish(*b.add_many("", op.kind, b.inputs, shapes, arrays=b.params, recurrent_param=fields))


@emits(SequenceLSTM, construct="LSTM, and without a second bottom a Parameter that tells where sequences begin")
def write_sequence_lstm(b: LayerBuilder, op: SequenceLSTM) -> None:
    """The stock layer, whose parameters stand in another order."""
    x, *cont = b.inputs
    weight, recurrent_weight, bias = b.params
    if not cont:
        going_on = np.ones(x.shape[:2], np.float32)
        going_on[0] = 0
        cont = [constant(b, going_on, "cont")]
    arrays = [weight, bias, recurrent_weight]
    fields = {"num_output": op.num_output}
    b.finish(b.add("", "LSTM", [x, *cont], b.outputs[0].shape, arrays=arrays, recurrent_param=fields))


@emits(ContinuationIndicator, construct="Parameter")
def write_continuation_indicator(b: LayerBuilder, op: ContinuationIndicator) -> None:
    """The numbers as stored ones."""
    found = np.ones((op.steps, op.streams), np.float32)
    found[0] = 0
    b.finish(constant(b, found, ""))


refuses(CTCGreedyDecoder, "Intel's Caffe has a CTCGreedyDecoder layer; cut the net before it and decode outside")


@emits(LSTMUnit, construct="LSTMUnit")
def write_lstm_unit(b: LayerBuilder, op: LSTMUnit) -> None:
    """An LSTMUnit."""
    b.finish(*b.add_many("", op.kind, b.inputs, [item.shape for item in b.outputs]))


@emits(
    Recurrent,
    construct="LSTM: LSTM with exposed states; GRU and RNN: InnerProduct over all steps, then for each step Slice, InnerProduct, Sigmoid, TanH, "
    "Eltwise; in reverse, Slice and Concat around it",
    exact="1e-5",
    limits="other activations than the usual ones, clip, GRU and RNN of more than 512 steps",
)
def write_onnx_recurrent(b: LayerBuilder, op: Recurrent) -> None:
    """Each direction by itself."""
    usual = _USUAL[op.cell] * op.directions
    if op.clip is not None or (
        op.activations and tuple(map(str.lower, op.activations)) != tuple(map(str.lower, usual))
    ):
        raise b.refuse("recurrent layers of Caffe have the usual activations and no clip")
    x, *states = b.inputs
    if op.batch_first:
        x = permuted(b, x, (1, 0, 2), "steps_first")
        states = [permuted(b, state, (1, 0, 2), "direction_first") for state in states]
    steps, streams = x.shape[:2]
    if op.cell != "LSTM" and steps > _MOST_STEPS:
        raise b.refuse(f"{op.cell} of {steps} steps is written step by step, which is done for up to {_MOST_STEPS}")
    found = []
    for number in range(op.directions):
        back = op.direction == "reverse" or number == 1
        given = x if not back else picked(b, x, 0, range(steps - 1, -1, -1))
        initial = [_state(b, op, states, index, number, streams) for index in range(op.num_states)]
        every, *last = _CELLS[op.cell](b, op, given, initial, [array[number] for array in b.params])
        if back:
            every = picked(b, every, 0, range(steps - 1, -1, -1))
        found.append([reshaped(b, every, (steps, 1, streams, op.hidden), "direction"), *last])
    every, *last = (join(b, parts, 1 if place == 0 else 0) for place, parts in enumerate(zip(*found, strict=True)))
    if op.batch_first:
        every = permuted(b, every, (2, 0, 1, 3), "streams_first")
        last = [permuted(b, state, (1, 0, 2), "streams_first") for state in last]
    b.finish(every, *last)


def _state(b: LayerBuilder, op: Recurrent, states: Sequence[Blob], index: int, number: int, streams: int) -> Blob:
    """Returns an initial state of one direction, (1, N, H)."""
    if not states:
        return constant(b, np.zeros((1, streams, op.hidden), np.float32), "initial")
    return picked(b, states[index], 0, [number])


def _bias(weights: Sequence[Array]) -> tuple[Array, Array]:
    """Returns the biases of the input's and of the state's products."""
    gates = len(weights[0])
    if len(weights) < 3:
        return np.zeros(gates, np.float32), np.zeros(gates, np.float32)
    return weights[2][:gates], weights[2][gates:]


def _lstm(
    b: LayerBuilder, op: Recurrent, x: Blob, initial: Sequence[Blob], weights: Sequence[Array]
) -> tuple[Blob, ...]:
    """Caffe's layer, whose gates come in another order: i, f, o, g in place of i, o, f, g."""
    steps, streams = x.shape[:2]
    going_on = constant(b, np.ones((steps, streams), np.float32), "continued")
    bias = sum(_bias(weights))

    def ordered(array: Array) -> Array:
        i, o, f, g = np.split(array, 4)
        return np.concatenate([i, f, o, g])

    arrays = [ordered(weights[0]), ordered(np.asarray(bias, np.float32)), ordered(weights[1])]
    every = (steps, streams, op.hidden)
    fields = {"num_output": op.hidden, "expose_hidden": True}
    bottoms = [x, going_on, *initial]
    shapes = [every, *(state.shape for state in initial)]
    return b.add_many("lstm", "LSTM", bottoms, shapes, arrays=arrays, recurrent_param=fields)


def _projected(b: LayerBuilder, x: Blob, weight: Array, bias: Array, purpose: str) -> Blob:
    """A matrix product over the last axis of three."""
    fields = {"num_output": len(weight), "axis": 2}
    arrays = [np.ascontiguousarray(weight), np.ascontiguousarray(bias)]
    return b.add(purpose, "InnerProduct", [x], (*x.shape[:2], len(weight)), arrays=arrays, inner_product_param=fields)


def _parts(b: LayerBuilder, x: Blob, axis: int, count: int, purpose: str) -> Sequence[Blob]:
    if count == 1:
        return [x]
    shape = (*x.shape[:axis], x.shape[axis] // count, *x.shape[axis + 1 :])
    return b.add_many(purpose, "Slice", [x], [shape] * count, slice_param={"axis": axis})


def _activated(b: LayerBuilder, layer_type: str, *terms: Blob) -> Blob:
    total = eltwise(b, "SUM", "total", *terms) if len(terms) > 1 else terms[0]
    return b.add(layer_type.lower(), layer_type, [total], total.shape)


def _rnn(
    b: LayerBuilder, op: Recurrent, x: Blob, initial: Sequence[Blob], weights: Sequence[Array]
) -> tuple[Blob, ...]:
    """``h' = tanh(W x + R h + b)``, step by step."""
    del op
    first, second = _bias(weights)
    (state,), made = initial, []
    for given in _parts(b, _projected(b, x, weights[0], first, "inputs"), 0, x.shape[0], "steps"):
        state = _activated(b, "TanH", given, _projected(b, state, weights[1], second, "state"))
        made.append(state)
    return join(b, made, 0, "every"), state


def _gru(
    b: LayerBuilder, op: Recurrent, x: Blob, initial: Sequence[Blob], weights: Sequence[Array]
) -> tuple[Blob, ...]:
    """``h' = (1 - z) * n + z * h``, step by step."""
    first, second = _bias(weights)
    (state,), made, size = initial, [], op.hidden
    for given in _parts(b, _projected(b, x, weights[0], first, "inputs"), 0, x.shape[0], "steps"):
        update_in, reset_in, new_in = _parts(b, given, 2, 3, "gates")
        if op.linear_before_reset:
            update_h, reset_h, new_h = _parts(b, _projected(b, state, weights[1], second, "state"), 2, 3, "state_gates")
        else:
            both = _projected(b, state, weights[1][: 2 * size], second[: 2 * size], "state")
            update_h, reset_h = _parts(b, both, 2, 2, "state_gates")
        update, reset = _activated(b, "Sigmoid", update_in, update_h), _activated(b, "Sigmoid", reset_in, reset_h)
        if op.linear_before_reset:
            new_h = eltwise(b, "PROD", "reset", reset, new_h)
        else:
            kept = eltwise(b, "PROD", "reset", reset, state)
            new_h = _projected(b, kept, weights[1][2 * size :], second[2 * size :], "new")
        new = _activated(b, "TanH", new_in, new_h)
        fresh = eltwise(b, "PROD", "fresh", inverse_truth(b, update, "rest"), new)
        state = eltwise(b, "SUM", "next", fresh, eltwise(b, "PROD", "old", update, state))
        made.append(state)
    return join(b, made, 0, "every"), state


_CELLS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
