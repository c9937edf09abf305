"""One entry for each operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from nuqconv.backends.onnx.builder import Builder
from nuqconv.ir import Node
from nuqconv.ir.ops import Op

__all__ = ["lowering_for", "lowers"]

_OpT = TypeVar("_OpT", bound=Op)

_LOWERINGS: dict[type[Op], Callable[[Builder, Node, Any], None]] = {}


def lowers(
    op: type[_OpT],
) -> Callable[[Callable[[Builder, Node, _OpT], None]], Callable[[Builder, Node, _OpT], None]]:
    """Registers the decorated function as the way an operator class is written in ONNX."""

    def register(function: Callable[[Builder, Node, _OpT], None]) -> Callable[[Builder, Node, _OpT], None]:
        if op in _LOWERINGS:
            raise ValueError(f"operator {op.__name__} is registered already")
        _LOWERINGS[op] = function
        return function

    return register


def lowering_for(op: Op) -> Callable[[Builder, Node, Any], None] | None:
    """Returns what writes an operator in ONNX, or None."""
    return _LOWERINGS.get(type(op))
