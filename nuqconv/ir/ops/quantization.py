"""The two operators around a quantized layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nuqconv.ir.ops.base import Op, OpError, Shape, UnaryOp, canonical_axis
from nuqconv.ir.traits import Jumps, QuantizedForm

__all__ = ["MOST_SHIFT", "Dequantize", "Quantize"]

MOST_SHIFT = 16
"""Bits by which sums can be shifted."""


@dataclass(frozen=True)
class Quantize(UnaryOp, traits=(Jumps(), QuantizedForm())):
    """``clip(rint(x * multiplier) + offset, -128, 127)`` as int8; layers that read it compute on ``q - offset``.

    ``multiplier`` is the float32 reciprocal of the step size: it, not the step size, is what a deploy model stores.
    """

    multiplier: float
    offset: int


@dataclass(frozen=True)
class Dequantize(Op, traits=(QuantizedForm(),)):
    """Multiplies an integer result by one float32 step size for each channel, which ``axis`` runs over. Parameter: step sizes (C,).

    ``shifts``, if there are any, are one number of bits for each channel, 1 to 16: the device then holds ``x`` as 16 bits,
    ``clip(round(x / 2**shift), -32768, 32767) * 2**shift``, halves rounded away from 0.
    """

    shifts: tuple[int, ...] = ()
    axis: int = 1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        channels = inputs[0][canonical_axis(self.axis, len(inputs[0]))]
        if len(params) != 1 or params[0] != (channels,):
            raise OpError(f"needs one step size for each of the channels of {inputs[0]}, found {list(params)}")
        if self.shifts and (len(self.shifts) != channels or not all(1 <= bits <= MOST_SHIFT for bits in self.shifts)):
            raise OpError(
                f"needs a shift of 1 to {MOST_SHIFT} bits for each of the channels of {inputs[0]}, found {list(self.shifts)}"
            )
        return (inputs[0],)
