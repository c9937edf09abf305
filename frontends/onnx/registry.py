"""One entry for each ONNX operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nuqconv.frontends.onnx.reading import NodeView, Reading
from nuqconv.ir.ops import Op

__all__ = ["Converter", "claimed", "converter_for", "converts", "converts_to"]

Converter = Callable[[Reading, NodeView], None]

_CONVERTERS: dict[str, Converter] = {}


def converts(*op_types: str) -> Callable[[Converter], Converter]:
    """Registers the decorated function as what reads operators; those of another domain are named ``DOMAIN.OP``."""

    def register(function: Converter) -> Converter:
        for op_type in op_types:
            if op_type in _CONVERTERS:
                raise ValueError(f"operator {op_type} is registered already")
            _CONVERTERS[op_type] = function
        return function

    return register


def converts_to(makers: Mapping[str, Callable[[NodeView], Op]]) -> None:
    """Registers operators of one input that are read as one operator each, made by the functions given."""

    def convert(reading: Reading, node: NodeView) -> None:
        reading.add(node, makers[node.op_type](node), (reading.value(node, 0),))

    converts(*makers)(convert)


def converter_for(op_type: str) -> Converter | None:
    """Returns what reads an operator, or None."""
    return _CONVERTERS.get(op_type)


def claimed() -> tuple[str, ...]:
    """Returns the operators that are read, in the order of the alphabet."""
    return tuple(sorted(_CONVERTERS))
