"""The quantization configuration: what is to happen to each layer, as JSON and in its simplified form."""

from nuqconv.config.layers import LayerFacts
from nuqconv.config.load import load_config, parse_config
from nuqconv.config.model import (
    ActivationParams,
    ArqParams,
    HfmgParams,
    IfmrParams,
    LayerConfig,
    NuqParams,
    QuantConfig,
    WeightParams,
)

__all__ = [
    "ActivationParams",
    "ArqParams",
    "HfmgParams",
    "IfmrParams",
    "LayerConfig",
    "LayerFacts",
    "NuqParams",
    "QuantConfig",
    "WeightParams",
    "load_config",
    "parse_config",
]
