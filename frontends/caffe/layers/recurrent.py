"""LSTM and RNN, and one step of the former."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, WrongLayerError, reads, reads_as
from nuqconv.ir.ops import LSTM, RNN, LSTMUnit
from nuqconv.ir.ops.recurrent import StreamRecurrent

__all__: list[str] = []

_TYPES: dict[str, tuple[type[StreamRecurrent], tuple[int, ...]]] = {"LSTM": (LSTM, ()), "RNN": (RNN, (2, 1))}
"""The operator of each layer type, and the ranks of the blobs that it has behind the common ones."""

_STATE = (
    "every run starts from a state of 0; Caffe goes on from where its last forward pass ended unless cont is 0 at the first step "
    "(expose_hidden makes the state an input)"
)


reads_as(LSTMUnit, "LSTMUnit")


@reads((LSTM, RNN), *_TYPES)
def read_recurrent(layer: Any) -> Reading:
    """Reads ``recurrent_param``; the bottoms tell whether there is a static input, and ``debug_info`` only makes Caffe talk.

    Without ``expose_hidden`` every run starts from a state of 0, as Caffe's first forward pass does; a note tells it.
    """
    param = layer.recurrent_param
    make, more = _TYPES[layer.type]
    if param.num_output == 0:
        raise WrongLayerError("num_output must be positive")
    plain = 2 + make.num_states * int(param.expose_hidden)
    if len(layer.bottom) not in (plain, plain + 1):
        raise CannotReadError(f"{len(layer.bottom)} bottoms (expected {plain} or {plain + 1})")
    static = len(layer.bottom) > plain
    op = make(param.num_output, static_input=static, expose_hidden=param.expose_hidden)
    return Reading(op, (2, 1, *(2,) * int(static), 2, *more), note="" if param.expose_hidden else _STATE)
