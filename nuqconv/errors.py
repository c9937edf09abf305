"""Every error that nuqconv raises on purpose.

A message names the file, the line or the layer, what was found, what was expected and what to do about it. A check that can find
several faults raises one error whose ``problems`` lists them all.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence

__all__ = [
    "CaffeProcessError",
    "CalibrationError",
    "ChildProcessFailedError",
    "ConfigError",
    "EvaluatorError",
    "FormatError",
    "JournalError",
    "LostEvaluationError",
    "ModelError",
    "NetError",
    "NothingToReduceError",
    "NuqconvDeprecationWarning",
    "NuqconvError",
    "OnnxProcessError",
    "OutputError",
    "QuantizationError",
    "RuntimeMissingError",
    "SearchError",
    "UnsupportedError",
    "printable",
    "warn_deprecated",
]


_MOST_PROBLEMS = 500
# Names in a file are its maker's choice; a terminal would obey the control characters in them, and half a surrogate pair cannot be printed.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LONG_LINE, _KEPT = 4100, 4000


def printable(text: str) -> str:
    """Returns a text with unprintable characters as escapes and without the middle of very long lines."""
    lines = [
        line
        if len(line) <= _LONG_LINE
        else f"{line[: _KEPT // 2]} ... ({len(line) - _KEPT} characters) ... {line[-_KEPT // 2 :]}"
        for line in text.split("\n")
    ]
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), "\n".join(lines))


# Words of this package's own messages; not in __all__, whose names are promised to users.
def left_out(items: Sequence[object], most: int) -> str:
    """Returns ``and 3 more`` where only the first ``most`` of some items are said, or an empty text where these are all."""
    return f"and {len(items) - most} more" if len(items) > most else ""


def some_of(items: Sequence[str], most: int, separator: str = ", ") -> str:
    """Returns the first ``most`` of some names or reasons as one text, which ends in how many are left out."""
    return " ".join(filter(None, (separator.join(items[:most]), left_out(items, most))))


class NuqconvError(Exception):
    """Base of all errors of this package.

    Args:
        message: What is wrong, where, and what to do.
        problems: One line for each fault when there are several; they are appended to the message, the first 500 of them.
    """

    def __init__(self, message: str, problems: Iterable[str] = ()) -> None:
        self.problems: Sequence[str] = tuple(map(printable, problems))
        lines = [printable(message), *(f"  - {problem}" for problem in self.problems[:_MOST_PROBLEMS])]
        if more := left_out(self.problems, _MOST_PROBLEMS):
            lines.append(f"  - {more}")
        super().__init__("\n".join(lines))


class FormatError(NuqconvError):
    """A file cannot be read: truncated, empty, or not of the format that its place calls for."""


class ModelError(NuqconvError):
    """A model is readable but wrong in itself: missing weights, shapes that do not fit, NaN, a cycle."""


class NetError(ModelError, RuntimeError):
    """A net of `nuqconv.pycaffe` is asked for something at which Caffe would end the process, or raise a RuntimeError."""


class UnsupportedError(NuqconvError):
    """The model is right, but a layer or parameter in it is outside what the asked operation can do."""


class NothingToReduceError(NuqconvError):
    """What is to be reduced does not differ or fail to begin with, or no part of it does so alone."""


class ConfigError(NuqconvError):
    """A quantization configuration, mapping file or option is wrong; each problem names its key path."""


class QuantizationError(NuqconvError):
    """A layer cannot be quantized as the plan asks; the message names the layer and the remedy."""


class CalibrationError(NuqconvError):
    """Activation ranges could not be measured."""


class EvaluatorError(NuqconvError):
    """The user's evaluator raised, returned something that is no number, or contradicts itself."""


class LostEvaluationError(EvaluatorError):
    """An evaluation ended its process, or gave no answer in time, at every try; so there is no verdict, and nobody has raised anything."""


class SearchError(NuqconvError):
    """No plan satisfies the evaluator.

    Attributes:
        best: The best trial found, or None if not one was finished.
    """

    def __init__(self, message: str, problems: Iterable[str] = (), best: object = None) -> None:
        super().__init__(message, problems)
        self.best = best


class JournalError(NuqconvError):
    """The journal of a search cannot be used: damaged, no journal, in use, of another search, or it cannot be written."""


class RuntimeMissingError(NuqconvError):
    """A runtime that the operation needs is not installed; the message says how to get it."""


class ChildProcessFailedError(NuqconvError):
    """A runtime failed in its child process: a crash, a timeout, no memory, an answer that is none.

    Attributes:
        ended: Whether the child has ended, so that another one may do better.
    """

    def __init__(self, message: str, problems: Iterable[str] = (), *, ended: bool = False) -> None:
        super().__init__(message, problems)
        self.ended = ended


class CaffeProcessError(ChildProcessFailedError):
    """Real Caffe failed in its child process: a CHECK, a crash, a timeout or a Python exception there."""


class OnnxProcessError(ChildProcessFailedError):
    """onnxruntime failed in its child process: a crash, a timeout, or its memory limit."""


class OutputError(NuqconvError):
    """The outputs could not be written; what stood there before is as it was."""


class NuqconvDeprecationWarning(FutureWarning):
    """A public name or parameter will go in a later version; shown to everybody, since users of a script see it too."""


def warn_deprecated(what: str, *, instead: str, since: str, until: str, level: int = 2) -> None:
    """Warns that something public will go.

    Args:
        what: What is called, as the caller writes it.
        instead: What to write for it.
        since: The version that brought ``instead``.
        until: The version in which it goes.
        level: How many calls up the line to be changed is: 2 is the caller of the function that warns.
    """
    text = f"{what} is deprecated since nuqconv {since} and goes in {until}; write {instead}"
    warnings.warn(text, NuqconvDeprecationWarning, stacklevel=level + 1)
