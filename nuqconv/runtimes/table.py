"""The table of runtimes. Nowhere else is a list of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nuqconv.errors import ConfigError

if TYPE_CHECKING:
    from nuqconv.runtimes.base import Runtime

__all__ = ["DEFAULT", "RUNTIMES", "RuntimeTable", "register", "runtime_named", "unregister"]

# Where each stands; a module is imported when its runtime is asked for, since some cost a tenth of a second.
_OWN = {
    "onnxruntime": "nuqconv.runtimes.onnxruntime.runtime:OnnxRuntime",
    "caffe": "nuqconv.runtimes.caffe.runtime:Caffe",
    "opencv": "nuqconv.runtimes.opencv:OpenCv",
    "caffe2onnx": "nuqconv.runtimes.caffe2onnx:Caffe2Onnx",
}


class RuntimeTable(Mapping[str, "Runtime"]):
    """Runtimes by name, with their options at the defaults."""

    def __init__(self, own: Mapping[str, str]) -> None:
        self._places: dict[str, str] = dict(own)
        self._made: dict[str, Runtime] = {}

    def __getitem__(self, name: str) -> Runtime:
        if name not in self._made:
            module, _, kind = self._places[name].partition(":")
            self._made[name] = getattr(import_module(module), kind)()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._made or name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter((*self._places, *(name for name in self._made if name not in self._places)))

    def __len__(self) -> int:
        return len(self._places.keys() | self._made.keys())

    def add(self, runtime: Runtime) -> None:
        """Enters a runtime under its name.

        Raises:
            ConfigError: The name is taken.
        """
        if runtime.name in self:
            raise ConfigError(f"runtime '{runtime.name}' is there already; give yours another name")
        self._made[runtime.name] = runtime

    def remove(self, name: str) -> None:
        """Takes out a runtime that was added.

        Raises:
            ConfigError: There is none of that name, or it is one of nuqconv's own.
        """
        if name not in self._made or name in self._places:
            raise ConfigError(f"runtime '{name}' was not registered, so it cannot be taken out")
        del self._made[name]


RUNTIMES = RuntimeTable(_OWN)
"""The runtimes by name."""

DEFAULT = next(iter(_OWN))
"""The one that needs no set-up."""


def runtime_named(name: str, **options: Any) -> Runtime:
    """Returns a runtime.

    Args:
        name: A name in `RUNTIMES`.
        **options: Its fields, where they are not to be the defaults.

    Raises:
        ConfigError: There is none of that name, or it has no such option.
    """
    if name not in RUNTIMES:
        raise ConfigError(f"runtime '{name}' is not known; known are {', '.join(RUNTIMES)}")
    return RUNTIMES[name].with_options(**options)


def register(runtime: Runtime) -> None:
    """Enters a runtime of your own: `nuqconv.compare`, evaluators, ``nuqconv doctor`` and the command line know it from then on.

    Raises:
        ConfigError: Its name is taken, or no name that can be typed.
    """
    RUNTIMES.add(runtime)


def unregister(name: str) -> None:
    """Takes out a runtime that `register` has entered.

    Raises:
        ConfigError: There is none.
    """
    RUNTIMES.remove(name)
