"""The quantization configuration: what is to happen to each layer, as JSON and in its simplified form."""

from nuqconv.config.create import make_config
from nuqconv.config.device import DEFAULT_DDR_RATE, DeviceRule
from nuqconv.config.layers import LayerFacts, suggestion
from nuqconv.config.load import load_config, parse_config, resolve_config
from nuqconv.config.mapping import read_mapping
from nuqconv.config.model import (
    DEFAULT_BATCH_NUM,
    ActivationParams,
    ArqParams,
    HfmgParams,
    IfmrParams,
    LayerConfig,
    NuqParams,
    QuantConfig,
    WeightParams,
    write_config,
)

__all__ = [
    "DEFAULT_BATCH_NUM",
    "DEFAULT_DDR_RATE",
    "ActivationParams",
    "ArqParams",
    "DeviceRule",
    "HfmgParams",
    "IfmrParams",
    "LayerConfig",
    "LayerFacts",
    "NuqParams",
    "QuantConfig",
    "WeightParams",
    "load_config",
    "make_config",
    "parse_config",
    "read_mapping",
    "resolve_config",
    "suggestion",
    "write_config",
]
