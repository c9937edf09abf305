"""Layers that run one after the other in onnxruntime, and their values that are computed only when somebody asks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime

from nuqconv.backends.onnx.opset import ORT_ERRORS, quiet_options
from nuqconv.errors import ModelError, NetError
from nuqconv.ir import Array, Graph
from nuqconv.passes import collapse_quantize
from nuqconv.pycaffe.memory import Floats, Memory
from nuqconv.runtimes.onnxruntime import OnnxSession

__all__ = ["Run", "Segment"]

_KEPT_SESSIONS = 4
# Who reads a value after so many runs in a row will read it after the next one too.
_HABIT = 2


@dataclass(frozen=True)
class Feed:
    """What a segment reads.

    Attributes:
        memory: Where it is.
        value: Its name in the graph.
        shape: Its shape there.
    """

    memory: Memory
    value: str
    shape: tuple[int, ...]


@dataclass
class Reading:
    """How a value was used so far.

    Attributes:
        exposures: `Memory.exposures` when it was last written.
        streak: After how many runs in a row it was read.
    """

    exposures: int = -1
    streak: int = 0


class Segment:
    """Some layers of a net as one graph.

    Args:
        graph: The graph; its own outputs do not count.
        feeds: What it reads.
        writes: The value that each memory holds at its end.
        kin: A segment of the same layers with the same parameters for other shapes; its sessions serve here too if only the batch size
            differs and they take any.
    """

    def __init__(
        self, graph: Graph, feeds: Sequence[Feed], writes: Mapping[Memory, str], kin: Segment | None = None
    ) -> None:
        self.graph = graph
        self.feeds = tuple(feeds)
        self.writes = dict(writes)
        self._reads = {memory: Reading() for memory in self.writes}
        self._sessions: OrderedDict[frozenset[str], OnnxSession] = OrderedDict()
        if kin is not None and kin.graph.nodes == graph.nodes:
            self._sessions = OrderedDict(kin.open_sessions())

    def run(self, wanted: Iterable[Memory]) -> None:
        """Computes what is wanted or likely to be, and leaves the rest for later.

        Args:
            wanted: Memories whose values are needed now, as far as this segment writes them.
        """
        if not self.writes:
            return
        now = [memory for memory in self.writes if memory.held or self._habitual(memory)]
        now += [memory for memory in wanted if memory in self.writes]
        run = Run(self, self._feeds())
        for memory in now:
            run.wanted.add(self.writes[memory])
        found = run.compute(run.wanted) if run.wanted else {}
        for memory, value in self.writes.items():
            if value in found:
                memory.fill(_flat(found[value]))
            else:
                memory.defer(_Later(run, value))
            self._reads[memory].exposures = memory.exposures

    def values(self) -> dict[Memory, Array]:
        """Computes all that it writes and returns that, in the shapes that it has; the memories stay as they are."""
        found = Run(self, self._feeds()).compute(self.writes.values())
        return {memory: found[value] for memory, value in self.writes.items()}

    def _feeds(self) -> dict[str, Floats]:
        return {item.value: item.memory.freeze(_count(item.shape)).reshape(item.shape) for item in self.feeds}

    def open_sessions(self) -> list[tuple[frozenset[str], OnnxSession]]:
        """Returns the sessions that take any batch size."""
        return [(key, session) for key, session in self._sessions.items() if session.batch_size is None]

    def _habitual(self, memory: Memory) -> bool:
        reading = self._reads[memory]
        reading.streak = reading.streak + 1 if memory.exposures > reading.exposures >= 0 else 0
        return reading.streak >= _HABIT

    def session(self, values: Iterable[str]) -> OnnxSession:
        """Returns a session that computes at least these values: one that is there, a new one, or once there are many one for all values."""
        wanted = frozenset(values)
        for key, session in self._sessions.items():
            if wanted == key:
                self._sessions.move_to_end(key)
                return session
        covering = [key for key in self._sessions if wanted < key]
        if covering and len(self._sessions) >= _KEPT_SESSIONS:
            return self._sessions[min(covering, key=len)]
        if len(self._sessions) >= _KEPT_SESSIONS:
            wanted = frozenset(self.writes.values())
            self._sessions.popitem(last=False)
        session = self._sessions[wanted] = _make_session(self.graph, sorted(wanted))
        return session


class Run:
    """One pass through a segment, from which values can still be had later.

    Args:
        segment: The segment.
        feeds: What it read; nobody changes these arrays.
    """

    def __init__(self, segment: Segment, feeds: Mapping[str, Floats]) -> None:
        self.wanted: set[str] = set()
        self._segment = segment
        self._feeds = feeds
        self._found: dict[str, Array] = {}

    def compute(self, values: Iterable[str]) -> dict[str, Array]:
        """Returns values by name, with those that come along."""
        session = self._segment.session(values)
        feeds = {name: self._feeds[name] for name in session.inputs}
        try:
            return session.run(feeds)
        except ModelError as error:
            raise NetError(f"a forward pass failed: {error}") from error

    def later(self, value: str) -> Floats:
        """Returns one value."""
        if value not in self._found:
            self._found.update(self.compute([value]))
        return _flat(self._found.pop(value))


@dataclass(frozen=True)
class _Later:
    """A value that is still to be computed."""

    run: Run = field(repr=False)
    value: str

    def __call__(self) -> Floats:
        return self.run.later(self.value)


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _flat(array: Array) -> Floats:
    return np.ascontiguousarray(array, np.float32).reshape(-1)


def _make_session(graph: Graph, outputs: list[str]) -> OnnxSession:
    """A quantized net's sums must be exact; any other may be computed in the fastest way."""
    part = graph.up_to(outputs)
    collapsed = collapse_quantize(part)
    if collapsed is not part:
        return OnnxSession(collapsed, outputs=outputs)
    return OnnxSession(part, outputs=outputs, create=_fastest)


def _fastest(model: bytes, threads: int | None, subject: str) -> Any:
    options = quiet_options()
    # Threads that wait in a loop take the cores from the script's own work between passes, and from each other where the machine is busy.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise ModelError(f"{subject}: onnxruntime refuses it: {error}") from error
