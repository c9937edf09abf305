"""The table of runtimes. Nowhere else is a list of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nuqconv.errors import ConfigError

if TYPE_CHECKING:
    from nuqconv.runtimes.base import Runtime

__all__ = [
    "AUTO",
    "DEFAULT",
    "NAMES",
    "NAMES_AND_AUTO",
    "RUNTIMES",
    "RuntimeNames",
    "RuntimeTable",
    "register",
    "runtime_named",
    "unregister",
]

# Where each stands; a module is imported when its runtime is asked for, since some cost a tenth of a second.
_OWN = {
    "onnxruntime": "nuqconv.runtimes.onnxruntime.runtime:OnnxRuntime",
    "caffe": "nuqconv.runtimes.caffe.runtime:Caffe",
    "opencv": "nuqconv.runtimes.opencv:OpenCv",
    "caffe2onnx": "nuqconv.runtimes.caffe2onnx:Caffe2Onnx",
}

_STATED = ("name", "title", "takes", "remedy")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

AUTO = "auto"
"""What stands for the best runtime that is there, where one may choose."""


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
            ConfigError: The name is taken or none, or the class does not state what every runtime states; all faults are listed.
        """
        kind = type(runtime).__name__
        problems = [f"{item}: the class does not state it" for item in _STATED if not hasattr(runtime, item)]
        name = str(getattr(runtime, "name", ""))
        if hasattr(runtime, "name") and not _NAME.fullmatch(name):
            problems.append(f"name: found '{name}', expected letters, digits and ._- (it is written on command lines)")
        if name in self or name == AUTO:
            problems.append(f"name: '{name}' is taken")
        if problems:
            raise ConfigError(f"the runtime {kind} cannot be registered", problems)
        self._made[name] = runtime

    def remove(self, name: str) -> None:
        """Takes out a runtime that was added.

        Raises:
            ConfigError: There is none of that name, or it is one of nuqconv's own.
        """
        if name not in self._made or name in self._places:
            raise ConfigError(f"runtime '{name}' was not registered, so it cannot be taken out")
        del self._made[name]


class RuntimeNames:
    """The names in the table, and some before them; read without the runtimes themselves."""

    def __init__(self, *more: str) -> None:
        self._more = more

    def __iter__(self) -> Iterator[str]:
        return iter((*self._more, *RUNTIMES))


RUNTIMES = RuntimeTable(_OWN)
"""The runtimes by name."""

NAMES, NAMES_AND_AUTO = RuntimeNames(), RuntimeNames(AUTO)
"""What can be written where a runtime is asked for."""

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
        ConfigError: Its name is taken or none, or its class does not state what every runtime states.
    """
    RUNTIMES.add(runtime)


def unregister(name: str) -> None:
    """Takes out a runtime that `register` has entered.

    Raises:
        ConfigError: There is none.
    """
    RUNTIMES.remove(name)
