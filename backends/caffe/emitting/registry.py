"""One entry for each operator that is written from what it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.ir.ops import Op

__all__ = ["ELSEWHERE", "EMITTERS", "REFUSALS", "Emitter", "emits", "refuses"]

_Write = TypeVar("_Write", bound=Callable[[LayerBuilder, Any], None])


@dataclass(frozen=True)
class Emitter:
    """How an operator is written.

    Attributes:
        write: Adds the layers.
        construct: The layers in words, for the table of the documentation.
        exact: How exact they are, in words.
        limits: What of the operator is refused, in words; empty if nothing is.
        binds: Whether the layers depend on the numbers of operands, so that constants among these are looked at.
    """

    write: Callable[[LayerBuilder, Any], None]
    construct: str
    exact: str
    limits: str = ""
    binds: bool = False


_EMITTERS: dict[type[Op], Emitter] = {}
EMITTERS: Mapping[type[Op], Emitter] = MappingProxyType(_EMITTERS)
"""The operators that stock layers compute."""

_REFUSALS: dict[type[Op], str] = {}
REFUSALS: Mapping[type[Op], str] = MappingProxyType(_REFUSALS)
"""The operators that no stock layer computes, with the reason and the layers of forks that do."""


ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "DeformConv": "the fork of Deformable ConvNets has a DeformableConvolution layer",
        "MaxRoiPool": "the Fast R-CNN fork has an ROIPooling layer",
        "MaxUnpool": "SegNet's fork has an Upsample layer that takes the mask of a pooling",
        "NonMaxSuppression": "SSD's fork has a DetectionOutput layer, which decodes and suppresses; or cut the net before it and do that outside",
        "RoiAlign": "forks for Mask R-CNN have an ROIAlign layer",
    }
)
"""Layers of forks for types that the graph has no operator for."""


def emits(
    *ops: type[Op], construct: str, exact: str = "the same layer", limits: str = "", binds: bool = False
) -> Callable[[_Write], _Write]:
    """Registers the decorated function as the way operator classes are written; see `Emitter` for the arguments."""

    def register(function: _Write) -> _Write:
        for op in ops:
            if op in _EMITTERS or op in _REFUSALS:
                raise ValueError(f"operator {op.__name__} is registered already")
            _EMITTERS[op] = Emitter(function, construct, exact, limits, binds)
        return function

    return register


def refuses(op: type[Op], reason: str) -> None:
    """Registers why an operator has no form in stock Caffe."""
    if op in _EMITTERS or op in _REFUSALS:
        raise ValueError(f"operator {op.__name__} is registered already")
    _REFUSALS[op] = reason
