"""LSTM, GRU and RNN."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading
from nuqconv.frontends.onnx.registry import converts
from nuqconv.ir.ops import Recurrent
from nuqconv.ir.ops.recurrent import RecurrentCell

__all__: list[str] = []

_CELLS: Mapping[str, RecurrentCell] = {"LSTM": "LSTM", "GRU": "GRU", "RNN": "RNN"}

_USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}

_STATES, _LENGTHS, _PEEPHOLES = (5, 6), 4, 7


@converts(*_CELLS)
def recurrent(reading: Reading, node: NodeView) -> None:
    """Recurrent with ONNX's own tensors."""
    shape, batch_first = reading.shape(node), bool(node.get("layout", 0))
    steps = shape[1 if batch_first else 0]
    if (
        node.has_input(_LENGTHS)
        and (np.asarray(reading.needed(node, _LENGTHS, "lengths of the sequences")) != steps).any()
    ):
        raise CannotConvertError("its sequences have different lengths")
    if node.has_input(_PEEPHOLES) and np.any(reading.needed(node, _PEEPHOLES, "peephole weights")):
        raise CannotConvertError("it has peephole weights")
    if node.get("activation_alpha") or node.get("activation_beta") or node.get("input_forget", 0):
        raise CannotConvertError("its functions have parameters, or it couples input and forget gates")
    cell = _CELLS[node.op_type]
    names = tuple(item.decode() if isinstance(item, bytes) else item for item in node.get("activations", []))
    usual = _USUAL[cell]
    activations = () if names in ((), usual, usual * 2) else names
    has_states = [index for index in _STATES[: 2 if cell == "LSTM" else 1] if node.has_input(index)]
    bias = node.has_input(3)
    hidden = node.get("hidden_size") or reading.needed(node, 2, "weights").shape[-1]
    op = Recurrent(
        cell,
        hidden,
        node.get("direction", "forward"),
        activations,
        batch_first,
        bool(node.get("linear_before_reset", 0)),
        node.get("clip"),
        bias,
        bool(has_states),
    )
    inputs = [reading.value(node, 0)]
    if has_states:
        streams, count = shape[0 if batch_first else 1], op.directions
        state = (streams, count, hidden) if batch_first else (count, streams, hidden)
        for index in _STATES[: op.num_states]:
            if node.has_input(index):
                inputs.append(reading.value(node, index))
            else:
                inputs.append(reading.parameter(f"{node.name}/state{index}", np.zeros(state, np.float32)))
    params = [reading.weight(node, index, what) for index, what in ((1, "weights"), (2, "weights"))]
    if bias:
        params.append(reading.weight(node, 3, "bias"))
    outputs = [node.outputs[index] if index < len(node.outputs) else "" for index in range(1 + op.num_states)]
    reading.add(node, op, inputs, outputs, params)
