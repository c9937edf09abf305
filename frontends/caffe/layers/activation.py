"""Layers on each element."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import Reading, reads
from nuqconv.ir.ops import Identity, Power, ReLU, Sigmoid, Softmax, TanH

__all__: list[str] = []


@reads("ReLU")
def read_relu(layer: Any) -> Reading:
    """Reads ``relu_param``."""
    return Reading(ReLU(layer.relu_param.negative_slope))


@reads("Sigmoid")
def read_sigmoid(layer: Any) -> Reading:
    """A Sigmoid has no parameters that change its result."""
    del layer
    return Reading(Sigmoid())


@reads("TanH")
def read_tanh(layer: Any) -> Reading:
    """A TanH has no parameters that change its result."""
    del layer
    return Reading(TanH())


@reads("Dropout")
def read_dropout(layer: Any) -> Reading:
    """At inference a Dropout passes its input on."""
    del layer
    return Reading(Identity())


@reads("Power")
def read_power(layer: Any) -> Reading:
    """Reads ``power_param``."""
    param = layer.power_param
    return Reading(Power(param.power, param.scale, param.shift))


@reads("Softmax")
def read_softmax(layer: Any) -> Reading:
    """Reads ``softmax_param``."""
    return Reading(Softmax(layer.softmax_param.axis))
