"""LSTM and RNN."""

from __future__ import annotations

from nuqconv.backends.caffe.emitting.build import LayerBuilder
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import LSTM, RNN

__all__: list[str] = []


@emits(LSTM, RNN, construct="the layer of that name")
def write_recurrent(b: LayerBuilder, op: LSTM | RNN) -> None:
    """The stock layer."""
    fields = {"num_output": op.num_output, "expose_hidden": op.expose_hidden}
    shapes = [item.shape for item in b.outputs]
    b.finish(*b.add_many("", op.kind, b.inputs, shapes, arrays=b.params, recurrent_param=fields))
