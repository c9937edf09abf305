"""The table of runtimes. Nowhere else is a list of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from nuqconv.errors import ConfigError

if TYPE_CHECKING:
    from nuqconv.runtimes.base import Runtime

__all__ = [
    "AUTO",
    "DEFAULT",
    "NAMES",
    "NAMES_AND_AUTO",
    "RUNTIMES",
    "Entry",
    "RuntimeNames",
    "RuntimeTable",
    "register",
    "runtime_named",
    "unregister",
]


class Entry(NamedTuple):
    """A line of the table.

    Attributes:
        place: ``module:CLASS`` of one of nuqconv's own; the module is imported when the runtime is asked for, since some cost a tenth of a second.
        summary: What help says of it.
    """

    place: str
    summary: str


_OWN = {
    "onnxruntime": Entry("nuqconv.runtimes.onnxruntime.runtime:OnnxRuntime", "needs no set-up"),
    "caffe": Entry("nuqconv.runtimes.caffe.runtime:Caffe", "real Caffe, in a child process"),
    "opencv": Entry("nuqconv.runtimes.opencv:OpenCv", "OpenCV's dnn module"),
    "caffe2onnx": Entry("nuqconv.runtimes.caffe2onnx:Caffe2Onnx", "that converter's ONNX, in onnxruntime"),
}

_STATED = ("name", "title", "takes", "remedy")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

AUTO = "auto"
"""What stands for the best runtime that is there, where one may choose."""


class RuntimeTable(Mapping[str, "Runtime"]):
    """Runtimes by name, with their options at the defaults, or as `with_options` says."""

    def __init__(self, own: Mapping[str, Entry]) -> None:
        self._own = dict(own)
        self._made: dict[str, Runtime] = {}

    def __getitem__(self, name: str) -> Runtime:
        if name not in self._made:
            module, _, kind = self._own[name].place.partition(":")
            self._made[name] = getattr(import_module(module), kind)()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._made or name in self._own

    def __iter__(self) -> Iterator[str]:
        return iter((*self._own, *(name for name in self._made if name not in self._own)))

    def __len__(self) -> int:
        return len(self._own.keys() | self._made.keys())

    def entry(self, name: str) -> Entry:
        """Returns the line of a runtime, which is not imported for it."""
        return self._own[name] if name in self._own else Entry("", self._made[name].title)

    @contextmanager
    def with_options(self, name: str, **options: Any) -> Iterator[None]:
        """While it lasts, a runtime of the table has other options: wherever this process takes it by its name.

        Args:
            name: A name in the table.
            **options: Its fields.

        Raises:
            ConfigError: It has no such option, or a value is wrong.
        """
        before = self[name]
        self._made[name] = before.with_options(**options) if options else before
        try:
            yield
        finally:
            self._made[name] = before

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
        if name not in self._made or name in self._own:
            raise ConfigError(f"runtime '{name}' was not registered, so it cannot be taken out")
        del self._made[name]


class RuntimeNames(Mapping[str, Entry]):
    """What is said of each runtime, and of some words before them; no runtime is imported for it."""

    def __init__(self, more: Mapping[str, Entry] | None = None) -> None:
        self._more = dict(more or {})

    def __getitem__(self, name: str) -> Entry:
        return self._more[name] if name in self._more else RUNTIMES.entry(name)

    def __iter__(self) -> Iterator[str]:
        return iter((*self._more, *RUNTIMES))

    def __len__(self) -> int:
        return len(self._more) + len(RUNTIMES)


RUNTIMES = RuntimeTable(_OWN)
"""The runtimes by name."""

NAMES = RuntimeNames()
NAMES_AND_AUTO = RuntimeNames({AUTO: Entry("", "real Caffe for a Caffe model where it is there, else onnxruntime")})
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
