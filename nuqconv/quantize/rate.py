"""How many bytes a quantized layer needs.

Source: decision D7 in ``docs/decisions.md``. The device's compressor is not public, so sizes count what any coder can reach.
"""

from __future__ import annotations

from nuqconv.errors import QuantizationError
from nuqconv.quantize.plan import Precision

__all__ = ["bits_per_weight", "layer_bytes"]


def bits_per_weight(levels: int) -> int:
    """Returns ``ceil(log2(levels))``: the bits that tell one of ``levels`` levels; 0 for a single level.

    Raises:
        QuantizationError: ``levels`` is not in [1, 256].
    """
    if not 1 <= levels <= 256:
        raise QuantizationError(f"an int8 layer holds 1 to 256 levels, found {levels}")
    return (levels - 1).bit_length()


def layer_bytes(
    n_weights: int, precision: Precision, *, levels: int | None = None, n_scales: int = 0, n_bias: int = 0
) -> int:
    """Returns the size of a layer in bytes.

    A float layer takes 4 bytes for each weight and bias and has no scales; an int8 layer 1 byte for each weight; a NUQ layer
    `bits_per_weight` bits for each weight, rounded up to whole bytes, and 1 byte for each codebook entry. Scales and int32 biases of
    quantized layers take 4 bytes each.

    Args:
        n_weights: Number of weights.
        precision: How the layer is stored.
        levels: Length of the codebook of a NUQ layer; None for the others.
        n_scales: Number of weight scales.
        n_bias: Number of bias values.

    Raises:
        QuantizationError: ``levels`` is missing for a NUQ layer, given for another, or out of range.
    """
    if (levels is not None) != (precision is Precision.NUQ):
        raise QuantizationError(
            f"a codebook size goes with {Precision.NUQ.value} layers only, found {levels} for {precision.value}"
        )
    if precision is Precision.FLOAT:
        return 4 * (n_weights + n_bias)
    small = 4 * (n_scales + n_bias)
    if levels is None:
        return n_weights + small
    return -(-n_weights * bits_per_weight(levels) // 8) + levels + small
