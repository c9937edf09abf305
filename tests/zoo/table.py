"""The table of definitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Any

from tests.zoo.net import Net

GROUPS = ("classification", "mobile", "detection", "faces", "segmentation", "pictures", "sequences")
"""The modules that hold them."""


@dataclass(frozen=True)
class Entry:
    """One definition.

    Attributes:
        name: Its name.
        group: What it is for: a module of this package.
        write: Adds the layers to a net.
    """

    name: str
    group: str
    write: Callable[[Net], Any]

    def build(self) -> Net:
        """Makes the net."""
        net = Net(self.name)
        self.write(net)
        return net


_ENTRIES: dict[str, Entry] = {}


def family(**variants: Mapping[str, Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enters variants of an architecture: the name of each, and the arguments that make it."""

    def enter(write: Callable[..., Any]) -> Callable[..., Any]:
        for name, arguments in variants.items():
            if name in _ENTRIES:
                raise ValueError(f"two definitions are called {name}")
            _ENTRIES[name] = Entry(name, write.__module__.rsplit(".", 1)[-1], partial(write, **arguments))
        return write

    return enter


def zoo() -> Mapping[str, Entry]:
    """Returns all definitions by name."""
    for group in GROUPS:
        import_module(f"tests.zoo.{group}")
    return MappingProxyType(_ENTRIES)
