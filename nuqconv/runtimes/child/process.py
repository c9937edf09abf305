"""The parent side of a runtime in a child process: starts it, exchanges frames with it, and makes sure that it ends.

Native code may abort, crash, hang or fill the memory: here that becomes an error with its own last words.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import struct
import subprocess
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from nuqconv.errors import ChildProcessFailedError, NuqconvError, RuntimeMissingError
from nuqconv.runtimes.child.crash import describe_crash
from nuqconv.runtimes.child.frames import header_length, read_header
from nuqconv.runtimes.child.kind import ChildKind
from nuqconv.runtimes.child.system import child_problem

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DEFAULT_TIMEOUT", "ChildProcess", "Reply"]

DEFAULT_TIMEOUT = 600.0
# Imports take long on a busy machine, whatever a request may take.
_START_SECONDS = 120.0
_MAGIC = b"NQC1"
_SERVE = Path(__file__).resolve().with_name("serve.py")
_STDERR_KEPT = 64 * 1024
_FLOAT = np.dtype("<f4")


class Reply(NamedTuple):
    """A successful answer: the fields of its header, and its arrays by name in their order."""

    fields: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]


class _TimedOutError(Exception):
    """The deadline of a request has passed."""


class _ChildEndedError(Exception):
    """The child closed its end of a pipe."""


class ChildProcess:
    """A child process that runs native code; see ``serve.py`` for its side.

    It is a context manager. It may be used from several threads, which then wait for each other. After a crash, a timeout or an
    interrupt it is dead: each later request raises the ``error`` of its ``kind`` with the message of the first failure.

    Args:
        python: The interpreter.
        server: The file whose ``start`` makes what answers requests.
        timeout: Seconds that one request may take; the child is killed after that.
        env: Environment variables to set or replace for the child.
        memory_limit: Bytes of memory that the child may have, or None for any number.
    """

    kind: ClassVar[ChildKind]

    def __init__(
        self,
        python: str,
        server: Path,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        env: Mapping[str, str] | None = None,
        memory_limit: int | None = None,
    ) -> None:
        problem = child_problem()
        if problem is not None:
            raise RuntimeMissingError(problem)
        self.python = python
        self.timeout = timeout
        self.memory_limit = memory_limit
        self._lock = threading.Lock()
        self._stderr_tail = b""
        self._stderr_open = True
        self._end: str | None = None
        arguments = [str(server), *([] if memory_limit is None else [str(memory_limit)])]
        self._child, lifeline_end = self._start(arguments, env or {})
        self._kill = weakref.finalize(self, _end_child, self._child, lifeline_end, os.getpid())
        self._stdin, self._stdout, self._stderr = (
            stream.fileno() for stream in (self._child.stdin, self._child.stdout, self._child.stderr) if stream
        )
        for descriptor in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
        with self._lock:
            self._exchange("start", None, f"starting {self.kind.runtime}")

    def _start(self, arguments: Sequence[str], env: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], int]:
        try:
            return _start_child(self.python, arguments, env)
        except OSError as error:
            raise RuntimeMissingError(
                f"{self.python}: this interpreter, which should run {self.kind.runtime}, cannot be started: {error}; "
                f"{self.kind.remedy}"
            ) from error

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether requests can still be made."""
        return self._end is None

    @property
    def stderr_tail(self) -> str:
        """What the child wrote to stderr during the last request, at most its last 64 KiB."""
        return self._stderr_tail.decode("utf-8", "replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child and everything that it started; closing again does nothing."""
        if self._end is None:
            self._end = "it was closed"
        self._kill()

    def request(
        self,
        operation: str,
        fields: Mapping[str, Any] | None = None,
        arrays: Iterable[tuple[str, npt.ArrayLike | memoryview]] = (),
        *,
        subject: str = "",
    ) -> Reply:
        """Let the child carry out one operation of its server.

        Args:
            operation: Its name.
            fields: Its fields, serialisable as JSON.
            arrays: Its arrays, sent as float32 unless the child takes their own type.
            subject: What the request is about (a model file), for messages.

        Returns:
            The answer; its arrays are new, writable and C-ordered.

        Raises:
            ChildProcessFailedError: If the runtime or the request itself failed, or no answer came in time.
        """
        place = f"{subject}: " if subject else ""
        # np.require would turn a scalar into a vector.
        sent = [(name, _to_send(array, self.kind)) for name, array in arrays]
        announced = [[name, array.shape, *([] if array.dtype == _FLOAT else [array.dtype.str])] for name, array in sent]
        header = {"op": operation, **(fields or {}), "arrays": announced}
        text = json.dumps(header).encode("utf-8")
        frame = [memoryview(_MAGIC + struct.pack("<I", len(text)) + text)]
        frame += [array.reshape(-1).view(np.uint8).data for _, array in sent if array.size]
        with self._lock:
            if self._end is not None:
                raise self.kind.error(
                    f"{place}{self.kind.name} is no longer there, so {operation!r} cannot run: {self._end}", ended=True
                )
            reply = self._exchange(operation, frame, place.rstrip(": ") or f"{self.kind.runtime} under {self.python}")
        if not reply.fields.pop("ok"):
            raise self.refusal(operation, reply.fields, place)
        return reply

    def refusal(self, operation: str, fields: Mapping[str, Any], place: str) -> NuqconvError:
        """Returns the error for a failure that the child, which lives on, has reported."""
        problem = f"{fields['error']}: {fields['message']}"
        return self.kind.error(
            f"{place}{self.kind.runtime} ({self.python}) failed in {operation!r}: {problem}\n"
            f"Traceback in {self.kind.name}:\n{fields['traceback'].rstrip()}"
        )

    def _exchange(self, operation: str, frame: list[memoryview] | None, subject: str) -> Reply:
        """Send a frame, if any, and receive one; whatever goes wrong here ends the child."""
        seconds = self.timeout if frame is not None else max(self.timeout, _START_SECONDS)
        deadline = time.monotonic() + seconds
        # A crash is to be explained by what is written from now on.
        if self._stderr_open:
            self._drain_stderr()
        self._stderr_tail = b""
        try:
            for part in frame or ():
                self._send(part, deadline)
            reply = self._receive_frame(deadline)
            if self._stderr_open:
                self._drain_stderr()
        except _TimedOutError:
            self._fail(
                f"{subject}: {self.kind.runtime} gave no answer to {operation!r} within {seconds:g} s and was killed; "
                f"{self.kind.advice}"
            )
        except _ChildEndedError:
            self._kill_and_wait()
            why = describe_crash(self.stderr_tail, self._child.returncode, self.kind.name)
            limit = "" if self.memory_limit is None else f" (its memory limit is {self.memory_limit:,} bytes)"
            self._fail(f"{subject}: {self.kind.runtime} ended in {operation!r}{limit}: {why}")
        except ChildProcessFailedError as error:
            self._fail(f"{subject}: {error}")
        except BaseException as error:
            # An interrupted exchange leaves half a frame in the pipe, so nothing that follows could be understood.
            self._end = f"an earlier {operation!r} was interrupted by {type(error).__name__}"
            self._kill()
            raise
        if frame is None and not reply.fields["ok"]:
            self._end = f"{reply.fields['error']}: {reply.fields['message']}"
            self._kill()
            raise RuntimeMissingError(
                f"{self.python}: this interpreter cannot import {self.kind.imports}: {self._end}; {self.kind.remedy}"
            )
        return reply

    def _fail(self, message: str) -> NoReturn:
        self._end = message
        self._kill()
        raise self.kind.error(message, ended=True) from None

    def _kill_and_wait(self) -> None:
        """Kill what is left of the child's group and read the rest of stderr, which the kernel still holds."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        while self._stderr_open and self._drain_stderr():
            pass

    def _wait_for(self, descriptor: int, event: int, deadline: float) -> None:
        """Returns when ``descriptor`` is ready; meanwhile keep the child's stderr from filling up."""
        poller = select.poll()
        poller.register(descriptor, event)
        while True:
            if self._stderr_open:
                poller.register(self._stderr, select.POLLIN)
            left = deadline - time.monotonic()
            if left <= 0:
                raise _TimedOutError
            for ready, _ in poller.poll(math.ceil(left * 1000)):
                if ready == descriptor:
                    return
                self._drain_stderr()
                if not self._stderr_open:
                    poller.unregister(self._stderr)

    def _drain_stderr(self) -> bool:
        """Take what is there from stderr; return whether there was anything."""
        try:
            chunk = os.read(self._stderr, _STDERR_KEPT)
        except BlockingIOError:
            return False
        self._stderr_open = bool(chunk)
        self._stderr_tail = (self._stderr_tail + chunk)[-_STDERR_KEPT:]
        return bool(chunk)

    def _send(self, view: memoryview, deadline: float) -> None:
        while view:
            self._wait_for(self._stdin, select.POLLOUT, deadline)
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise _ChildEndedError from None

    def _receive(self, view: memoryview, deadline: float) -> None:
        while view:
            self._wait_for(self._stdout, select.POLLIN, deadline)
            try:
                count = os.readv(self._stdout, [view])
            except BlockingIOError:
                continue
            if count == 0:
                raise _ChildEndedError
            view = view[count:]

    def _receive_frame(self, deadline: float) -> Reply:
        head = bytearray(8)
        self._receive(memoryview(head), deadline)
        if head[:4] != _MAGIC:
            raise self.kind.error(f"{self.kind.name} answered with {bytes(head)!r}, which is no frame of the protocol")
        text = bytearray(header_length(struct.unpack("<I", head[4:])[0], self.kind))
        self._receive(memoryview(text), deadline)
        fields, announced = read_header(text, self.kind)
        arrays = {}
        for name, shape, dtype in announced:
            try:
                array = np.empty(shape, dtype)
            except MemoryError as error:
                raise self.kind.error(
                    f"there is no memory for array {name!r} of shape {shape} that it sends"
                ) from error
            self._receive(array.reshape(-1).view(np.uint8).data, deadline)
            arrays[name] = array
        return Reply(fields, arrays)


def _to_send(array: npt.ArrayLike | memoryview, kind: ChildKind) -> npt.NDArray[Any]:
    if isinstance(array, (bytes, memoryview)):
        return np.frombuffer(array, np.uint8)
    # np.require would turn a scalar into a vector.
    found = np.asarray(array, order="C")
    return found if found.dtype.str in kind.dtypes else np.asarray(found, dtype=_FLOAT, order="C")


def _start_child(python: str, arguments: Sequence[str], env: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start the child; return it and the end of the lifeline that keeps it alive."""
    # Without these, glog reports each layer of each net, and prints are lost when the process aborts.
    environment = {"GLOG_minloglevel": "1", "GLOG_logtostderr": "1", "PYTHONUNBUFFERED": "1", **os.environ, **env}
    lifeline, lifeline_end = os.pipe()
    try:
        child = subprocess.Popen(
            [python, str(_SERVE), str(lifeline), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment,
            pass_fds=[lifeline],
            start_new_session=True,
        )
    except BaseException:
        os.close(lifeline_end)
        raise
    finally:
        os.close(lifeline)
    return child, lifeline_end


def _end_child(child: subprocess.Popen[bytes], lifeline_end: int, owner: int) -> None:
    """Kill the child's process group, reap the child and close all descriptors."""
    # In a fork of the owner only the descriptors are a copy; the child is not ours to end.
    if os.getpid() == owner:
        # Until it is waited for, a dead child keeps its id, so this cannot hit a stranger.
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    os.close(lifeline_end)
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()
