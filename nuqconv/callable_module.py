"""Modules that can be called like the function of the same name."""

from __future__ import annotations

import importlib
import inspect
import sys
from types import ModuleType
from typing import Any

__all__ = ["function_of", "make_callable"]


class _CallableModule(ModuleType):
    """Lets ``nuqconv.auto_nuq(...)`` and ``nuqconv.auto_nuq.AutoNuqEvaluatorBase`` both work, as in the product it follows."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return function_of(self)(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(function_of(self))


_FUNCTIONS: dict[str, str] = {}


def make_callable(module: str, function: str) -> None:
    """Makes a module that is being imported callable.

    Args:
        module: Its name.
        function: MODULE:NAME of what is called; it is imported at the first call, since it may stand above the module.
    """
    _FUNCTIONS[module] = function
    sys.modules[module].__class__ = _CallableModule


def function_of(module: ModuleType) -> Any:
    """Returns the function that is called when a module of `make_callable` is."""
    home, name = _FUNCTIONS[module.__name__].split(":")
    return getattr(importlib.import_module(home), name)
