"""The families of operators, one list for all folders that have a module for each."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType

from nuqconv.ir.ops.base import Op

__all__ = ["FAMILIES", "import_families", "operators"]

FAMILIES = (
    "activation",
    "binary",
    "convolution",
    "custom",
    "detection",
    "elementwise",
    "matrix",
    "merge",
    "normalization",
    "picking",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
    "regions",
    "resize",
    "shape",
)
"""What operators (`nuqconv.ir.ops`), readers, converters, lowerings and emitters are sorted into, under the same name in each folder."""


def import_families(package: str) -> None:
    """Imports the modules of all families that a package has, so that they register what they hold."""
    for family in FAMILIES:
        if find_spec(f"{package}.{family}") is not None:
            import_module(f"{package}.{family}")


def operators() -> Mapping[str, type[Op]]:
    """Returns all operators of the graph by name, in the order of the alphabet."""
    modules = [import_module(f"nuqconv.ir.ops.{family}") for family in FAMILIES]
    found = {
        kind.__name__: kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Op) and not kind.abstract and kind.__module__ == module.__name__
    }
    return MappingProxyType(dict(sorted(found.items())))
