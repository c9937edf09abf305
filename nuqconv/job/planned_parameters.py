"""What the integers of plans stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from nuqconv.ir import Array
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.plan import LayerPlan

__all__ = ["PlannedParameters"]


class PlannedParameters(Mapping[str, tuple[Array, ...]]):
    """Weights, and biases where they are quantized too, that layers have in their plans: float32, in the order of the layers' parameters.

    They are made when they are asked for: all at once would be as large as the model.

    Args:
        quantizer: Holds the float graph and the integers.
        plans: The plans of the layers, which have weights.
    """

    def __init__(self, quantizer: Quantizer, plans: Mapping[str, LayerPlan]) -> None:
        self._quantizer, self._plans = quantizer, plans

    def __getitem__(self, name: str) -> tuple[Array, ...]:
        plan = self._plans[name]
        integers = self._quantizer.layer_integers(name, plan)
        weights = integers.as_floats(getattr(self._quantizer.graph.node[name].op, "weight_output_axis", 0))
        if integers.bias is None or plan.activation is None:
            return (weights,)
        step = np.float64(plan.activation.scale) * integers.scales
        return weights, (integers.bias * step).astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._plans)

    def __len__(self) -> int:
        return len(self._plans)
