"""Which runtime a child process holds, for messages."""

from __future__ import annotations

from dataclasses import dataclass

from nuqconv.errors import ChildProcessFailedError

__all__ = ["ChildKind"]


@dataclass(frozen=True)
class ChildKind:
    """What a child process is called, and what may come from it.

    Attributes:
        name: The process in messages.
        runtime: The native code in it.
        error: What its failures are raised as.
        dtypes: Types of the arrays that it takes and may send, as numpy writes them.
        imports: What the interpreter must be able to import.
        remedy: What to do if it cannot.
        advice: What to do about a request that takes too long.
    """

    name: str
    runtime: str
    error: type[ChildProcessFailedError]
    dtypes: frozenset[str]
    imports: str
    remedy: str
    advice: str = "if the work is that large, raise `timeout`"
