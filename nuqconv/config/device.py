"""The device's own choice of layers worth compressing.

The device's compiler compresses the weights of a convolution when reading them takes about as long as computing with them: when
``(weight bytes / ddr_rate) / cycles`` reaches a threshold, where one cycle of the matrix unit multiplies a 16 x 32 block with a 32 x 16 block of
int8. Weights below a size are never worth it, an InnerProduct always is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from nuqconv.config.layers import LayerFacts
from nuqconv.errors import ConfigError

__all__ = ["DEFAULT_DDR_RATE", "DeviceRule"]

# Every rate above 49.2 and up to 160 agrees with the published decisions for the 53 convolutions of ResNet-50. The ratio of a layer
# is inverse to the rate, so the geometric middle is as far from a different decision on either side.
DEFAULT_DDR_RATE = 88.7

_SMALLEST_WEIGHTS = 262_144
_THRESHOLD = 0.8
_ROWS = 16
_DEPTH = 32
_COLUMNS = 16
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class DeviceRule:
    """The rule for one device.

    Attributes:
        ddr_rate: Weight bytes that the memory delivers in one cycle of the matrix unit.

    Raises:
        ConfigError: The rate is not a finite number above 0.
    """

    ddr_rate: float = DEFAULT_DDR_RATE

    def __post_init__(self) -> None:
        rate: object = self.ddr_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not math.isfinite(rate) or rate <= 0:
            raise ConfigError(f"device_rule.ddr_rate: found {rate!r}; expected a finite number above 0")

    def compresses(self, layer: LayerFacts) -> bool:
        """Returns whether the device would compress the layer's weights.

        Args:
            layer: The layer. Whether it is NUQ-capable is not looked at.

        Raises:
            ConfigError: The shapes of a convolution are not known.
        """
        if layer.type == "InnerProduct":
            return True
        if layer.type != "Convolution":
            return False
        if layer.weight_shape is None or len(layer.weight_shape) != 4 or layer.output_spatial is None:
            raise ConfigError(
                f"device_rule: layer {layer.name!r}: found weights of shape {layer.weight_shape} and an output of "
                f"{layer.output_spatial}; the rule needs a 4-D filter and the output's height and width"
            )
        outputs, inputs, height, width = layer.weight_shape
        size = outputs * inputs * height * width
        if size <= _SMALLEST_WEIGHTS or size % _BLOCK:
            return False
        cycles = (
            math.ceil(math.prod(layer.output_spatial) / _ROWS)
            * math.ceil(inputs * height * width / _DEPTH)
            * math.ceil(outputs / _COLUMNS)
        )
        return size / self.ddr_rate >= _THRESHOLD * cycles

    def select(self, layers: Iterable[LayerFacts]) -> tuple[str, ...]:
        """Returns the names of the NUQ-capable layers that the device would compress.

        Raises:
            ConfigError: The shapes of some of them are not known; it names all of these.
        """
        chosen = []
        problems = []
        for layer in layers:
            try:
                if layer.nuq_capable and self.compresses(layer):
                    chosen.append(layer.name)
            except ConfigError as error:
                problems.append(str(error))
        if problems:
            raise ConfigError("the device's rule cannot be applied; give it shapes, or leave it out", problems)
        return tuple(chosen)
