"""What the operators have in common that multiply by stored weights, which is what gets quantized."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nuqconv.ir.ops.base import Op

__all__ = ["Weighted"]


class Weighted(Op, abstract=True):
    """A product with a stored weight. Parameters: weight, then bias (num_output,) if ``bias_term``.

    Attributes:
        num_output: Number of output channels.
        axis: Where the channels of the input stand.
        bias_term: Whether there is a bias.
    """

    num_output: int
    axis: int
    bias_term: bool

    quantizable: ClassVar[bool] = True
    scales_by_channel: ClassVar[bool]
    """Whether int8 weights have a step size for each output channel, or one for all."""

    @property
    def weight_output_axis(self) -> int:
        """The axis of the weight that runs over output channels (of one group)."""
        raise NotImplementedError

    def scale_axis(self, *, channel_wise: bool = True) -> int | None:
        """Returns the axis of the weight along which step sizes differ, or None; without ``channel_wise`` there is one for all."""
        return self.weight_output_axis if self.scales_by_channel and channel_wise else None

    def with_bias(self) -> Weighted:
        """Returns the operator with a bias."""
        changed: dict[str, Any] = {"bias_term": True}
        return replace(self, **changed)

    @property
    def groups(self) -> int:
        """How many equal parts the channels are split into, each with weights of its own."""
        return 1

    def windows(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Views an input as what the weight is multiplied with.

        Args:
            x: The input, batch axes first.

        Returns:
            Float32, shape (images, channels, output position..., window element...), with as many axes of positions as of elements.

        Raises:
            OpError: The input does not fit.
        """
        raise NotImplementedError

    def to_matrix(self, weight: NDArray[Any]) -> NDArray[Any]:
        """Views or copies the weight as matrices (groups, outputs of a group, columns) that multiply windows of the input."""
        raise NotImplementedError

    def from_matrix(self, matrix: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Undoes `to_matrix`: returns a C-contiguous weight of a shape."""
        raise NotImplementedError

    def scale_outputs(self, weight: NDArray[np.float64], factor: NDArray[np.float64]) -> NDArray[np.float64]:
        """Multiplies the weights of every output channel by its factor, (num_output,)."""
        return weight * factor.reshape(-1, *([1] * (weight.ndim - 1)))
