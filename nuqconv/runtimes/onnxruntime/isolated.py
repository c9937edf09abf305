"""onnxruntime in a child process: whatever it does there, with a limit of memory and time, is an ordinary error here."""

from __future__ import annotations

import re
import sys
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuqconv.backends.onnx.opset import QUIET
from nuqconv.errors import ConfigError, ModelError, NuqconvError, OnnxProcessError, UnsupportedError
from nuqconv.ir import Array
from nuqconv.runtimes.child import DEFAULT_TIMEOUT, ChildKind, ChildProcess, Reply
from nuqconv.runtimes.child.system import limit_problem
from nuqconv.runtimes.onnxruntime.providers import CPU, check_used
from nuqconv.runtimes.onnxruntime.session import INEXACT_OPTIMIZERS

__all__ = ["LEAST_MEMORY", "ONNXRUNTIME", "OnnxProcess", "check_limits"]

LEAST_MEMORY = 256 << 20
"""Bytes that Python and onnxruntime take before any model."""

_SERVER = Path(__file__).resolve().with_name("isolated_worker.py")
# What the failure of an allocation is called by C++, onnxruntime's arena and Python.
_NO_MEMORY = re.compile(r"bad_?\s?alloc|MemoryError|Failed to allocate memory|Unable to allocate", re.IGNORECASE)

ONNXRUNTIME = ChildKind(
    name="the onnxruntime process",
    runtime="onnxruntime",
    error=OnnxProcessError,
    dtypes=frozenset({"<f4", "<f8", "<f2", "|u1", "|i1", "<u2", "<i2", "<i4", "<i8", "<u4", "<u8", "|b1"}),
    imports="numpy and onnxruntime",
    remedy="raise `memory_limit`, or evaluate without `isolate`",
)


class OnnxProcess(ChildProcess):
    """A child process that runs onnxruntime; several sessions can live in one. See `ChildProcess`.

    Args:
        timeout: Seconds that one request (a model to be loaded, a batch to be run) may take; the child is killed after that.
        memory_limit: Bytes of memory that the child may have, Python and onnxruntime included; None for any number.
        env: Environment variables to set or replace for the child.
        providers: onnxruntime's names of the execution providers that sessions compute on.

    Raises:
        ConfigError: A limit is too small.
    """

    kind = ONNXRUNTIME

    def __init__(
        self,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        memory_limit: int | None = None,
        env: Mapping[str, str] | None = None,
        providers: Sequence[str] = (CPU,),
    ) -> None:
        check_limits(timeout, memory_limit)
        super().__init__(sys.executable, _SERVER, timeout=timeout, memory_limit=memory_limit, env=env)

        self._providers = list(providers)
        self._forgotten: deque[int] = deque()

    def session(self, model: bytes | memoryview, threads: int | None, subject: str) -> _Session:
        """Makes a session of a serialized model.

        Raises:
            ModelError, UnsupportedError: onnxruntime refuses it.
            OnnxProcessError: The child has ended, or there is no memory for it.
        """
        fields = {
            "threads": threads,
            "log_severity": QUIET,
            "disabled_optimizers": list(INEXACT_OPTIMIZERS),
            "providers": self._providers,
        }
        found = self._ask("load", fields, {"model": model}, subject).fields
        session = _Session(self, found, subject)
        check_used(self._providers, found["providers"], subject)
        # Not a request: the garbage collector may come in the middle of another one.
        weakref.finalize(session, self._forgotten.append, session.number)
        return session

    def run(self, session: int, outputs: Sequence[str], feeds: Mapping[str, Array], subject: str) -> Reply:
        """Runs a session; see `session` for what it raises."""
        return self._ask("run", {"session": session, "outputs": list(outputs)}, feeds, subject)

    def _ask(
        self, operation: str, fields: Mapping[str, Any], arrays: Mapping[str, Array | bytes | memoryview], subject: str
    ) -> Reply:
        forget = [self._forgotten.popleft() for _ in range(len(self._forgotten))]
        return self.request(operation, {**fields, "forget": forget}, arrays.items(), subject=subject)

    def refusal(self, operation: str, fields: Mapping[str, Any], place: str) -> NuqconvError:
        """Returns the error for a failure that the child has reported."""
        said = f"{fields['error']}: {fields['message']}"
        if _NO_MEMORY.search(said):
            limit = "" if self.memory_limit is None else f" within its memory limit of {self.memory_limit:,} bytes"
            # What it holds is in the way of whatever comes next.
            self.close()
            return OnnxProcessError(
                f"{place}onnxruntime has not enough memory{limit}: {said}; raise `memory_limit`, or take smaller batches",
                ended=True,
            )
        if fields["error"] == "NotImplemented":
            return UnsupportedError(f"{place}the installed onnxruntime cannot run it: {said}")
        return ModelError(f"{place}onnxruntime {'refuses it' if operation == 'load' else 'failed'}: {said}")


def check_limits(timeout: float, memory_limit: int | None) -> None:
    """Checks the limits of a child.

    Raises:
        ConfigError: One is wrong; all faults are listed.
    """
    problems = []
    if not timeout > 0:
        problems.append(f"timeout: expected a positive number of seconds, found {timeout!r}")
    if memory_limit is not None and (type(memory_limit) is not int or memory_limit < LEAST_MEMORY):
        problems.append(
            f"memory_limit: expected None or a number of bytes from {LEAST_MEMORY:,} on, which onnxruntime takes "
            f"before any model; found {memory_limit!r}"
        )
    unlimited = None if memory_limit is None else limit_problem()
    if unlimited is not None:
        problems.append(unlimited)
    if problems:
        raise ConfigError("the limits of the onnxruntime process are wrong", problems)


@dataclass(frozen=True)
class _Item:
    """An input or output, with the attributes that onnxruntime's have."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]


class _Session:
    """A session in the child, with the part of ``onnxruntime.InferenceSession`` that `OnnxSession` uses."""

    def __init__(self, process: OnnxProcess, fields: Mapping[str, Any], subject: str) -> None:
        self._process = process
        self._subject = subject
        self._sent: dict[str, Array] = {}
        try:
            self.number = int(fields["session"])
            self._inputs, self._outputs = (
                [_Item(name, kind, tuple(shape)) for name, kind, shape in fields[key]] for key in ("inputs", "outputs")
            )
        except (KeyError, TypeError, ValueError) as error:
            process.close()
            raise OnnxProcessError(
                f"{subject}: the onnxruntime process described no session: {error}", ended=True
            ) from error

    def get_inputs(self) -> list[_Item]:
        """Returns the inputs."""
        return self._inputs

    def get_outputs(self) -> list[_Item]:
        """Returns the outputs."""
        return self._outputs

    def run(self, wanted: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Returns the outputs' values. An input that cannot be written to is sent once for all runs."""
        new = {name: array for name, array in feeds.items() if self._sent.get(name) is not array}
        arrays = self._process.run(self.number, wanted, new, self._subject).arrays
        self._sent.update((name, array) for name, array in new.items() if not array.flags.writeable)
        missing = [name for name in wanted if name not in arrays]
        if missing:
            self._process.close()
            raise OnnxProcessError(f"{self._subject}: the onnxruntime process sent no {', '.join(missing)}", ended=True)
        return [arrays[name] for name in wanted]
