"""LSTM and RNN, one step of the former, and what stands around them in nets that read text."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, WrongLayerError, reads, reads_as
from nuqconv.ir.ops import LSTM, RNN, ContinuationIndicator, CTCGreedyDecoder, LSTMUnit, SequenceLSTM
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


_SEQUENCE_STATE = "every run starts from a state of 0; Caffe goes on from where its last forward pass ended unless the second bottom is 0 at first"


@reads(SequenceLSTM, "Lstm", dialects=True)
def read_lstm(layer: Any) -> Reading:
    """Reads ``lstm_param`` of J. Oh's Caffe, whose bottom is (steps, streams, size); ``clipping_threshold`` is for training."""
    param = layer.lstm_param
    if param.num_output == 0:
        raise CannotReadError("num_output must be positive")
    if param.HasField("batch_size"):
        raise CannotReadError("batch_size: steps and streams share an axis of the bottom")
    if len(layer.bottom) not in {1, 2}:
        raise CannotReadError(f"{len(layer.bottom)} bottoms, expected the sequences and perhaps where they go on")
    note = _SEQUENCE_STATE if len(layer.bottom) == 2 else ""
    return Reading(SequenceLSTM(param.num_output), (2, 2, 1), note=note)


# They are stored in ONNX; real nets have some hundreds.
_MOST_INDICATORS = 2**24


@reads(ContinuationIndicator, "ContinuationIndicator", dialects=True)
def read_continuation_indicator(layer: Any) -> Reading:
    """Reads ``continuation_indicator_param``."""
    param = layer.continuation_indicator_param
    if layer.bottom:
        raise CannotReadError("a bottom, which only some forks have")
    if not param.time_step or not param.batch_size:
        raise CannotReadError("time_step and batch_size must be positive")
    if param.time_step * param.batch_size > _MOST_INDICATORS:
        raise CannotReadError(
            f"{param.time_step} steps of {param.batch_size} streams (up to {_MOST_INDICATORS} in all)"
        )
    return Reading(ContinuationIndicator(param.time_step, param.batch_size))


@reads(CTCGreedyDecoder, "CTCGreedyDecoder", dialects=True)
def read_ctc_greedy_decoder(layer: Any) -> Reading:
    """Reads ``ctc_decoder_param``; with three bottoms the layer measures."""
    param = layer.ctc_decoder_param
    if len(layer.bottom) != 2 or len(layer.top) not in {1, 2}:
        raise CannotReadError(
            f"{len(layer.bottom)} bottoms and {len(layer.top)} tops, expected probabilities and indicators, labels and perhaps their scores"
        )
    return Reading(CTCGreedyDecoder(max(param.blank_index, -1), param.ctc_merge_repeated, len(layer.top) == 2))
