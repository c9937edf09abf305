"""The styles in which a quantized graph is written."""

from __future__ import annotations

from enum import Enum

__all__ = ["Style"]


class Style(Enum):
    """What a quantized graph becomes."""

    FAKE_QUANT = "fake_quant"
    """Stock layers on integers held in floats: any Caffe runs it."""
    DEPLOY = "deploy"
    """Quant and DeQuant layers, int8 and int32 blobs: for the device."""
