"""Activations."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import Reading, reads, reads_as
from nuqconv.ir.ops import BNLL, ELU, HSigmoid, HSwish, Mish, PReLU, ReLU, Sigmoid, Softmax, Swish, TanH

__all__: list[str] = []


@reads(ReLU, "ReLU")
def read_relu(layer: Any) -> Reading:
    """Reads ``relu_param``."""
    return Reading(ReLU(layer.relu_param.negative_slope))


@reads(Sigmoid, "Sigmoid")
def read_sigmoid(layer: Any) -> Reading:
    """A Sigmoid has no parameters that change its result."""
    del layer
    return Reading(Sigmoid())


@reads(TanH, "TanH")
def read_tanh(layer: Any) -> Reading:
    """A TanH has no parameters that change its result."""
    del layer
    return Reading(TanH())


@reads(Softmax, "Softmax")
def read_softmax(layer: Any) -> Reading:
    """Reads ``softmax_param``."""
    return Reading(Softmax(layer.softmax_param.axis))


reads_as(BNLL, "BNLL")

reads_as(Mish, "Mish", dialects=True)

reads_as(HSwish, "HSwish", "Hswish", "hswish")

# Three forks and OpenCV agree on this form.
reads_as(
    HSwish, "HardSwish", note="read as x * min(max(x + 3, 0), 6) / 6; one fork has x * min(max(0.2 * x + 0.5, 0), 1)"
)

# HardSigmoid is left out: its constants differ from fork to fork.
reads_as(HSigmoid, "HSigmoid", "Hsigmoid", "hsigmoid")


@reads(ELU, "ELU")
def read_elu(layer: Any) -> Reading:
    """Reads ``elu_param``."""
    return Reading(ELU(layer.elu_param.alpha))


@reads(Swish, "Swish")
def read_swish(layer: Any) -> Reading:
    """Reads ``swish_param``."""
    return Reading(Swish(layer.swish_param.beta))


@reads(PReLU, "PReLU")
def read_prelu(layer: Any) -> Reading:
    """Reads ``prelu_param``."""
    shared = layer.prelu_param.channel_shared
    return Reading(PReLU(shared), (0 if shared else 1,))
